//! Whoever helps the verifier, and however: the report is that of one who works alone.

use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};

use aegis_audit_chain::source::{LogSource, SourceError};
use aegis_audit_verify::{
    Alone, Crew, Depth, Lead, Options, Progress, Report, Verdict, verify_region_with,
};
use proptest::prelude::*;

use crate::damage::{Damage, damages};
use crate::region::{End, Lie, Memory, Shape, region, trust};
use crate::two::Two;

/// A log that counts how often a file of a stream is read.
struct Counting<'m>(&'m Memory, AtomicUsize);

impl Counting<'_> {
    fn counts(path: &str) -> bool {
        path.starts_with("streams/") && path.ends_with(".wal")
    }
}

impl LogSource for Counting<'_> {
    fn list(&self, dir: &str) -> Result<Vec<String>, SourceError> {
        self.0.list(dir)
    }

    fn read(&self, path: &str) -> Result<Option<Cow<'_, [u8]>>, SourceError> {
        self.1.fetch_add(usize::from(Self::counts(path)), Ordering::Relaxed);
        self.0.read(path)
    }
}

/// Does everything at once, the last thing first.
pub(crate) struct Eager;

impl Crew for Eager {
    fn run(&self, count: usize, errand: &(dyn Fn(usize) + Sync), lead: &mut Lead<'_>) {
        (0..count).rev().for_each(errand);
        lead(&|_| {});
    }
}

/// Does every other thing only, each when it is waited for.
struct Lazy;

impl Crew for Lazy {
    fn run(&self, _count: usize, errand: &(dyn Fn(usize) + Sync), lead: &mut Lead<'_>) {
        lead(&|turn| {
            if turn % 2 == 0 {
                errand(turn);
            }
        });
    }
}

fn verify(crew: &dyn Crew, log: &dyn LogSource, depth: Depth) -> (Report, Progress) {
    let options = Options { depth, remembered: Vec::new(), witnessed_since: None };
    let mut last = Progress::default();
    let report = verify_region_with(crew, log, &trust(), &options, &mut |now| last = now);
    (report, last)
}

/// What one who works alone says, once all others have said the same.
fn agreed(log: &Memory) -> Report {
    let mut reports = Vec::new();
    for depth in [Depth::Chain, Depth::Schema] {
        let (alone, progress) = verify(&Alone, log, depth);
        for crew in [&Eager as &dyn Crew, &Lazy, &Two] {
            let (report, seen) = verify(crew, log, depth);
            assert_eq!(format!("{report:#?}"), format!("{alone:#?}"));
            assert_eq!(seen, progress);
        }
        reports.push(alone);
    }
    reports.pop().unwrap()
}

fn shape() -> impl Strategy<Value = Shape> {
    let lie = prop_oneof![
        Just(Lie::OutcomeAlone),
        Just(Lie::OutcomeOther),
        Just(Lie::OutcomeTwice),
        Just(Lie::Sums),
        Just(Lie::Clock),
        Just(Lie::Reference),
        Just(Lie::Kind),
    ];
    let lie = prop::option::weighted(0.3, (2_u64..150, lie));
    let end = prop_oneof![Just(End::Closed), Just(End::Open)];
    let files = (1_u64..4, 1_u64..5, 30_u64..60);
    let every = (1_u64..50, 0_u64..40, 25_u64..80);
    (files, 0_u64..4, every, lie, end).prop_map(|(files, tenants, every, lie, end)| {
        let (streams, files, records_per_file) = files;
        let (anchored_every, settled_after, sealed_every) = every;
        let shape =
            Shape { streams, files, records_per_file, tenants, lie, end, ..Shape::default() };
        Shape { anchored_every, settled_after, sealed_every, ..shape }
    })
}

#[test]
fn a_whole_log_passes_whoever_helps() {
    for settled_after in [0, 30] {
        let shape = Shape { streams: 3, files: 4, records_per_file: 100, ..Shape::default() };
        let shape = Shape { anchored_every: 7, settled_after, sealed_every: 60, ..shape };
        let log = region(shape);
        let report = agreed(&log);
        assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
        let counting = Counting(&log, AtomicUsize::new(0));
        verify(&Eager, &counting, Depth::Schema);
        let files = log.0.keys().filter(|path| Counting::counts(path)).count();
        assert!(files > 9);
        assert_eq!(counting.1.into_inner(), files, "what was surveyed is not read again");
    }
}

#[test]
fn a_contradiction_is_found_at_its_place_whoever_helps() {
    let lies =
        [Lie::OutcomeAlone, Lie::OutcomeOther, Lie::OutcomeTwice, Lie::Sums, Lie::Clock, Lie::Kind];
    for lie in lies {
        // Around the border between two files.
        for at in 98..103 {
            let shape =
                Shape { files: 3, records_per_file: 100, settled_after: 0, ..Shape::default() };
            let report = agreed(&region(Shape { lie: Some((at, lie)), ..shape }));
            assert_eq!(report.verdict(), Verdict::Suspect, "{lie:?} at {at}: {report:#?}");
        }
    }
}

#[test]
fn where_no_root_is_signed_the_links_between_files_are_still_held() {
    let shape = Shape { files: 3, records_per_file: 60, end: End::Open, ..Shape::default() };
    let whole = region(shape);
    assert_eq!(agreed(&whole).verdict(), Verdict::Incomplete);
    let mut broken = 0;
    for file in (0..=u16::MAX).step_by(8_000) {
        for record in [0, u16::MAX] {
            let mut log = whole.clone();
            Damage::edit(file, record, 60_000).apply(&mut log);
            broken += usize::from(agreed(&log).verdict() == Verdict::Fail);
        }
    }
    assert!(broken > 5, "{broken}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_damaged_log_gets_the_same_report_whoever_helps(shape in shape(), damages in damages()) {
        let mut log = region(shape);
        damages.iter().for_each(|damage| damage.apply(&mut log));
        agreed(&log);
    }
}
