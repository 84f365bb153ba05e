//! What an outage means for a call: of the hot state, whose answer is missing, or of the audit bucket, which falls behind.
//!
//! Not here: when to stop asking (`state::breaker`), how much may wait for the bucket (`audit/ship`). Invariant: a write never
//! goes on without its facts, nor while more records wait than may.

use aegis_domain::{CallKind, Degraded, Outage, Reason};

/// What the operator wants for reads while the hot state is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutageRule {
    /// Refuse everything (the default).
    DenyAll,
    /// Let reads that cost nothing and whose rules need no fact go on, marked as degraded.
    AllowFreeReads,
}

/// Whether a call may go on to policy although the hot state gave no answer.
pub(crate) fn without_facts(
    rule: OutageRule,
    kind: CallKind,
    facts: HotFacts,
    outage: Outage,
) -> Result<Degraded, Reason> {
    match (outage, rule, kind, facts) {
        (
            Outage::Unreachable | Outage::TimedOut | Outage::Storage,
            OutageRule::AllowFreeReads,
            CallKind::Read,
            HotFacts::Spare,
        ) => Ok(Degraded::HotStateOutage),
        (Outage::Unreachable | Outage::TimedOut | Outage::Storage, _, _, _) => {
            Err(Reason::StateUnavailable)
        }
    }
}

/// Whether a call can be judged without hot state: it costs nothing, so no budget can be overdrawn by it, and the
/// policy's compiler found that its tool asks for no fact (`Snapshot::may_degrade`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum HotFacts {
    Spare,
    Needed,
}

/// What the operator wants while more records wait for the audit bucket than may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BacklogRule {
    /// Refuse writes, let reads go on (the default).
    StopWrites,
    /// Refuse everything.
    StopAll,
}

impl BacklogRule {
    /// Whether a call may go on although too many records wait.
    pub fn admit(self, kind: CallKind) -> Result<(), Reason> {
        match (self, kind) {
            (BacklogRule::StopWrites, CallKind::Read) => Ok(()),
            (BacklogRule::StopWrites, CallKind::Write) | (BacklogRule::StopAll, _) => {
                Err(Reason::AuditBacklog)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_stops_writes_and_reads_only_where_the_operator_said_so() {
        let (stop_writes, stop_all) = (BacklogRule::StopWrites, BacklogRule::StopAll);
        assert_eq!(stop_writes.admit(CallKind::Read), Ok(()));
        for (rule, kind) in [
            (stop_writes, CallKind::Write),
            (stop_all, CallKind::Read),
            (stop_all, CallKind::Write),
        ] {
            assert_eq!(rule.admit(kind), Err(Reason::AuditBacklog), "{rule:?} {kind:?}");
        }
    }

    #[test]
    fn only_reads_that_need_no_fact_go_on_and_only_where_the_operator_said_so() {
        let outage = Outage::TimedOut;
        let allow = OutageRule::AllowFreeReads;
        assert!(without_facts(allow, CallKind::Read, HotFacts::Spare, outage).is_ok());
        assert!(without_facts(allow, CallKind::Write, HotFacts::Spare, outage).is_err());
        assert!(without_facts(allow, CallKind::Read, HotFacts::Needed, outage).is_err());
        assert!(
            without_facts(OutageRule::DenyAll, CallKind::Read, HotFacts::Spare, outage).is_err()
        );
    }
}
