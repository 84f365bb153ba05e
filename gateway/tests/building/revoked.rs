//! A gateway whose audit stream's key is revoked while it takes calls.
//!
//! Not here: what a verifier makes of what the key signs afterwards (`audit/verify`).

use std::fs;
use std::path::{Path, PathBuf};

use aegis_audit_verify::{Flaw, Verdict};

use crate::house;

#[tokio::test]
async fn it_ends_says_so_on_record_and_begins_another_life_under_another_key() {
    let mut house = house().await;
    house.agent("bot").get("/open/x").send().await.is_ok();
    // Another life's is none of its business.
    let report = house.verify();
    let stream = report.streams[0].origin.clone();
    let told = house.data().join("revoked.txt");
    let other =
        [&b"another editor's: \xe9\n"[..], format!("{stream}0 not this one\n").as_bytes()].concat();
    fs::write(&told, &other).unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
    house.agent("bot").get("/open/x").send().await.is_ok();

    // By hand, and not as `aegisctl` writes it.
    let line = format!("{stream}\t a copy of its memory was sold\r\n");
    fs::write(&told, [&other, line.as_bytes()].concat()).unwrap();
    let status = house.ended().await;
    assert_eq!(status.code(), Some(1), "{}", house.stderr());
    assert!(house.stderr().contains("the stream's key was revoked"), "{}", house.stderr());

    house.start_again().await;
    house.agent("bot").get("/open/x").send().await.is_ok();
    house.stop().await;
    let report = house.verify();
    // What came within the second before may be a thief's; nothing else is wrong.
    let is_tail = |flaw: &Flaw| matches!(flaw, Flaw::Revoked { .. });
    assert!(report.findings.iter().all(|one| is_tail(&one.flaw)), "{report:#?}");
    let wanted = if report.findings.is_empty() { Verdict::Pass } else { Verdict::Suspect };
    assert_eq!(report.verdict(), wanted, "{report:#?}");
    assert_eq!(report.streams.len(), 2, "{report:#?}");
    assert_ne!(report.streams[1].origin, stream);
    let said = "\"reason\":\"a copy of its memory was sold\"";
    let registry = registry(&house.data().join("audit"));
    assert_eq!(
        (registry.matches("stream_revoked").count(), registry.matches(said).count()),
        (1, 1)
    );
}

/// A life that was killed before it heard, or had ended before anybody knew, puts nothing on record; the next one does, and once.
#[tokio::test]
async fn what_a_killed_life_did_not_get_to_say_the_next_one_says() {
    let mut house = house().await;
    house.agent("bot").get("/open/x").send().await.is_ok();
    let stream = house.verify().streams[0].origin.clone();
    house.shoot();
    house.ended().await;
    let word = format!("no name\n{stream} found on a laptop\n");
    fs::write(house.data().join("revoked.txt"), word).unwrap();
    for lives in 2..4 {
        house.start_again().await;
        house.agent("bot").get("/open/x").send().await.is_ok();
        house.stop().await;
        let report = house.verify();
        let is_tail = |flaw: &Flaw| matches!(flaw, Flaw::Revoked { .. });
        assert!(report.findings.iter().all(|one| is_tail(&one.flaw)), "{report:#?}");
        assert_eq!(report.streams.len(), lives, "{report:#?}");
        let registry = registry(&house.data().join("audit"));
        assert_eq!(registry.matches("stream_revoked").count(), 1);
        assert!(registry.contains("\"reason\":\"found on a laptop\""));
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_told_while_it_runs_and_keeps_the_next_life_from_starting() {
    let mut house = house().await;
    house.agent("bot").get("/open/x").send().await.is_ok();
    let stream = house.verify().streams[0].origin.clone();
    let told = house.data().join("revoked.txt");
    fs::create_dir(&told).unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
    house.agent("bot").get("/open/x").send().await.is_ok();
    let says = "revoked.txt is there and cannot be read, so no revocation is heeded";
    assert_eq!(house.stderr().matches(says).count(), 1, "{}", house.stderr());
    house.shoot();
    house.ended().await;
    house.fails_again("revoked.txt cannot be read").await;

    // A name alone will do.
    fs::remove_dir(&told).unwrap();
    fs::write(&told, format!("{stream}\n")).unwrap();
    house.start_again().await;
    assert!(registry(&house.data().join("audit")).contains("\"reason\":\"\""));
}

/// The text of all records of the registry.
fn registry(audit: &Path) -> String {
    let is_one = |path: &PathBuf| path.to_string_lossy().contains("/registry.");
    let entries = fs::read_dir(audit).unwrap().map(|entry| entry.unwrap().path());
    let logs = entries.filter(is_one).map(|path| path.join("1/wal"));
    let files = logs.flat_map(|wal| fs::read_dir(wal).unwrap());
    let bytes = files.flat_map(|file| fs::read(file.unwrap().path()).unwrap());
    String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
}
