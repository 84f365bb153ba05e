//! Logs that change while they are verified: by a gateway that goes on, and by one that deletes what was shipped.
//!
//! Not here: logs that somebody changes. Invariant: at whatever moment an honest log grows or gets shorter, no verifier calls it
//! changed.

use std::borrow::Cow;
use std::sync::Mutex;
use std::time::Duration;

use aegis_audit_chain::source::{LogSource, SourceError};
use aegis_audit_ship::{Directory, Journal, JournalConfig, start};
use aegis_audit_verify::{Depth, Options, Report, Verdict, verify_region};

use crate::prune::{journal, nothing};
use crate::support::{Place, copy_dir, trust, write_calls};
use aegis_audit_ship::ShipConfig;

const PATIENCE: Duration = Duration::from_secs(60);

type Act<'a> = Box<dyn FnOnce() + Send + 'a>;

/// A directory in which something happens before its n-th file or folder is looked at.
struct Meanwhile<'a> {
    directory: Directory,
    left: Mutex<(usize, Option<Act<'a>>)>,
}

impl Meanwhile<'_> {
    fn step(&self) {
        let mut left = self.left.lock().unwrap();
        match left.0.checked_sub(1) {
            Some(fewer) => left.0 = fewer,
            None => left.1.take().into_iter().for_each(|act| act()),
        }
    }
}

impl LogSource for Meanwhile<'_> {
    fn list(&self, dir: &str) -> Result<Vec<String>, SourceError> {
        self.step();
        self.directory.list(dir)
    }

    fn read(&self, path: &str) -> Result<Option<Cow<'_, [u8]>>, SourceError> {
        self.step();
        self.directory.read(path)
    }
}

/// Verifies copies of a log, each with something else's happening at another moment, until one is over before it happens.
fn at_every_moment(place: &Place, act: impl Fn(&Place) + Sync) -> usize {
    for moment in 0.. {
        let copy = Place::new();
        copy_dir(place.dir.path(), copy.dir.path());
        copy_dir(place.bucket.path(), copy.bucket.path());
        let left = Mutex::new((moment, Some(Box::new(|| act(&copy)) as Act<'_>)));
        let source = Meanwhile { directory: Directory(copy.dir.path().to_path_buf()), left };
        let options =
            Options { depth: Depth::Schema, remembered: Vec::new(), witnessed_since: None };
        let report: Report = verify_region(&source, &trust(), &options, &mut |_| {});
        let is_sound = matches!(report.verdict(), Verdict::Pass | Verdict::Incomplete);
        assert!(is_sound, "before look {moment}: {report:#?}");
        if source.left.lock().unwrap().1.is_some() {
            return moment;
        }
    }
    unreachable!()
}

#[test]
fn a_life_that_begins_and_ends_meanwhile_is_no_flaw() {
    let place = Place::new();
    place.live(3);
    place.live(2);
    let moments = at_every_moment(&place, |copy| {
        let journal = copy.open();
        write_calls(&journal, 3);
        journal.close().unwrap();
    });
    assert!(moments > 15, "{moments}");
}

#[test]
fn files_that_were_shipped_and_go_meanwhile_are_no_flaw() {
    let place = Place::new();
    for _ in 0..2 {
        let journal = Journal::open(journal(&place)).unwrap().0;
        let shipper = start(place.shipping(), &journal).unwrap();
        write_calls(&journal, 40);
        journal.close().unwrap();
        assert_eq!(shipper.stop(PATIENCE).trouble, None);
    }
    let moments = at_every_moment(&place, |copy| {
        let config = JournalConfig { dir: copy.dir.path().to_path_buf(), ..journal(&place) };
        let journal = Journal::open(config).unwrap().0;
        let shipping = ShipConfig { keep: nothing(), ..copy.shipping() };
        let shipper = start(shipping, &journal).unwrap();
        let note = copy.dir.path().join("streams/gw-1/00000000000000000002/pruned.note");
        crate::support::wait_for(&shipper, |_| note.exists());
        journal.close().unwrap();
        assert_eq!(shipper.stop(PATIENCE).trouble, None);
    });
    assert!(moments > 25, "{moments}");
}
