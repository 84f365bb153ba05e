//! Between judging and sealing: a call that waits for a person asks, and one that was granted uses its grant up.
//!
//! Not here: which calls wait (`decide`), and what was granted (`approvals`). Invariant: a grant takes away the approval
//! rules it names for the exact call it was given for, and the policy is asked again with everything else as it is now.

use aegis_domain::{Decision, DecisionId, Facts, Reason, Verdict};

use crate::Corridor;
use crate::approvals::{Approvals, ApprovalsError, Claim, Question};
use crate::context::{Arrival, CallContext, Identified, Read};
use crate::headers::AEGIS_APPROVAL_ID;
use crate::rooms::judge;

/// What becomes of a decision that a person could change.
pub async fn approve(
    corridor: &Corridor,
    ctx: &mut CallContext,
    (identified, read, facts): (&Identified, &Read, &Facts),
    arrival: &Arrival,
    decision: Decision,
) -> Decision {
    let (Some(approvals), Verdict::ApprovalNeeded(request)) =
        (&corridor.approvals, &decision.verdict)
    else {
        return decision;
    };
    let (tenant, agent) = (&identified.agent.tenant, &identified.agent.agent);
    if let Some(id) = shown(arrival) {
        let call = request.params_hash;
        let claim = Claim { tenant: tenant.clone(), id, call, by: ctx.id };
        let known = (identified, read, facts);
        match use_up(corridor, approvals.as_ref(), ctx, known, &claim).await {
            Ok(granted) => return granted,
            // What was shown does not count, so this call asks for itself.
            Err(ApprovalsError::Refused) => {}
            Err(error @ ApprovalsError::Unreachable) => return unavailable(ctx, decision, error),
        }
    }
    let Some(tool) = read.tool.clone() else { return decision };
    let request = request.clone();
    let question = Question { tenant: tenant.clone(), agent: agent.clone(), tool, request };
    match approvals.ask(question).await {
        Ok(()) => decision,
        Err(error) => unavailable(ctx, decision, error),
    }
}

/// Whether a person would let the call through is not known, so it stays here.
fn unavailable(ctx: &CallContext, decision: Decision, error: ApprovalsError) -> Decision {
    tracing::error!(decision = %ctx.id, %error, "a call that needs an approval is refused");
    Decision { verdict: Verdict::Deny(Reason::Unavailable), ..decision }
}

/// The approval that the agent names, in one header and as we wrote it.
fn shown(arrival: &Arrival) -> Option<DecisionId> {
    let mut values = arrival.headers.get_all(AEGIS_APPROVAL_ID).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    DecisionId::parse(value.to_str().ok()?).ok()
}

/// The decision under a grant, if it lets the call through and nobody else used the grant. An unknown fate of the grant is
/// never taken for a use of it.
async fn use_up(
    corridor: &Corridor,
    approvals: &dyn Approvals,
    ctx: &mut CallContext,
    (identified, read, facts): (&Identified, &Read, &Facts),
    claim: &Claim,
) -> Result<Decision, ApprovalsError> {
    let rules = approvals.granted(claim).await?;
    if rules.is_empty() {
        return Err(ApprovalsError::Refused);
    }
    let asked = ctx.seen.clone();
    let region = &corridor.config.region;
    let again = judge::judge(ctx, (identified, read, facts), region, &rules);
    let used = match again.verdict.lets_through() {
        true => approvals.consume(claim, rules).await,
        false => Err(ApprovalsError::Refused),
    };
    match used {
        Ok(()) => {
            ctx.approval = Some(claim.id);
            Ok(again)
        }
        Err(error) => {
            ctx.seen = asked;
            Err(error)
        }
    }
}
