//! What a missing hot-state answer means for a call: the outage policy, in one match.
//!
//! Not here: when to stop asking (`state::breaker`). Invariant: a write never goes on without its facts.

use aegis_domain::{CallKind, Degraded, Outage, Reason};

/// What the operator wants for reads while the hot state is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutageRule {
    /// Refuse everything (the default).
    DenyAll,
    /// Let reads that cost nothing go on, marked as degraded.
    AllowFreeReads,
}

/// Whether a call may go on to policy although the hot state gave no answer.
pub(crate) fn without_facts(
    rule: OutageRule,
    kind: CallKind,
    is_free: IsFree,
    outage: Outage,
) -> Result<Degraded, Reason> {
    match (outage, rule, kind, is_free) {
        (
            Outage::Unreachable | Outage::TimedOut | Outage::Storage,
            OutageRule::AllowFreeReads,
            CallKind::Read,
            IsFree::Yes,
        ) => Ok(Degraded::HotStateOutage),
        (Outage::Unreachable | Outage::TimedOut | Outage::Storage, _, _, _) => {
            Err(Reason::StateUnavailable)
        }
    }
}

/// Whether a call's estimate is zero, so that no budget can be overdrawn by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum IsFree {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_free_reads_go_on_and_only_where_the_operator_said_so() {
        let outage = Outage::TimedOut;
        let allow = OutageRule::AllowFreeReads;
        assert!(without_facts(allow, CallKind::Read, IsFree::Yes, outage).is_ok());
        assert!(without_facts(allow, CallKind::Write, IsFree::Yes, outage).is_err());
        assert!(without_facts(allow, CallKind::Read, IsFree::No, outage).is_err());
        assert!(without_facts(OutageRule::DenyAll, CallKind::Read, IsFree::Yes, outage).is_err());
    }
}
