//! A stream whose key was revoked: its life ends, what was anchored stands, and whoever goes on with the key is named.
//!
//! Not here: every way to write on behind it (`vectors`, `lies/revoked-*`).

use std::fs;

use aegis_audit_chain::{Origin, layout};
use aegis_audit_ship::{Journal, JournalConfig, JournalError};
use aegis_audit_verify::{Flaw, Report, Verdict};

use crate::support::{config, decision, verify, write_calls};

fn flaws(report: &Report) -> Vec<&Flaw> {
    report.findings.iter().map(|one| &one.flaw).collect()
}

/// Waits until the registry bears a head of all that is durable.
fn anchored(journal: &Journal) -> u64 {
    std::thread::sleep(std::time::Duration::from_millis(2_500));
    *journal.durable().borrow()
}

#[test]
fn a_stream_ends_with_its_key_and_the_next_life_has_another() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(config(dir.path())).unwrap();
    write_calls(&journal, 3);
    let stands = anchored(&journal);
    journal.revoke("a copy of the machine's memory was sold");
    let refused = journal.append_blocking(decision(9).draft().unwrap());
    assert!(matches!(refused, Err(JournalError::Revoked)), "{refused:?}");
    assert!(matches!(journal.close(), Err(JournalError::Revoked)));
    drop(journal);
    let report = verify(dir.path());
    assert_eq!((flaws(&report).len(), report.streams[0].anchored), (0, stands), "{report:#?}");

    let (journal, recovered) = Journal::open(config(dir.path())).unwrap();
    assert_eq!(recovered.streams.len(), 1);
    write_calls(&journal, 1);
    journal.close().unwrap();
    let report = verify(dir.path());
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
    assert_eq!(report.streams.len(), 2);
}

/// A stream that is revoked right behind a record, and whether that was still without an anchor, as it is unless the machine stood
/// still for a second.
fn revoked_behind_its_last_anchor() -> bool {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(config(dir.path())).unwrap();
    let write = |n| {
        let pending = journal.append_blocking(decision(n).draft().unwrap()).unwrap();
        pending.durable_blocking().unwrap().position().seq + 1
    };
    // The first is anchored at once, and the next anchor is a second away.
    anchored(&journal);
    write(0);
    std::thread::sleep(std::time::Duration::from_millis(100));
    let found = write(1);
    journal.revoke("stolen");
    drop(journal.close());
    drop(journal);
    let (journal, _) = Journal::open(config(dir.path())).unwrap();
    journal.close().unwrap();
    let report = verify(dir.path());
    match flaws(&report).as_slice() {
        [Flaw::Revoked { from, to }] => {
            let is_suspect = report.verdict() == Verdict::Suspect;
            assert!(is_suspect && *to == found && from < to, "{report:#?}");
            true
        }
        [] => false,
        _ => unreachable!("{report:#?}"),
    }
}

#[test]
fn what_was_written_behind_the_last_anchor_may_be_somebody_elses() {
    assert!((0..5).any(|_| revoked_behind_its_last_anchor()), "each was anchored at once");
}

#[test]
fn a_key_that_is_known_to_be_stolen_after_its_streams_end_is_revoked_by_the_next_life() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(config(dir.path())).unwrap();
    write_calls(&journal, 3);
    let stream = journal.origin().clone();
    journal.close().unwrap();
    drop(journal);
    let stranger = Origin::parse(&format!("{stream}7")).unwrap();
    let told = vec![(stranger, "nobody's".to_owned()), (stream.clone(), "stolen".to_owned())];
    for _ in 0..2 {
        let settings = JournalConfig { revoked: told.clone(), ..config(dir.path()) };
        Journal::open(settings).unwrap().0.close().unwrap();
    }
    let report = verify(dir.path());
    // All of it was anchored, so all of it stands.
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
    let wal = layout::wal_dir(&config(dir.path()).registry().unwrap());
    let files = fs::read_dir(dir.path().join(wal)).unwrap();
    let bytes: Vec<u8> = files.flat_map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
    let said = format!("\"k\":\"stream_revoked\",\"origin\":\"{stream}\"");
    assert_eq!(String::from_utf8_lossy(&bytes).matches(&said).count(), 1);
    assert!(!String::from_utf8_lossy(&bytes).contains("nobody's"));
}
