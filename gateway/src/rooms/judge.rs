//! Room 4: the verdict, and what a shadow version would have said.
//!
//! Not here: the order of checks (`decide`). Invariant: no await, no clock, no effect; the same input gives the same
//! decision.

use aegis_decide::Case;
use aegis_domain::{Decision, Region};

use crate::context::{CallContext, Identified, Read};

/// Judges a call whose facts are known, and keeps what the policy saw of it for `seal`.
pub fn judge(
    ctx: &mut CallContext,
    identified: &Identified,
    read: &Read,
    facts: &aegis_domain::Facts,
    region: &Region,
) -> Decision {
    let case = Case {
        id: ctx.id,
        call: &read.call,
        tool: read.tool.as_ref(),
        agent: &identified.agent,
        facts,
        region,
        outage: read.binding.outage,
    };
    let decision = aegis_decide::judge(&case, &read.policy.enforced);
    ctx.seen = aegis_decide::seen(&case, &read.policy.enforced);
    let shadow = read.policy.shadow.as_ref().map(|candidate| {
        let tool = candidate.resolve(&read.call).cloned();
        aegis_decide::shadow(&Case { tool: tool.as_ref(), ..case }, candidate)
    });
    Decision { shadow, ..decision }
}
