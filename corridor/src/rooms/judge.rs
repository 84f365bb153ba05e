//! Room 4: the verdict.
//!
//! Not here: the order of checks (`decide`), and what a candidate would have said (`shadow`). Invariant: no await, no clock, no effect; the same input gives the same
//! decision.

use std::collections::BTreeSet;

use aegis_decide::Case;
use aegis_domain::{Decision, Facts, Region, RuleId};

use crate::context::{CallContext, Identified, Read};

/// Judges a call whose facts are known, and keeps what the policy saw of it for `seal`.
pub fn judge(
    ctx: &mut CallContext,
    (identified, read, facts): (&Identified, &Read, &Facts),
    region: &Region,
    approved: &BTreeSet<RuleId>,
) -> Decision {
    let case = Case {
        id: ctx.id,
        call: &read.call,
        tool: read.tool.as_ref(),
        agent: &identified.agent,
        facts,
        region,
        outage: read.binding.outage,
        approved,
    };
    let policy = &identified.judges.enforced;
    ctx.seen = aegis_decide::seen(&case, policy);
    aegis_decide::judge(&case, policy)
}
