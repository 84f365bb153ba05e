//! Every log that a test here verifies is verified by one thread and by two: the reports must be the same.
//!
//! Not here: logs and what is done to them. Invariant: what a test is handed is the report of one who worked alone.

use std::sync::atomic::{AtomicUsize, Ordering};

use aegis_audit_chain::source::LogSource;
use aegis_audit_chain::trust::Trust;
use aegis_audit_verify::{Crew, Lead, Options, Report, verify_region, verify_region_with};

/// Two threads, which are through with everything before it is asked for.
struct Two;

impl Crew for Two {
    fn run(&self, count: usize, errand: &(dyn Fn(usize) + Sync), lead: &mut Lead<'_>) {
        let next = AtomicUsize::new(0);
        let work = || {
            let turns = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
            turns.take_while(|turn| *turn < count).for_each(errand);
        };
        std::thread::scope(|scope| {
            scope.spawn(work);
            work();
        });
        lead(&|_| {});
    }
}

pub(crate) fn agreed(source: &dyn LogSource, trust: &Trust, options: &Options) -> Report {
    let alone = verify_region(source, trust, options, &mut |_| {});
    let helped = verify_region_with(&Two, source, trust, options, &mut |_| {});
    assert_eq!(format!("{helped:#?}"), format!("{alone:#?}"));
    alone
}
