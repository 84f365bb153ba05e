//! What somebody who has the whole log, and wants a tenant not to see something, can do to the tenant's package.
//!
//! Whoever changes it here recomputes every hash that can be recomputed without the region's key.

use aegis_audit_chain::link::Walker;
use aegis_audit_chain::note::SecretKey;
use aegis_audit_chain::roster::Lines;
use aegis_audit_chain::source::{LogSource as _, log_files};
use aegis_audit_chain::walk::walk_file;
use aegis_audit_chain::{Hash, layout, record, tree};
use aegis_audit_registry::RegistryFlaw;
use aegis_audit_ship::Directory;
use aegis_audit_tenant::{Flaw, Package, Standing, StreamPart, check};
use aegis_audit_trust::Trust;
use aegis_audit_verify::Verdict;

use crate::support::{calls, checked, copy_dir, log, open, package, trust};

/// Number of the first stream's record that is the tenant's n-th.
fn seq(part: &StreamPart, n: usize) -> Option<u64> {
    record::Head::parse(&part.records[n]).map(|head| head.seq)
}

/// What is named first after an attack on acme's part of the first stream; it must be a failure.
fn first(attack: impl FnOnce(&mut StreamPart, &Theirs)) -> (Flaw, Option<u64>) {
    let dir = log();
    let mut package = package(dir.path(), "acme");
    let theirs = Theirs::of(dir.path(), &package.registries[0].streams[0]);
    attack(&mut package.registries[0].streams[0], &theirs);
    named(&package)
}

fn named(package: &Package) -> (Flaw, Option<u64>) {
    let report = checked(package);
    assert_eq!(report.verdict(), Verdict::Fail, "{report:#?}");
    (report.findings[0].flaw.clone(), report.findings[0].seq)
}

/// What the attacker has: the whole stream.
struct Theirs {
    leaves: Vec<Hash>,
    records: Vec<Vec<u8>>,
    lines: Lines,
}

impl Theirs {
    fn of(dir: &std::path::Path, part: &StreamPart) -> Self {
        let (source, origin) = (Directory(dir.to_path_buf()), &part.origin);
        let (mut walker, mut records) = (Walker::new(origin.clone()), Vec::new());
        for first in log_files(&source, origin).unwrap() {
            let bytes = source.read(&layout::wal_file(origin, first)).unwrap().unwrap();
            walk_file(&mut walker, (first, &bytes), &mut |_, step| {
                records.push(step.record.to_vec());
            });
        }
        let leaves = records.iter().map(|record| Hash::leaf(record)).collect();
        Self { leaves, records, lines: walker.roster_lines() }
    }

    /// A path that leads from what is left to the signed root.
    fn path(&self, part: &StreamPart) -> Vec<Hash> {
        let seqs = part.records.iter().map(|record| record::Head::parse(record).unwrap().seq);
        let wanted: Vec<usize> = seqs.map(|seq| seq as usize).collect();
        tree::subset_proof(&self.leaves, &wanted).unwrap()
    }
}

#[test]
fn a_record_left_out_is_named_by_its_number() {
    let dropped = first(|part, theirs| {
        part.records.remove(1);
        part.path = theirs.path(part);
    });
    assert!(matches!(dropped.0, Flaw::Dropped { from: 1, to: 1 }), "{dropped:?}");
    let beginning = first(|part, theirs| {
        part.records.drain(..2);
        part.path = theirs.path(part);
    });
    assert!(matches!(beginning.0, Flaw::Dropped { from: 0, to: 1 }), "{beginning:?}");
}

#[test]
fn the_last_records_left_out_are_missed_by_the_roster() {
    // With a path that holds, and with the reach left as it is or changed to fit.
    let cut = |part: &mut StreamPart, theirs: &Theirs, keep: usize| {
        part.records.truncate(keep);
        part.path = theirs.path(part);
    };
    let found = first(|part, theirs| cut(part, theirs, 4));
    assert_eq!(found.0, Flaw::Truncated { found: 4, signed: 5 });
    let found = first(|part, theirs| cut(part, theirs, 2));
    assert_eq!(found.0, Flaw::Truncated { found: 2, signed: 5 });
    let found = first(|part, theirs| {
        cut(part, theirs, 4);
        let last = Hash::leaf(part.records.last().unwrap());
        let Standing::Present { reach, .. } = &mut part.standing else { panic!() };
        (reach.records, reach.last) = (4, last);
    });
    assert_eq!(found.0, Flaw::Roster);
}

#[test]
fn a_whole_stream_left_out_is_named() {
    let dir = log();
    let mut package = package(dir.path(), "acme");
    let gone = package.registries[0].streams.remove(0).origin;
    let report = checked(&package);
    assert_eq!((&report.findings[0].flaw, &report.findings[0].origin), (&Flaw::LeftOut, &gone));
}

#[test]
fn a_stream_that_is_said_to_hold_nothing_needs_two_neighbours_to_say_so() {
    let none = first(|part, _| {
        (part.records, part.path) = (Vec::new(), Vec::new());
        (part.standing, part.roster) = (Standing::Absent(Vec::new()), Vec::new());
    });
    assert_eq!(none.0, Flaw::Roster);
    // Any other lines of the roster, truly proven.
    for name in ["globex", "initech"] {
        let found = first(|part, theirs| {
            (part.records, part.path) = (Vec::new(), Vec::new());
            let key = part.origin.before_tenant(name);
            let (beside, roster) = theirs.lines.prove(key);
            (part.standing, part.roster) = (Standing::Absent(beside), roster);
        });
        assert_eq!(found.0, Flaw::NotAbsent, "{name}");
    }
}

#[test]
fn another_tenants_seal_in_place_of_this_ones_is_named() {
    let mut at = None;
    let found = first(|part, theirs| {
        let is_seal_of = |record: &&Vec<u8>| {
            record::kind_and_tenant(record) == Some(("tenant_seal", Some("globex")))
        };
        let seal = theirs.records.iter().find(is_seal_of).unwrap();
        *part.records.last_mut().unwrap() = seal.clone();
        at = seq(part, 4);
        part.path = theirs.path(part);
    });
    assert_eq!(found, (Flaw::OtherTenant, at));
}

#[test]
fn records_out_of_order_or_twice_are_named() {
    let swapped = first(|part, _| part.records.swap(1, 2));
    assert!(matches!(swapped.0, Flaw::Dropped { from: 1, to: 1 }), "{swapped:?}");
    let last_first = first(|part, _| part.records.rotate_right(1));
    assert!(matches!(last_first.0, Flaw::Dropped { from: 0, to: 3 }), "{last_first:?}");
    let twice = first(|part, _| part.records.insert(2, part.records[1].clone()));
    assert_eq!(twice.0, Flaw::Order);
}

#[test]
fn a_record_edited_is_named_by_the_one_after_it_or_by_the_head() {
    let edit = |record: &mut Vec<u8>| {
        let text = String::from_utf8(record.clone()).unwrap();
        *record = text.replace("\"deny\"", "\"allow\"").into_bytes();
    };
    let mut after = None;
    let middle = first(|part, _| {
        edit(&mut part.records[1]);
        after = seq(part, 2);
    });
    assert_eq!(middle, (Flaw::Changed, after));
    let last = first(|part, _| *part.records[4].last_mut().unwrap() = b' ');
    assert!(matches!(last.0, Flaw::Record(_)), "{last:?}");
    let clock = first(|part, _| part.records[4][190] ^= 1);
    assert_eq!(clock.0, Flaw::Last);
}

#[test]
fn a_part_proven_under_an_older_head_is_stale() {
    let (dir, older) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let journal = open(dir.path());
    calls(&journal, &["acme", "globex", "acme"]);
    copy_dir(dir.path(), older.path());
    journal.close().unwrap();
    let (old, mut new) = (package(older.path(), "acme"), package(dir.path(), "acme"));
    assert_eq!(checked(&old).verdict(), Verdict::Pass);
    let signed = new.registries[0].streams[0].size;
    new.registries[0].streams = old.registries[0].streams.clone();
    let found = new.registries[0].streams[0].size;
    assert_eq!(named(&new).0, Flaw::Stale { found, signed });
}

#[test]
fn a_whole_package_of_earlier_is_found_out_by_whoever_remembers_a_head() {
    let dir = log();
    let old = package(dir.path(), "acme");
    let journal = open(dir.path());
    calls(&journal, &["acme"]);
    journal.close().unwrap();
    let new = checked(&package(dir.path(), "acme"));
    let remembered = new.registries;
    let report = check(&old, &trust(), &remembered);
    assert!(matches!(report.findings[0].flaw, Flaw::Older { .. }), "{report:#?}");
    let mut other = remembered;
    other[0].root = Hash::ZERO;
    let report = check(&package(dir.path(), "acme"), &trust(), &other);
    assert!(matches!(report.findings[0].flaw, Flaw::Other { .. }), "{report:#?}");
}

#[test]
fn a_registry_cut_back_edited_or_of_another_key_is_not_believed() {
    let dir = log();
    let whole = package(dir.path(), "acme");
    let flaw = |change: fn(&mut Vec<Vec<u8>>)| {
        let mut package = whole.clone();
        change(&mut package.registries[0].records);
        named(&package).0
    };
    let torn = flaw(|records| drop(records.pop()));
    assert!(matches!(torn, Flaw::Registry(RegistryFlaw::Torn)), "{torn:?}");
    assert!(matches!(flaw(|records| drop(records.remove(3))), Flaw::Registry(_)));
    assert!(matches!(flaw(Vec::clear), Flaw::Registry(RegistryFlaw::Unsigned)));
    // A registry cut back to a head of its own is an earlier state, in which some of these streams were not born.
    let earlier = flaw(|records| records.truncate(4));
    assert!(matches!(earlier, Flaw::Stranger | Flaw::Stale { .. }), "{earlier:?}");

    let other = SecretKey::from_seed(&[8; 32]).verifier("aegis.example/eu-west-1/registry.gw-1/1");
    let report = check(&whole, &Trust::of(other).unwrap(), &[]);
    assert_eq!(report.findings[0].flaw, Flaw::Registry(RegistryFlaw::Signature));
    let elsewhere =
        SecretKey::from_seed(&[7; 32]).verifier("aegis.example/us-east-1/registry.gw-1/1");
    let report = check(&whole, &Trust::of(elsewhere).unwrap(), &[]);
    assert_eq!((report.verdict(), &report.findings[0].flaw), (Verdict::Fail, &Flaw::Untrusted));
}

#[test]
fn a_stream_brought_twice_or_unknown_to_the_registry_is_named() {
    let dir = log();
    let mut package = package(dir.path(), "acme");
    let again = package.registries[0].streams[0].clone();
    package.registries[0].streams.push(again);
    assert_eq!(named(&package).0, Flaw::Stranger);
}

#[test]
fn no_changed_byte_of_a_package_passes() {
    let dir = log();
    let package = package(dir.path(), "acme");
    let text = package.to_text();
    // The newest head's signature covers what stands before its record; the record itself is covered by the head to come.
    let newest = String::from_utf8(package.registries[0].records.last().unwrap().clone()).unwrap();
    let begins = text.find(&newest).unwrap();
    let uncovered = begins..begins + newest.find("\"k\":").unwrap();
    // Every 11th byte: each kind of line is met many times, and a run stays short.
    for at in (0..text.len()).step_by(11) {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1;
        let passes = String::from_utf8(bytes).is_ok_and(|text| {
            Package::parse(&text)
                .is_ok_and(|package| check(&package, &trust(), &[]).verdict() == Verdict::Pass)
        });
        assert!(!passes || uncovered.contains(&at), "byte {at} of {}", text.len());
    }
}
