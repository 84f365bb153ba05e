//! The audit log against what upstreams saw: one intent for every request, over a whole run.
//!
//! Not here: what the requests were. Invariant: a request and its intent are paired by the span the gateway gave the
//! call, which is in the record and in the request's `traceparent`; nothing else is believed.

use std::collections::{BTreeMap, BTreeSet};

use aegis_audit_chain::record::{DecisionEntry, OutcomeDue};
use aegis_audit_verify::Verdict;
use aegis_domain::Reason;
use aegis_testkit::Building;

/// The records of a run that is over.
pub(crate) struct Evidence {
    /// Those that permitted a request to leave, by the `traceparent` it left with.
    intents: BTreeMap<String, DecisionEntry>,
    pub(crate) decisions: usize,
}

impl Evidence {
    /// Stops the gateway, verifies its log as an outsider would, and reads it.
    pub(crate) async fn of(house: &mut Building) -> Self {
        house.stop().await;
        let report = house.verify();
        assert_eq!(report.verdict(), Verdict::Pass, "{:?} {:?}", report.findings, report.gaps);
        assert_eq!(report.unsettled_count, 0, "{:?}", report.unsettled);
        let decisions = house.journal().decisions();
        let count = decisions.len();
        let mut intents = BTreeMap::new();
        for decision in decisions.into_iter().filter(|one| one.outcome == OutcomeDue::Follows) {
            let trace = decision.trace.as_ref().unwrap().header();
            assert!(intents.insert(trace, decision).is_none(), "two intents have one span");
        }
        Self { intents, decisions: count }
    }

    /// The intent behind a request that an upstream saw.
    pub(crate) fn intent(&self, traceparent: &str) -> &DecisionEntry {
        self.intents
            .get(traceparent)
            .unwrap_or_else(|| panic!("a request without an intent: {traceparent:?}"))
    }

    /// Every intent of the run.
    pub(crate) fn intents(&self) -> impl Iterator<Item = &DecisionEntry> {
        self.intents.values()
    }

    /// Pairs requests and intents, one to one; an intent without a request must have an outcome that says so. Returns
    /// how many pairs there are, and how many intents came to nothing.
    pub(crate) fn pairs(&self, house: &Building, seen: &[String]) -> (usize, usize) {
        let distinct: BTreeSet<&String> = seen.iter().collect();
        assert_eq!(distinct.len(), seen.len(), "one intent let two requests through");
        for traceparent in seen {
            self.intent(traceparent);
        }
        let ids: BTreeSet<_> = seen.iter().map(|one| self.intent(one).id).collect();
        assert_eq!(ids.len(), seen.len(), "two requests have one decision");
        let outcomes = house.journal().outcomes();
        let unsent = self.intents.iter().filter(|(trace, _)| !distinct.contains(trace));
        let mut unsent_count = 0;
        for (trace, intent) in unsent {
            unsent_count += 1;
            let [outcome] = outcomes[&intent.id].as_slice() else {
                panic!("{trace} has not one outcome")
            };
            let is_told = !matches!(outcome.reason, Reason::Allowed | Reason::Sanitized);
            assert!(is_told, "{trace} was sent, and no upstream saw it: {outcome:?}");
        }
        (seen.len(), unsent_count)
    }
}
