//! The store on a disk that loses power at every sync, and on one that fails.
//!
//! Not here: processes that are killed. Invariant: what was acknowledged before the power went is there after, and what is
//! there is a prefix of what was asked for.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, mpsc};

use aegis_ledger::Ledger;
use openraft::{CommittedLeaderId, EntryPayload};

use super::dice::Dice;
use super::ram::{Ram, Unsynced, reached, torn, wide};
use super::sim::drafting;
use super::{identity, never};
use crate::disk::{Change, Disk, DiskError, Fatal, Job, OnFatal};
use crate::types::{Entry, LogId, SnapshotMeta, Vote};

/// What may be left when the power goes: none of the unsynced writes, all, or some.
pub(super) fn images(synced: &[u8], unsynced: &[Unsynced], dice: &mut Dice) -> Vec<Vec<u8>> {
    let mut images = vec![synced.to_vec(), reached(synced, unsynced)];
    images.extend((0..12).map(|_| torn(synced, unsynced, dice)));
    images
}

pub(super) fn id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term, 1), index)
}

fn append(from: u64, to: u64) -> Change {
    let entry = |index| Entry { log_id: id(1, index), payload: EntryPayload::Blank };
    let rows = (from..to).map(|index| (index, serde_json::to_vec(&entry(index)).unwrap()));
    Change::Append(rows.collect())
}

pub(super) fn snapshot(upto: LogId) -> Change {
    let meta = SnapshotMeta {
        last_log_id: Some(upto),
        last_membership: crate::types::Membership::default(),
        snapshot_id: upto.index.to_string(),
    };
    let image = serde_json::to_vec(&Ledger::default()).unwrap();
    Change::Snapshot(Box::new(meta), Arc::new(image))
}

/// Hands a change over; the answer comes when it is on disk.
pub(super) fn send(disk: &Disk, change: Change) -> mpsc::Receiver<Result<(), DiskError>> {
    let (told, answer) = mpsc::channel();
    disk.send(Job { change, done: Box::new(move |result| drop(told.send(result))) });
    answer
}

fn write(disk: &Disk, change: Change) {
    send(disk, change).recv().unwrap().unwrap();
}

/// What a file holds, in a form that can be compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Held {
    pub(super) vote: Option<u64>,
    pub(super) purged: Option<u64>,
    pub(super) snapshot: Option<u64>,
    /// Term and index of each.
    pub(super) entries: Vec<(u64, u64)>,
}

pub(super) fn held(disk: &Disk) -> Held {
    let entries = disk.entries(0.., usize::MAX).unwrap();
    let snapshot = disk.snapshot().unwrap().and_then(|snapshot| snapshot.meta.last_log_id);
    Held {
        vote: disk.vote().unwrap().map(|vote| vote.leader_id().term),
        purged: disk.bounds().purged.map(|id| id.index),
        snapshot: snapshot.map(|id| id.index),
        entries: entries.iter().map(|entry| term_and_index(&entry.log_id)).collect(),
    }
}

pub(super) fn open(ram: &Ram) -> Disk {
    Disk::open_on(ram.clone(), &identity(), never()).unwrap().0
}

fn term_and_index(id: &LogId) -> (u64, u64) {
    (id.leader_id.term, id.index)
}

fn holding(vote: u64, purged: Option<u64>, snapshot: Option<u64>, entries: Range<u64>) -> Held {
    Held { vote: Some(vote), purged, snapshot, entries: first_term(entries) }
}

fn first_term(entries: Range<u64>) -> Vec<(u64, u64)> {
    entries.map(|index| (1, index)).collect()
}

/// A day in the life of a voter, a step at a time, and what it holds after each.
fn history() -> Vec<(Change, Held)> {
    let (six, all) = (Some(6), Some(100));
    vec![
        (Change::Vote(Vote::new(1, 1)), holding(1, None, None, 0..0)),
        (append(0, 3), holding(1, None, None, 0..3)),
        (append(3, 6), holding(1, None, None, 0..6)),
        (Change::Truncate(5), holding(1, None, None, 0..5)),
        (append(5, 9), holding(1, None, None, 0..9)),
        (snapshot(id(1, 6)), holding(1, None, six, 0..9)),
        (Change::Purge(id(1, 4)), holding(1, Some(4), six, 5..9)),
        (append(9, 40), holding(1, Some(4), six, 5..40)),
        (Change::Vote(Vote::new(2, 1)), holding(2, Some(4), six, 5..40)),
        (snapshot(id(1, 100)), holding(2, Some(4), all, 5..40)),
        (Change::Purge(id(1, 100)), holding(2, all, all, 0..0)),
        (append(101, 103), holding(2, all, all, 101..103)),
    ]
}

#[test]
fn a_crash_at_every_sync_leaves_what_was_acknowledged_or_that_and_the_next_step() {
    assert!(crash_at_every_sync() > 100);
}

#[test]
fn so_does_one_while_a_snapshot_is_written_in_pieces() {
    // Each of the two becomes five pieces.
    let bytes = serde_json::to_vec(&Ledger::default()).unwrap().len() / 5 + 1;
    assert!(drafting(bytes, crash_at_every_sync) > 200);
}

fn crash_at_every_sync() -> usize {
    let ram = Ram::default();
    // After how many syncs each step was acknowledged, and what was there then.
    let mut acknowledged = Vec::new();
    {
        let disk = open(&ram);
        acknowledged.push((ram.syncs(), held(&disk)));
        for (change, after) in history() {
            write(&disk, change);
            let crashed = Ram::holding(ram.0.lock().unwrap().synced.clone());
            assert_eq!(held(&open(&crashed)), after, "it was acknowledged");
            acknowledged.push((ram.syncs(), after));
        }
    }
    let crashes = ram.0.lock().unwrap().crashes.clone();
    let (mut dice, mut tried) = (Dice(1), 0);
    let made = acknowledged[0].0;
    for (number, (synced, unsynced)) in crashes.iter().enumerate().skip(made) {
        let before = acknowledged.iter().rposition(|(syncs, _)| *syncs <= number).unwrap();
        let allowed: BTreeSet<_> =
            acknowledged[before..].iter().take(2).map(|(_, held)| held.clone()).collect();
        for image in images(synced, unsynced, &mut dice) {
            let found = held(&open(&Ram::holding(image)));
            assert!(allowed.contains(&found), "sync {number}: {found:?}, not one of {allowed:?}");
            tried += 1;
        }
    }
    tried
}

/// openraft 0.9.25 purges a follower's log up to a snapshot before it has the snapshot installed. A crash in between left a
/// node that acknowledged entries it did not have, and that could not start again.
#[test]
fn a_purge_that_comes_before_its_snapshot_is_on_disk_only_together_with_it() {
    let ram = Ram::default();
    let disk = open(&ram);
    write(&disk, append(0, 10));
    write(&disk, Change::Purge(id(1, 100)));
    let follows = send(&disk, append(101, 103));
    write(&disk, Change::Vote(Vote::new(3, 2)));
    assert!(follows.try_recv().is_err(), "an entry after a hole was acknowledged");
    let crashed = open(&Ram::holding(ram.0.lock().unwrap().synced.clone()));
    let all = Held { vote: Some(3), purged: None, snapshot: None, entries: first_term(0..10) };
    assert_eq!(held(&crashed), all);

    write(&disk, snapshot(id(1, 100)));
    follows.recv().unwrap().unwrap();
    let crashed = open(&Ram::holding(ram.0.lock().unwrap().synced.clone()));
    let (purged, entries) = (Some(100), first_term(101..103));
    assert_eq!(held(&crashed), Held { vote: Some(3), purged, snapshot: purged, entries });
}

#[test]
fn an_older_snapshot_never_takes_the_place_of_a_newer_one() {
    let ram = Ram::default();
    let disk = open(&ram);
    write(&disk, snapshot(id(1, 100)));
    write(&disk, Change::Purge(id(1, 100)));
    write(&disk, snapshot(id(1, 50)));
    drop(disk);
    assert_eq!(held(&open(&ram)).snapshot, Some(100));
}

#[test]
fn a_full_disk_or_a_failed_sync_ends_the_voter_and_acknowledges_nothing_more() {
    for full in [true, false] {
        let ram = Ram::default();
        let (told, heard) = mpsc::channel();
        let told = Mutex::new(told);
        let on_fatal: OnFatal =
            Arc::new(move |fatal: &Fatal| told.lock().unwrap().send(fatal.clone()).unwrap());
        let (disk, _) = Disk::open_on(ram.clone(), &identity(), on_fatal).unwrap();
        write(&disk, append(0, 3));
        {
            let mut platter = ram.0.lock().unwrap();
            if full {
                platter.bytes_max = Some(platter.seen.len());
            } else {
                platter.syncs_left = Some(0);
            }
        }
        let acknowledged: Vec<_> = (0..200)
            .take_while(|step| {
                send(&disk, append(3 + step * 100, 103 + step * 100)).recv().unwrap().is_ok()
            })
            .collect();
        assert!(matches!(heard.recv().unwrap(), Fatal::Write(_)));
        assert!(acknowledged.len() < 200);
        {
            let mut platter = ram.0.lock().unwrap();
            (platter.bytes_max, platter.syncs_left) = (None, None);
        }
        let refused = send(&disk, Change::Vote(Vote::new(9, 1))).recv().unwrap();
        assert!(
            matches!(refused, Err(DiskError::Broken)),
            "room again, but what is on disk is unknown"
        );
        drop(disk);
        assert!(heard.try_recv().is_err(), "it is told of once");
        let crashed = open(&Ram::holding(ram.0.lock().unwrap().synced.clone()));
        let entries = 3 + wide(acknowledged.len()) * 100;
        assert_eq!(held(&crashed).entries, first_term(0..entries));
    }
}

#[test]
fn a_file_of_another_node_is_refused() {
    let ram = Ram::default();
    drop(open(&ram));
    let other = crate::disk::Identity { node: 2, ..identity() };
    let refused = Disk::open_on(ram.clone(), &other, never()).map(drop);
    assert!(matches!(refused, Err(DiskError::Stranger { found: 1, .. })));
}

/// What was counted as it was written is what a start counts.
#[test]
fn what_the_file_holds_is_known_at_every_step_and_falls_with_what_is_purged() {
    for draft_bytes in [usize::MAX, 100] {
        let counted: Vec<_> = drafting(draft_bytes, || {
            let ram = Ram::default();
            let disk = open(&ram);
            let used = disk.used();
            let step = |(change, _)| {
                write(&disk, change);
                let counted = used.lock().unwrap().bytes();
                let crashed = Ram::holding(ram.0.lock().unwrap().synced.clone());
                assert_eq!(open(&crashed).used().lock().unwrap().bytes(), counted);
                counted
            };
            history().into_iter().map(step).collect()
        });
        let [.., full, purged, _] = counted[..] else { unreachable!() };
        assert!(purged < full / 2, "{counted:?}");
    }
}
