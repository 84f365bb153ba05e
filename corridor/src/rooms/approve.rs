//! Between judging and sealing: a call that waits for a person asks, and one that was granted uses its grant up.
//!
//! Not here: which calls wait (`decide`), and what was granted (`approvals`). Invariant: a grant takes away the approval
//! rules it names for the exact call it was given for, and the policy is asked again with everything else as it is now.

use aegis_domain::{Decision, DecisionId, Facts, Reason, Verdict};

use crate::Corridor;
use crate::approvals::{Approvals, Claim, Question};
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
        let claim = Claim { tenant: tenant.clone(), id, call: request.params_hash };
        let known = (identified, read, facts);
        if let Some(granted) = use_up(corridor, approvals.as_ref(), ctx, known, &claim).await {
            return granted;
        }
    }
    let Some(tool) = read.tool.clone() else { return decision };
    let request = request.clone();
    let question = Question { tenant: tenant.clone(), agent: agent.clone(), tool, request };
    match approvals.ask(question).await {
        Ok(()) => decision,
        Err(error) => {
            tracing::error!(decision = %ctx.id, %error, "nobody could be asked");
            Decision { verdict: Verdict::Deny(Reason::Unavailable), ..decision }
        }
    }
}

/// The approval that the agent names, in one header and as we wrote it.
fn shown(arrival: &Arrival) -> Option<DecisionId> {
    let mut values = arrival.headers.get_all(AEGIS_APPROVAL_ID).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    DecisionId::parse(value.to_str().ok()?).ok()
}

/// The decision under a grant, if it lets the call through and nobody else used the grant.
async fn use_up(
    corridor: &Corridor,
    approvals: &dyn Approvals,
    ctx: &mut CallContext,
    (identified, read, facts): (&Identified, &Read, &Facts),
    claim: &Claim,
) -> Option<Decision> {
    let rules = approvals.granted(claim);
    if rules.is_empty() {
        return None;
    }
    let asked = ctx.seen.clone();
    let region = &corridor.config.region;
    let again = judge::judge(ctx, (identified, read, facts), region, &rules);
    if again.verdict.lets_through() && approvals.consume(claim, rules).await.is_ok() {
        ctx.approval = Some(claim.id);
        return Some(again);
    }
    ctx.seen = asked;
    None
}
