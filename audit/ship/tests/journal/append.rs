//! The journal against a real directory: durability, recovery, failure.

use crate::support::{config, decision, outcome};
use aegis_audit_ship::{Journal, JournalError};

#[test]
fn an_append_has_its_place_before_it_is_durable_and_is_found_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, recovered) = Journal::open(config(dir.path())).unwrap();
    assert!(recovered.streams.is_empty());

    let pending = journal.append_blocking(decision(1).draft().unwrap()).unwrap();
    let place = pending.position().clone();
    assert_eq!(place.seq, 2, "after genesis and anchor_ref");
    let sealed = pending.durable_blocking().unwrap();
    assert_eq!(sealed.position(), &place);
    journal.append_blocking(outcome(place.seq, &decision(1)).draft().unwrap()).unwrap();
    journal.close().unwrap();
    assert!(matches!(
        journal.append_blocking(decision(2).draft().unwrap()),
        Err(JournalError::Closed)
    ));

    let (_next, recovered) = Journal::open(config(dir.path())).unwrap();
    assert!(recovered.streams.is_empty() && recovered.unsettled.is_empty());
}

#[test]
fn a_second_process_cannot_open_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (_journal, _) = Journal::open(config(dir.path())).unwrap();
    assert!(matches!(Journal::open(config(dir.path())), Err(JournalError::Locked)));
}
