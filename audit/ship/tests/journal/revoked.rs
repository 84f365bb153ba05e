//! A stream whose key was revoked: its life ends, what was anchored stands, and whoever goes on with the key is named.
//!
//! Not here: every way to write on behind it (`vectors`, `lies/revoked-*`).

use aegis_audit_ship::{Journal, JournalError};
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

#[test]
fn what_was_written_behind_the_last_anchor_may_be_somebody_elses() {
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
            assert!(
                (report.verdict(), *to) == (Verdict::Suspect, found) && from < to,
                "{report:#?}"
            );
        }
        // The machine stood still for that second.
        [] => assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}"),
        _ => panic!("{report:#?}"),
    }
}
