//! What an outside witness makes of the registry: `aics-witness`, unmodified, asked by the product.

use std::fs;
use std::path::Path;

use aegis_audit_chain::cosignature::Witness as Key;
use aegis_audit_ship::{Directory, Journal, JournalConfig, Keep, RealDisk, ShipConfig, start};
use aegis_audit_trust::Trust;
use aegis_audit_verify::{Depth, Flaw, Gap, Options, Report, Verdict, verify_region};
use aegis_audit_witness::{WitnessAt, WitnessConfig, WitnessStanding, Witnesses};
use aegis_domain::Timestamp;

use crate::support::{Place, REGISTRY, config, copy_dir, region_key, wals, write_calls};
use crate::verifiers::witness::Witness;

const SEEN: &str = "registry.gw-1/1/witnessed";

fn region_vkey() -> String {
    region_key().verifier(REGISTRY).to_string()
}

fn asking(journal: &Journal, dir: &Path, witness: &Witness) -> WitnessConfig {
    let key = Key::parse(witness.vkey()).unwrap();
    WitnessConfig {
        dir: dir.to_path_buf(),
        registry: aegis_audit_chain::Origin::parse(REGISTRY).unwrap(),
        region: region_key().verifier(REGISTRY),
        disk: std::sync::Arc::new(RealDisk),
        heads: vec![journal.newest_head()],
        witnesses: vec![WitnessAt { witness: key, url: witness.url(), ca: None }],
        quorum: None,
    }
}

/// One life of a journal, after which the witness was shown its last head; what it said.
fn live(dir: &Path, witness: &Witness, calls: u64) -> WitnessStanding {
    live_with(config(dir), witness, calls)
}

fn live_with(settings: JournalConfig, witness: &Witness, calls: u64) -> WitnessStanding {
    let dir = &settings.dir.clone();
    let journal = Journal::open(settings).unwrap().0;
    let witnesses = Witnesses::start(asking(&journal, dir, witness)).unwrap();
    write_calls(&journal, calls);
    journal.close().unwrap();
    let standing = witnesses.stop();
    standing.into_iter().next().unwrap()
}

fn verify(dir: &Path, quorum: &str, since: Option<Timestamp>) -> Report {
    let trust = Trust::parse(&format!("log {}\n{quorum}", region_vkey())).unwrap();
    let options = Options { depth: Depth::Schema, remembered: Vec::new(), witnessed_since: since };
    verify_region(&Directory(dir.to_path_buf()), &trust, &options, &mut |_| {})
}

fn quorum(witness: &Witness) -> String {
    format!("witness w1 {}\nquorum w1\n", witness.vkey())
}

fn notes(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir.join(SEEN))
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_witness_sees_each_life_and_its_word_is_shipped() {
    let Some(witness) = Witness::start(REGISTRY, &region_vkey()) else { return };
    let place = Place::new();
    let first = live(place.dir.path(), &witness, 3);
    assert_eq!(first.trouble, None);
    let second = live(place.dir.path(), &witness, 2);
    assert!(second.size > first.size, "{first:?} {second:?}");

    let report = verify(place.dir.path(), &quorum(&witness), None);
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
    let [seen] = report.witnessed.as_slice() else { panic!("{report:#?}") };
    assert_eq!((seen.head.size, &*seen.by[0]), (second.size, "w1"));

    // In the bucket a third life finds them, with everything they speak of.
    let journal = place.open();
    let shipper = start(place.shipping(), &journal).unwrap();
    journal.close().unwrap();
    assert_eq!(shipper.stop(std::time::Duration::from_secs(30)).trouble, None);
    let log = aegis_audit_ship::Log::open(place.bucket.path().to_str().unwrap(), &[]).unwrap();
    let trust = format!("log {}\n{}", region_vkey(), quorum(&witness));
    let options = Options { depth: Depth::Schema, remembered: Vec::new(), witnessed_since: None };
    let reports = log.each(&Trust::parse(&trust).unwrap(), &mut |source, trust| {
        Ok::<_, aegis_audit_ship::BucketError>(verify_region(source, trust, &options, &mut |_| {}))
    });
    let [shipped] = <[Report; 1]>::try_from(reports.unwrap()).unwrap();
    assert_eq!(shipped.verdict(), Verdict::Pass, "{shipped:#?}");
    assert_eq!(shipped.witnessed, report.witnessed);
}

/// Files of two or three records, so that the registry has resume points.
fn small(dir: &Path) -> JournalConfig {
    JournalConfig { file_bytes: 2_048, ..config(dir) }
}

#[test]
fn a_witness_that_is_new_or_lags_is_shown_what_follows_from_a_resume_point() {
    let Some(witness) = Witness::start(REGISTRY, &region_vkey()) else { return };
    let place = Place::new();
    let alone = || {
        for _ in 0..4 {
            Journal::open(small(place.dir.path())).unwrap().0.close().unwrap();
        }
    };
    alone();
    // Whoever read the first file would not come to the head.
    let file = wals(place.dir.path(), "registry.gw-1/1").remove(0);
    let whole = fs::read(&file).unwrap();
    let mut spoiled = whole.clone();
    spoiled[400] ^= 1;
    fs::write(&file, spoiled).unwrap();
    let new = live_with(small(place.dir.path()), &witness, 1);
    assert_eq!(new.trouble, None);
    alone();
    let lagging = live_with(small(place.dir.path()), &witness, 1);
    assert_eq!(lagging.trouble, None);
    assert!(lagging.size > new.size + 20, "{new:?} {lagging:?}");
    fs::write(&file, whole).unwrap();
    let report = verify(place.dir.path(), &quorum(&witness), None);
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
    let copy = tempfile::tempdir().unwrap();
    copy_dir(place.dir.path(), copy.path());

    // A directory that is put back, with its points, is refused as ever.
    alone();
    assert_eq!(live_with(small(place.dir.path()), &witness, 1).trouble, None);
    let refused = live_with(small(copy.path()), &witness, 1).trouble.unwrap();
    assert!(refused.contains("rolled back") || refused.contains("forked"), "{refused}");
}

#[test]
fn what_witnesses_said_is_sent_once_and_only_the_newest_word_stays_here() {
    let Some(witness) = Witness::start(REGISTRY, &region_vkey()) else { return };
    let place = Place::new();
    for _ in 0..3 {
        live(place.dir.path(), &witness, 1);
    }
    let all = notes(place.dir.path());
    assert_eq!(all.len(), 3);
    let ship = |keep: Option<Keep>| {
        let journal = place.open();
        let shipper = start(ShipConfig { keep, ..place.shipping() }, &journal).unwrap();
        journal.close().unwrap();
        assert_eq!(shipper.stop(std::time::Duration::from_secs(30)).trouble, None);
    };
    let ever = |_: &aegis_audit_chain::Origin, _| false;
    let young = std::time::Duration::from_secs(3_600);
    ship(None);
    ship(Some(Keep { at_least: young, is_read: std::sync::Arc::new(ever) }));
    assert_eq!(notes(place.dir.path()), all, "kept, or too young");
    let at_least = std::time::Duration::ZERO;
    ship(Some(Keep { at_least, is_read: std::sync::Arc::new(ever) }));
    assert_eq!(notes(place.dir.path()), all[2..]);
    let receipts = place.dir.path().join("ship/registry.gw-1/00000000000000000001/receipts.jsonl");
    let receipts = fs::read_to_string(receipts).unwrap();
    let sent = receipts.lines().filter(|line| line.contains("/wit/")).count();
    assert_eq!(sent, 3, "{receipts}");
    assert_eq!(
        fs::read_dir(
            place.bucket.path().join("v1/eu-west-1/registry.gw-1/00000000000000000001/wit")
        )
        .unwrap()
        .count(),
        3
    );
    let report = verify(place.dir.path(), &quorum(&witness), None);
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
}

#[test]
fn what_no_trusted_witness_saw_is_incomplete_and_so_is_what_none_saw_lately() {
    let Some(witness) = Witness::start(REGISTRY, &region_vkey()) else { return };
    let Some(other) = Witness::start(REGISTRY, &region_vkey()) else { return };
    let place = Place::new();
    live(place.dir.path(), &witness, 2);
    let report = verify(place.dir.path(), &quorum(&other), None);
    assert!(matches!(report.gaps.as_slice(), [Gap::Unwitnessed { .. }]), "{report:#?}");
    assert_eq!(report.verdict(), Verdict::Incomplete);

    let seen = verify(place.dir.path(), &quorum(&witness), None).witnessed[0].at;
    let later = Timestamp::from_unix_s(seen.unix_s() + 1);
    assert_eq!(verify(place.dir.path(), &quorum(&witness), Some(seen)).verdict(), Verdict::Pass);
    let report = verify(place.dir.path(), &quorum(&witness), Some(later));
    assert!(matches!(report.gaps.as_slice(), [Gap::WitnessedLongAgo { .. }]), "{report:#?}");
}

/// The operator holds the region key, cuts the registry back, and writes another history. A chain alone would pass.
#[test]
fn a_registry_that_was_rolled_back_or_forked_is_refused_by_the_witness_and_found_by_the_verifier() {
    let Some(witness) = Witness::start(REGISTRY, &region_vkey()) else { return };
    let (honest, forked) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    live(honest.path(), &witness, 2);
    copy_dir(honest.path(), forked.path());
    live(honest.path(), &witness, 5);

    let refused = live(forked.path(), &witness, 1);
    let trouble = refused.trouble.unwrap();
    assert!(trouble.contains("rolled back") || trouble.contains("forked"), "{trouble}");
    assert_eq!(notes(forked.path()).len(), 1, "the other history has no witness");
    let report = verify(forked.path(), "quorum none\n", None);
    assert_eq!(report.verdict(), Verdict::Pass, "without witnesses nobody can tell");

    // Somebody kept what the witness said of the true history.
    for name in notes(honest.path()) {
        fs::copy(honest.path().join(SEEN).join(&name), forked.path().join(SEEN).join(&name))
            .unwrap();
    }
    let report = verify(forked.path(), &quorum(&witness), None);
    let is_told = |flaw: &Flaw| matches!(flaw, Flaw::Root { .. } | Flaw::Truncated { .. });
    assert!(report.findings.iter().any(|one| is_told(&one.flaw)), "{report:#?}");
    assert_eq!(report.verdict(), Verdict::Fail);
}

#[test]
fn a_witness_that_is_away_holds_up_nothing_and_is_shown_what_it_missed() {
    let Some(mut witness) = Witness::start(REGISTRY, &region_vkey()) else { return };
    let place = Place::new();
    live(place.dir.path(), &witness, 2);
    witness.kill();
    let away = live(place.dir.path(), &witness, 2);
    assert!(away.trouble.unwrap().contains("no answer"));
    assert_eq!(notes(place.dir.path()).len(), 1);
    witness.restart();
    assert_eq!(live(place.dir.path(), &witness, 2).trouble, None);
    let report = verify(place.dir.path(), &quorum(&witness), None);
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
}

#[test]
fn a_cosignature_that_was_changed_is_found() {
    let Some(witness) = Witness::start(REGISTRY, &region_vkey()) else { return };
    let place = Place::new();
    live(place.dir.path(), &witness, 2);
    let path = place.dir.path().join(SEEN).join(&notes(place.dir.path())[0]);
    let note = fs::read_to_string(&path).unwrap();
    let (before, blob) = note.trim_end().rsplit_once(' ').unwrap();
    // The sixth letter is in the time that the witness put its name to.
    let other = if &blob[6..7] == "A" { "B" } else { "A" };
    fs::write(&path, format!("{before} {}{other}{}\n", &blob[..6], &blob[7..])).unwrap();
    let report = verify(place.dir.path(), &quorum(&witness), None);
    assert!(matches!(report.findings[0].flaw, Flaw::Note(_)), "{report:#?}");
    assert_eq!(report.verdict(), Verdict::Fail);
}

/// Each start sent every note since the registry began, all in one round, and asked the store about each.
#[test]
fn a_start_sends_no_witnessed_head_again_and_many_go_in_many_rounds() {
    let place = Place::new();
    (0..40).for_each(|_| drop(place.live(1)));
    let seen = place.dir.path().join(SEEN);
    fs::create_dir_all(&seen).unwrap();
    (1..=120).for_each(|size| fs::write(seen.join(format!("{size:020}.note")), "seen").unwrap());
    let receipts = place.dir.path().join("ship/registry.gw-1/00000000000000000001/receipts.jsonl");
    let count = || fs::read_to_string(&receipts).unwrap().matches("/wit/").count();
    let journal = place.open();
    let shipper = start(place.shipping(), &journal).unwrap();
    crate::support::wait_for(&shipper, |_| count() == 120);
    journal.close().unwrap();
    assert_eq!(shipper.stop(std::time::Duration::from_secs(30)).trouble, None);
    place.live(1);
    assert_eq!(count(), 120);
}
