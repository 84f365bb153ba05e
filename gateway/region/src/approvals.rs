//! Approvals in the region's ledger, where this process takes part in it.
//!
//! Not here: asking from afar (`afar`), answering them (`control`), and what a grant does to a verdict (`corridor`). Invariant: a grant is used up by the
//! ledger's one order of commands, whichever gateway asks first.

use std::collections::BTreeSet;
use std::sync::Arc;

use aegis_control::Control;
use aegis_corridor::approvals::{Approvals, ApprovalsError, Claim, Question};
use aegis_domain::RuleId;
use aegis_ledger::{Action, ApprovalAct, ApprovalKey, WaitingCall};
use aegis_raft_store::Wish;
use aegis_registry::Actor;
use async_trait::async_trait;

/// The ledger as calls use it.
#[derive(Debug)]
pub(crate) struct Counter {
    pub(crate) control: Arc<Control>,
    /// This gateway.
    pub(crate) by: Actor,
}

impl Counter {
    async fn act(&self, act: ApprovalAct) -> Result<(), ApprovalsError> {
        let wish = Wish { by: self.by.clone(), action: Action::Approval(act), once: None };
        match self.control.node().propose(wish).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(refusal)) => {
                tracing::warn!(%refusal, "an approval was refused by the ledger");
                Err(ApprovalsError::Refused)
            }
            Err(error) => {
                tracing::error!(%error, "the ledger cannot be asked about an approval");
                Err(ApprovalsError::Unreachable)
            }
        }
    }
}

#[async_trait]
impl Approvals for Counter {
    async fn ask(&self, question: Question) -> Result<(), ApprovalsError> {
        let Question { tenant, agent, tool, request } = question;
        let routes = request.routes.iter().map(|route| route.as_str().into()).collect();
        self.act(ApprovalAct::Ask {
            key: ApprovalKey { tenant, id: request.id },
            params: request.params_hash,
            rules: request.rules.into_iter().collect(),
            expires_at: request.expires_at,
            call: WaitingCall { agent, tool, routes },
        })
        .await
    }

    async fn granted(&self, claim: &Claim) -> Result<BTreeSet<RuleId>, ApprovalsError> {
        let key = ApprovalKey { tenant: claim.tenant.clone(), id: claim.id };
        self.control.granted(&key, &claim.call).await.map_err(|error| {
            tracing::error!(%error, "the ledger cannot be asked what was granted");
            ApprovalsError::Unreachable
        })
    }

    async fn consume(&self, claim: &Claim, rules: BTreeSet<RuleId>) -> Result<(), ApprovalsError> {
        let key = ApprovalKey { tenant: claim.tenant.clone(), id: claim.id };
        self.act(ApprovalAct::Consume { key, params: claim.call, rules }).await
    }
}
