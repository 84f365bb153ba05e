//! What is shipped, when, and what is left after crashes.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use aegis_audit_ship::{
    Address, Journal, JournalConfig, LockMode, Retention, ShipConfig, ShipError, start,
};
use aegis_audit_verify::{Finding, Flaw, Gap, Verdict};

use crate::support::{
    Place, STREAM, address, config, copy_dir, rewrite, verify, verify_local, wait_for, wals,
    write_calls,
};

#[test]
fn what_was_recorded_verifies_from_the_bucket_alone() {
    let place = Place::new();
    let standing = place.live(40);
    assert!(standing.segments >= 2, "{standing:?}");
    assert_eq!((standing.backlog_bytes, standing.is_full), (0, false));
    let local = verify_local(place.dir.path());
    fs::remove_dir_all(place.dir.path().join("streams")).unwrap();

    let report = place.verify();
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
    assert_eq!(report.streams, local.streams);
    assert_eq!(report.registries, local.registries);
}

#[test]
fn a_bucket_that_is_being_filled_passes_as_far_as_its_registry_says() {
    let place = Place::new();
    let journal = place.open();
    let shipper = start(place.shipping(), &journal).unwrap();
    wait_for(&shipper, |standing| standing.segments >= 2);
    write_calls(&journal, 5);
    // The calls are anchored within a second, and shipped as one more segment of the stream and one of the registry.
    wait_for(&shipper, |standing| standing.segments >= 4);

    let report = place.verify();
    let ahead = |gap: &Gap| matches!(gap, Gap::Unanchored { .. });
    let is_whole = report.verdict() == Verdict::Pass;
    assert!(is_whole || report.gaps.iter().all(ahead) && report.findings.is_empty(), "{report:#?}");
    assert!(report.streams[0].anchored >= 2 && report.streams[0].ended.is_none());
    drop(journal);
    shipper.stop(Duration::from_secs(30));
}

#[test]
fn lives_follow_each_other_in_one_bucket_also_after_a_crash() {
    let place = Place::new();
    place.live(3);
    {
        let journal = place.open();
        write_calls(&journal, 3);
        // A crash: the journal's directory as it is now, and no end in order.
        let now = tempfile::tempdir().unwrap();
        copy_dir(place.dir.path(), now.path());
        drop(journal);
        fs::remove_dir_all(place.dir.path()).unwrap();
        copy_dir(now.path(), place.dir.path());
    }
    place.live(3);
    let report = place.verify();
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
    let ends: Vec<_> = report.streams.iter().map(|one| one.ended.unwrap().as_str()).collect();
    assert_eq!(ends, ["closed", "crashed", "closed"]);
}

#[test]
fn a_shipper_that_lost_its_cursors_goes_on_from_what_the_bucket_holds() {
    let place = Place::new();
    place.live(3);
    fs::remove_dir_all(place.dir.path().join("ship")).unwrap();
    let before = fs::read(&place.objects(".man")[0]).unwrap();
    place.live(3);
    assert_eq!(fs::read(&place.objects(".man")[0]).unwrap(), before);
    let report = place.verify();
    assert_eq!((report.verdict(), report.streams.len()), (Verdict::Pass, 2), "{report:#?}");
}

#[test]
fn a_segment_is_sent_again_with_the_very_bytes_it_was_spooled_with() {
    // The crash after the spool was written and the objects sent, and before the cursor moved.
    let place = Place::new();
    place.live(3);
    let (records, note) = (place.objects(".rec.gz")[0].clone(), place.objects(".man")[0].clone());
    let ship = place.dir.path().join("ship");
    fs::copy(&records, ship.join("next.rec.gz")).unwrap();
    fs::copy(&place.objects(".idx")[0], ship.join("next.idx")).unwrap();
    fs::copy(&note, ship.join("next.man")).unwrap();
    for name in ["cursor.man", "done"] {
        fs::remove_file(ship.join("gw-1/00000000000000000001").join(name)).unwrap();
    }
    // The manifest did not get there either.
    let whole = fs::read(&note).unwrap();
    for path in place.objects(".man") {
        fs::remove_file(path).unwrap();
    }
    place.live(1);
    assert_eq!(fs::read(&note).unwrap(), whole);
    assert!(!ship.join("next.man").exists());
    let report = place.verify();
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
}

#[test]
fn nothing_is_signed_over_a_journal_that_was_changed() {
    let place = Place::new();
    let journal = place.open();
    write_calls(&journal, 10);
    journal.close().unwrap();
    drop(journal);
    let wal = wals(place.dir.path(), STREAM)[0].clone();
    rewrite(&wal, |records| {
        let text = String::from_utf8(records[5].clone()).unwrap();
        records[5] = text.replace("payments", "payment5").into_bytes();
    });

    let journal = place.open();
    let shipper = start(place.shipping(), &journal).unwrap();
    let standing = wait_for(&shipper, |standing| standing.is_stopped);
    let trouble = standing.trouble.unwrap();
    assert!(trouble.contains("gw-1/1 before 7 are not those"), "{trouble}");
    assert!(!place.object("seg").exists());
}

#[test]
fn two_gateways_cannot_share_one_folder() {
    let (one, other) = (Place::new(), Place::new());
    one.live(1);
    let mut foreign = other.journal();
    foreign.region_key = aegis_audit_chain::note::SecretKey::from_seed(&[9; 32]);
    let (journal, _) = Journal::open(foreign.clone()).unwrap();
    let shipping = ShipConfig::new(&foreign, one.address()).unwrap();
    let shipper = start(shipping, &journal).unwrap();
    let standing = wait_for(&shipper, |standing| standing.is_stopped);
    assert!(standing.trouble.unwrap().contains("the log of another registry"));
    assert_eq!(one.verify().verdict(), Verdict::Pass);
}

#[test]
fn a_store_that_cannot_show_a_retention_is_refused_when_one_is_asked_for() {
    let place = Place::new();
    let journal = place.open();
    let asked = Some(Retention { mode: LockMode::Governance, days: 1 });
    let refused = start(ShipConfig { retention: asked, ..place.shipping() }, &journal);
    assert!(matches!(refused.err(), Some(ShipError::Bucket(_))));
    assert!(!place.bucket.path().join("v1").exists());
}

#[test]
fn an_unreachable_store_fills_the_backlog_and_loses_nothing() {
    let place = Place::new();
    let journal = place.open();
    // Nobody listens there.
    let option = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let nowhere = Address {
        url: "s3://audit/gw-1".to_owned(),
        options: vec![
            option("aws_endpoint", "http://127.0.0.1:9"),
            option("aws_allow_http", "true"),
            option("aws_region", "us-east-1"),
            option("aws_access_key_id", "x"),
            option("aws_secret_access_key", "x"),
        ],
    };
    let limits = ShipConfig { backlog_bytes_max: 8 * 1024, ..place.shipping() };
    let shipper = start(ShipConfig { address: nowhere, ..limits.clone() }, &journal).unwrap();
    assert!(!shipper.is_full());
    write_calls(&journal, 20);
    assert!(shipper.is_full());
    let standing = wait_for(&shipper, |standing| standing.trouble.is_some());
    assert!(standing.is_full && !standing.is_stopped, "{standing:?}");
    journal.close().unwrap();
    drop((shipper, journal));

    // The store is there again at the next start.
    let standing = place.live(1);
    assert_eq!((standing.backlog_bytes, standing.is_full), (0, false));
    let report = place.verify();
    assert_eq!((report.verdict(), report.streams.len()), (Verdict::Pass, 2), "{report:#?}");
}

const DIRS: &str = "AEGIS_TEST_SHIPPING_DIRS";

/// Not a test of its own: the child process of the test below, which appends and ships until it is killed.
#[test]
fn child_that_ships_until_it_is_killed() {
    let Some(dirs) = env::var_os(DIRS) else { return };
    let dirs: Vec<PathBuf> = env::split_paths(&dirs).collect();
    let journal_config = config(&dirs[0]);
    let (journal, _) = Journal::open(journal_config.clone()).unwrap();
    let shipping = ShipConfig::new(&journal_config, address(&dirs[1])).unwrap();
    let every = Duration::from_millis(1);
    let shipper = start(ShipConfig { every, ..shipping }, &journal).unwrap();
    loop {
        write_calls(&journal, 50);
        assert!(!shipper.standing().is_stopped, "{:?}", shipper.standing());
    }
}

#[test]
fn a_shipper_killed_at_any_moment_ships_every_record_exactly_once() {
    let place = Place::new();
    let dirs = env::join_paths([place.dir.path(), place.bucket.path()]).unwrap();
    let lives = 8;
    for life in 0..lives {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "rounds::child_that_ships_until_it_is_killed", "--nocapture"])
            .env(DIRS, &dirs)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // The moment differs from life to life: in the first upload, between rounds, behind an anchor.
        std::thread::sleep(Duration::from_millis(150 + 190 * life));
        child.kill().unwrap();
        child.wait().unwrap();
        let report = verify(&place.address());
        // The registry comes last: until it does, a bucket is empty, or holds a stream that nobody names yet.
        let is_early = |one: &Finding| matches!(one.flaw, Flaw::Empty | Flaw::Stranger);
        assert!(report.findings.iter().all(is_early), "life {life}: {report:#?}");
    }
    place.live(1);
    let report = place.verify();
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
    let local = verify_local(place.dir.path());
    let records = |report: &aegis_audit_verify::Report| {
        report.streams.iter().map(|one| (one.origin.clone(), one.records)).collect::<Vec<_>>()
    };
    let mut shipped = records(&report);
    // A life that ended while being born has no records, here or there.
    shipped.retain(|(_, records)| *records > 0);
    let mut kept = records(&local);
    kept.retain(|(_, records)| *records > 0);
    assert_eq!(shipped, kept);
    assert!(!kept.is_empty());
}

#[test]
fn a_shipper_finds_its_place_in_the_registry_from_a_resume_point() {
    let place = Place::new();
    let live = || {
        let settings = JournalConfig { file_bytes: 2_048, ..place.journal() };
        let (journal, _) = Journal::open(settings).unwrap();
        let shipper = start(place.shipping(), &journal).unwrap();
        write_calls(&journal, 2);
        journal.close().unwrap();
        assert_eq!(shipper.stop(Duration::from_secs(30)).trouble, None);
    };
    (0..4).for_each(|_| live());
    // Whoever read the first file would not come to where it was shipped to.
    let file = wals(place.dir.path(), "registry.gw-1/1").remove(0);
    let whole = fs::read(&file).unwrap();
    let mut spoiled = whole.clone();
    spoiled[400] ^= 1;
    fs::write(&file, spoiled).unwrap();
    (0..2).for_each(|_| live());
    assert_eq!(place.verify().verdict(), Verdict::Pass);
    assert_eq!(place.verify().streams.len(), 6);
    fs::write(&file, whole).unwrap();
    assert_eq!(verify_local(place.dir.path()).verdict(), Verdict::Pass);
}
