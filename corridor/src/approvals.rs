//! The seam between calls and those who answer for them: whoever keeps approvals fulfils `Approvals`.
//!
//! Not here: who may answer, and that a grant is used once (`ledger`). Invariant: a call goes out on a grant only after it
//! was used up, and an agent is told that it waits only after somebody can be told.

use std::collections::BTreeSet;
use std::fmt;

use aegis_domain::{AgentId, ApprovalRequest, DecisionId, ParamsHash, RuleId, TenantId, ToolName};
use async_trait::async_trait;

/// A call that waits for a person.
#[derive(Clone, Debug)]
pub struct Question {
    pub tenant: TenantId,
    pub agent: AgentId,
    pub tool: ToolName,
    pub request: ApprovalRequest,
}

/// What an agent says was granted to the call it makes.
#[derive(Clone, Debug)]
pub struct Claim {
    pub tenant: TenantId,
    /// The approval.
    pub id: DecisionId,
    /// The digest of the call as it is now.
    pub call: ParamsHash,
    /// The call itself: whatever is sent again in its name was sent once.
    pub by: DecisionId,
}

/// Why an approval was not kept or used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalsError {
    #[error("the region's ledger refuses it")]
    Refused,
    /// No voter answers for the ledger, or none says what came of it. What was granted may be used up.
    #[error("the region's ledger does not answer for it")]
    Unreachable,
}

/// Keeps approvals. Whatever is asked is answered within a bounded time.
#[async_trait]
pub trait Approvals: Send + Sync + fmt::Debug {
    /// Puts the question to people.
    async fn ask(&self, question: Question) -> Result<(), ApprovalsError>;

    /// The rules that were granted this very call and are not used up: whatever was granted before this was asked counts.
    async fn granted(&self, claim: &Claim) -> Result<BTreeSet<RuleId>, ApprovalsError>;

    /// Uses the grant up, whoever else wants to, for this one call.
    async fn consume(&self, claim: &Claim, rules: BTreeSet<RuleId>) -> Result<(), ApprovalsError>;
}
