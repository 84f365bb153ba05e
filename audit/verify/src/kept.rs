//! Whether the objects that a log was read from are kept as long as was asked for.
//!
//! Not here: asking the store (`audit/bucket`). Invariant: an object that is kept for less is a finding under its own name, and what the
//! store did not say leaves the answer open; the counts are whole where lists are not.

use std::collections::BTreeMap;

use aegis_audit_chain::retention::{Kept, Retention, Said};
use aegis_audit_chain::source::LogSource;

use crate::{Finding, Flaw, Gap, Place, Report};

/// Objects that are kept for less are all counted, and this many named.
const NAMED_MAX: usize = 10_000;

/// How long the objects of a log are kept, by what their store says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptReport {
    pub asked: Retention,
    /// How many it was asked about.
    pub objects: u64,
    pub weaker: u64,
    /// Of these it did not say.
    pub unknown: u64,
    /// The first instant at which one of them is kept no longer, in seconds since 1970.
    pub earliest_s: Option<u64>,
}

impl KeptReport {
    /// Those that are kept as was asked for.
    pub fn as_asked(&self) -> u64 {
        self.objects.saturating_sub(self.weaker).saturating_sub(self.unknown)
    }

    /// Adds what was said of another region's objects.
    pub(crate) fn absorb(&mut self, other: &Self) {
        self.objects = self.objects.saturating_add(other.objects);
        self.weaker = self.weaker.saturating_add(other.weaker);
        self.unknown = self.unknown.saturating_add(other.unknown);
        self.earliest_s = [self.earliest_s, other.earliest_s].into_iter().flatten().min();
    }
}

/// Adds to the report of the same log how long its objects are kept.
pub fn check_kept(asked: Retention, source: &dyn LogSource, report: &mut Report) {
    let Kept { objects, weaker, unknown, earliest_s } = source.kept(asked);
    let all_of =
        |said: &[Said]| said.iter().fold(0, |sum: u64, one| sum.saturating_add(one.objects));
    let (weaker_all, unknown_all) = (all_of(&weaker), all_of(&unknown));
    for Said { of, what: found, .. } in weaker.into_iter().take(NAMED_MAX) {
        let place = Place { file: Some(of), ..Place::default() };
        report.findings.push(Finding { place, flaw: Flaw::Kept { found, asked } });
    }
    // Most are unknown for one reason.
    let mut reasons: BTreeMap<String, (u64, String)> = BTreeMap::new();
    for Said { of, objects, what } in unknown {
        let reason = reasons.entry(what).or_insert((0, of));
        reason.0 = reason.0.saturating_add(objects);
    }
    for (why, (objects, first)) in reasons {
        report.gaps.push(Gap::Kept { objects, first, why });
    }
    let (weaker, unknown) = (weaker_all, unknown_all);
    report.kept = Some(KeptReport { asked, objects, weaker, unknown, earliest_s });
}
