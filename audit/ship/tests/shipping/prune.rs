//! Files of the journal go when the bucket has them for sure, and never before; what is left is told from what was stolen.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use aegis_audit_chain::link::Pruned;
use aegis_audit_chain::note::{SecretKey, Signer};
use aegis_audit_chain::{Origin, layout};
use aegis_audit_ship::{
    Disk as _, Journal, JournalConfig, Keep, RealDisk, ShipConfig, Shipper, Tail, start,
};
use aegis_audit_verify::{Gap, Report, Verdict};

use crate::support::{
    Place, Renames, STREAM, address, copy_dir, verify, verify_local, wait_for, wals, write_calls,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A journal of small files.
pub(crate) fn journal(place: &Place) -> JournalConfig {
    JournalConfig { file_bytes: 8 * 1024, ..place.journal() }
}

fn keep(at_least: Duration, is_read: fn(&Origin, u64) -> bool) -> Option<Keep> {
    Some(Keep { at_least, is_read: Arc::new(is_read) })
}

pub(crate) fn nothing() -> Option<Keep> {
    keep(Duration::ZERO, |_, _| true)
}

fn begin(place: &Place, keep: Option<Keep>) -> (Journal, Shipper) {
    let (journal, _) = Journal::open(journal(place)).unwrap();
    let shipper = start(ShipConfig { keep, ..place.shipping() }, &journal).unwrap();
    (journal, shipper)
}

/// One life, which ends when it has deleted something of its own.
fn live(place: &Place, calls: u64, keep: Option<Keep>) {
    let (journal, shipper) = begin(place, keep);
    write_calls(&journal, calls);
    let note = place.dir.path().join(layout::pruned_note(journal.origin()));
    wait_for(&shipper, |_| note.exists());
    journal.close().unwrap();
    assert_eq!(shipper.stop(PATIENCE).trouble, None);
}

/// One life of which the records from some file on are left, because somebody has still to read them.
pub(crate) fn live_in_part(place: &Place) {
    live(place, 60, keep(Duration::ZERO, |_, size| size < 70));
}

fn is_pruned_only(report: &Report) -> bool {
    report.findings.is_empty() && report.gaps.iter().all(|gap| matches!(gap, Gap::Pruned { .. }))
}

#[test]
fn what_is_confirmed_and_old_goes_and_the_rest_is_whole_here_and_all_of_it_there() {
    let place = Place::new();
    live(&place, 60, nothing());
    // Of the second life the records from some file on are still to be read by somebody.
    live(&place, 60, keep(Duration::ZERO, |stream, size| stream.incarnation() == 1 || size < 70));
    let local = verify_local(place.dir.path());
    assert_eq!(local.verdict(), Verdict::Incomplete, "{local:#?}");
    assert!(is_pruned_only(&local), "{local:#?}");
    let remote = place.verify();
    assert_eq!(remote.verdict(), Verdict::Pass, "{remote:#?}");
    assert_eq!(local.streams, remote.streams);
    // The first stream ended long ago, so nothing of it is left.
    assert_eq!(wals(place.dir.path(), STREAM).len(), 0);
    assert!(local.records < remote.records);
    // Readers begin with what is there.
    let records = Tail::new(place.dir.path(), None).read(usize::MAX).unwrap();
    assert!(records.first().is_some_and(|record| record.seq > 0), "{}", records.len());
}

#[test]
fn nothing_goes_that_is_young_or_unread_or_not_in_the_bucket() {
    for (keep, address_is_good) in [
        (keep(Duration::from_secs(3_600), |_, _| true), true),
        (keep(Duration::ZERO, |_, _| false), true),
        (nothing(), false),
    ] {
        let place = Place::new();
        let (journal, _) = Journal::open(journal(&place)).unwrap();
        let mut shipping = ShipConfig { keep, ..place.shipping() };
        if !address_is_good {
            shipping.address = crate::address::of_port(9, "nowhere");
        }
        let shipper = start(shipping, &journal).unwrap();
        write_calls(&journal, 40);
        wait_for(&shipper, |standing| standing.segments >= 4 || standing.trouble.is_some());
        journal.close().unwrap();
        shipper.stop(PATIENCE);
        assert!(wals(place.dir.path(), STREAM).len() > 2);
        assert_eq!(verify_local(place.dir.path()).verdict(), Verdict::Pass);
    }
}

#[test]
fn a_prefix_that_is_gone_without_the_regions_word_is_a_finding() {
    let place = Place::new();
    live_in_part(&place);
    let note = place.dir.path().join(STREAM).join("pruned.note");
    let text = fs::read_to_string(&note).unwrap();
    let pruned = Pruned::read_unverified(&text).unwrap();
    let forged =
        Signer::new("aegis.example/eu-west-1/registry.gw-1/1", SecretKey::from_seed(&[8; 32]));
    type Change<'c> = &'c dyn Fn();
    let changes: [(&str, Change<'_>); 4] = [
        ("no note", &|| fs::remove_file(&note).unwrap()),
        ("another key", &|| fs::write(&note, pruned.note(&forged)).unwrap()),
        ("another number", &|| {
            let size = format!("\n{}\n", pruned.size());
            fs::write(&note, text.replacen(&size, "\n1\n", 1)).unwrap();
        }),
        ("a file behind it", &|| {
            fs::write(&note, &text).unwrap();
            fs::remove_file(&wals(place.dir.path(), STREAM)[0]).unwrap();
        }),
    ];
    for (name, change) in changes {
        change();
        let report = verify_local(place.dir.path());
        assert_eq!(report.verdict(), Verdict::Fail, "{name}: {report:#?}");
    }
}

#[test]
fn a_crash_between_the_note_and_its_files_is_mended_by_the_next_life() {
    let place = Place::new();
    let (journal, shipper) = begin(&place, None);
    write_calls(&journal, 60);
    wait_for(&shipper, |standing| standing.segments >= 4 && standing.backlog_bytes < 8 * 1024);
    let before = tempfile::tempdir().unwrap();
    copy_dir(&place.dir.path().join(STREAM).join("wal"), before.path());
    journal.close().unwrap();
    shipper.stop(PATIENCE);
    drop((journal, shipper));
    live(&place, 60, nothing());
    assert_eq!(wals(place.dir.path(), STREAM).len(), 0);

    copy_dir(before.path(), &place.dir.path().join(STREAM).join("wal"));
    assert!(is_pruned_only(&verify_local(place.dir.path())));
    live(&place, 60, nothing());
    assert_eq!(wals(place.dir.path(), STREAM).len(), 0);
    assert_eq!(place.verify().verdict(), Verdict::Pass);
}

#[test]
fn a_shipper_without_cursors_goes_on_behind_what_was_deleted() {
    let place = Place::new();
    let (journal, shipper) = begin(&place, nothing());
    write_calls(&journal, 60);
    wait_for(&shipper, |_| place.dir.path().join(STREAM).join("pruned.note").exists());
    shipper.stop(PATIENCE);
    // A crash: the directory as it is now.
    let now = tempfile::tempdir().unwrap();
    copy_dir(place.dir.path(), now.path());
    drop(journal);
    fs::remove_dir_all(place.dir.path()).unwrap();
    copy_dir(now.path(), place.dir.path());
    fs::remove_dir_all(place.dir.path().join("ship")).unwrap();
    live(&place, 60, nothing());
    let remote = place.verify();
    assert_eq!(remote.verdict(), Verdict::Pass, "{remote:#?}");
    let ends: Vec<_> = remote.streams.iter().map(|one| one.ended.unwrap().as_str()).collect();
    assert_eq!(ends, ["crashed", "closed"]);
}

const DIRS: &str = "AEGIS_TEST_PRUNING_DIRS";

/// Not a test of its own: the child process of the test below, which appends, ships and deletes until it is killed.
#[test]
fn child_that_deletes_until_it_is_killed() {
    let Some(dirs) = env::var_os(DIRS) else { return };
    let dirs: Vec<PathBuf> = env::split_paths(&dirs).collect();
    let config = JournalConfig { file_bytes: 8 * 1024, ..crate::support::config(&dirs[0]) };
    let (journal, _) = Journal::open(config.clone()).unwrap();
    let shipping = ShipConfig::new(&config, address(&dirs[1])).unwrap();
    let every = Duration::from_millis(1);
    let shipper = start(ShipConfig { every, keep: nothing(), ..shipping }, &journal).unwrap();
    loop {
        write_calls(&journal, 50);
        assert!(!shipper.standing().is_stopped, "{:?}", shipper.standing());
    }
}

#[test]
fn a_kill_at_any_moment_deletes_nothing_that_the_bucket_does_not_have() {
    let place = Place::new();
    let dirs = env::join_paths([place.dir.path(), place.bucket.path()]).unwrap();
    let (mut deleted, lives) = (0, 12);
    for life in 0..lives {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "prune::child_that_deletes_until_it_is_killed", "--nocapture"])
            .env(DIRS, &dirs)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(1_200 + 130 * life));
        child.kill().unwrap();
        child.wait().unwrap();
        let remote = verify(&place.address());
        let local = verify_local(place.dir.path());
        assert!(local.findings.is_empty(), "life {life}: {local:#?}");
        deleted = 0;
        for gap in &local.gaps {
            let Gap::Pruned { origin, to } = gap else { continue };
            let there = remote.streams.iter().find(|one| one.origin == *origin).unwrap();
            assert!(there.records >= *to, "{origin}: {to} deleted, {} shipped", there.records);
            deleted += to;
        }
    }
    assert!(deleted > 0, "nothing was deleted, so nothing is shown");
    live(&place, 60, nothing());
    let remote = place.verify();
    assert_eq!(remote.verdict(), Verdict::Pass, "{remote:#?}");
    let ends: Vec<_> =
        remote.streams.iter().filter_map(|one| one.ended).map(|end| end.as_str()).collect();
    assert!(ends.iter().all(|end| ["crashed", "closed"].contains(end)), "{ends:?}");
}

/// The disk is full when the second stream's file is there and nothing in it.
fn full_at_birth(from: &Path, to: &Path) -> io::Result<()> {
    match to.ends_with("00000000000000000002/genesis.note") {
        true => Err(io::ErrorKind::StorageFull.into()),
        false => RealDisk.rename(from, to),
    }
}

/// Of nothing a note was signed, which no reader takes: the log was FAIL for good.
#[test]
fn a_life_that_ended_before_its_first_record_leaves_nothing_to_begin_behind() {
    let place = Place::new();
    place.live(3);
    let full = JournalConfig { disk: Arc::new(Renames(full_at_birth)), ..place.journal() };
    assert!(Journal::open(full).is_err());
    let empty = "streams/gw-1/00000000000000000002";
    assert!(place.dir.path().join(empty).join("wal").exists(), "it came as far as its file");
    // As the version before did.
    fs::write(place.dir.path().join(empty).join("pruned.note"), "of nothing").unwrap();
    live(&place, 60, nothing());
    assert!(!place.dir.path().join(empty).join("pruned.note").exists());
    let report = verify_local(place.dir.path());
    assert!(is_pruned_only(&report), "{report:#?}");
    let report = place.verify();
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
}
