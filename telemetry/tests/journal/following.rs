//! Nothing skipped, little repeated: across files, lives, crashes, torn tails and failing sinks.
//!
//! Not here: what a line or a metric says. Invariant: dropping a follower tells all there is.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aegis_audit_chain::layout;
use aegis_telemetry::{Durable, FollowError, Follower, FollowerConfig, Sink};

use crate::fixtures::*;

fn config(dir: &Path) -> FollowerConfig {
    FollowerConfig::new(dir.into(), dir.join("cursor.json"))
}

/// One whole run of a follower.
fn follow(dir: &Path) -> Vec<Told> {
    let (sink, hears) = Recorder::new();
    drop(Follower::start(config(dir), vec![Box::new(sink)]).unwrap());
    hears.iter().collect()
}

fn all(life: u64, numbers: std::ops::Range<u64>) -> Vec<Told> {
    numbers.map(|n| (life, n)).collect()
}

#[test]
fn records_are_told_as_they_come_across_files_and_lives() {
    let dir = tempfile::tempdir().unwrap();
    let (sink, hears) = Recorder::new();
    let follower = Follower::start(config(dir.path()), vec![Box::new(sink)]).unwrap();
    let next = |expected: Vec<Told>| {
        for one in expected {
            assert_eq!(hears.recv_timeout(Duration::from_secs(20)), Ok(one));
        }
    };
    for life in [1, 2, 9] {
        let mut journal = Journal::begin(dir.path(), life);
        for file in 0..3 {
            journal.append_many(500);
            next(all(life, file * 500..(file + 1) * 500));
            journal.turn();
        }
    }
    drop(follower);
    assert_eq!(hears.iter().count(), 0, "a record was told twice");
    assert_eq!(follow(dir.path()), [], "the cursor was not saved at the end");
}

#[test]
fn a_crash_loses_nothing_and_repeats_only_what_was_not_synced() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::begin(dir.path(), 1);
    let mut kept = 0;
    for life in 0..8 {
        journal.append_many(1_500);
        if life % 3 == 0 {
            journal.turn();
        }
        let written = (life + 1) * 1_500;
        let (mut sink, hears) = Recorder::new();
        // From here on nothing is synced: as good as a crash before the cursor was saved.
        sink.syncs_left = life % 3;
        let synced = Arc::clone(&sink.synced);
        let crashing = FollowerConfig { save_every: Duration::ZERO, ..config(dir.path()) };
        drop(Follower::start(crashing, vec![Box::new(sink)]).unwrap());
        let told: Vec<Told> = hears.iter().collect();
        assert!(told == all(1, kept..written), "life {life} told {} from {kept}", told.len());
        kept += synced.load(Ordering::Relaxed);
    }
    assert!(0 < kept && kept < 8 * 1_500, "the syncs were all or none");
    assert!(follow(dir.path()) == all(1, kept..8 * 1_500));
}

#[test]
fn a_failing_sink_gets_its_batch_again_and_the_others_do_not() {
    let dir = tempfile::tempdir().unwrap();
    Journal::begin(dir.path(), 1).append_many(10);
    let (good, good_hears) = Recorder::new();
    let (mut bad, bad_hears) = Recorder::new();
    bad.tells_left = 0;
    let sinks: Vec<Box<dyn Sink>> = vec![Box::new(good), Box::new(Flaky { bad, failures: 3 })];
    let config = FollowerConfig { poll_every: Duration::from_millis(1), ..config(dir.path()) };
    let follower = Follower::start(config, sinks).unwrap();
    for one in all(1, 0..10) {
        assert_eq!(bad_hears.recv_timeout(Duration::from_secs(20)), Ok(one));
    }
    drop(follower);
    assert_eq!(good_hears.iter().collect::<Vec<_>>(), all(1, 0..10));
    assert_eq!(bad_hears.iter().count(), 0);
}

/// Fails some times, then works.
struct Flaky {
    bad: Recorder,
    failures: u64,
}

impl Sink for Flaky {
    fn tell(&mut self, batch: &[aegis_telemetry::Event]) -> std::io::Result<()> {
        if self.failures == 0 {
            self.bad.tells_left = 1;
        }
        self.failures = self.failures.saturating_sub(1);
        self.bad.tell(batch)
    }

    fn sync(&mut self) -> std::io::Result<()> {
        self.bad.sync()
    }
}

#[test]
fn nothing_is_told_that_is_not_on_disk_yet() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::begin(dir.path(), 1);
    journal.append_many(5);
    journal.turn();
    journal.append_many(5);
    let on_disk = Arc::new(AtomicU64::new(3));
    let follow = || {
        let on_disk = Arc::clone(&on_disk);
        let records = Box::new(move || on_disk.load(Ordering::Relaxed));
        let durable = Some(Durable { origin: journal.origin(), records });
        let (sink, hears) = Recorder::new();
        let config = FollowerConfig { durable, ..config(dir.path()) };
        drop(Follower::start(config, vec![Box::new(sink)]).unwrap());
        hears.iter().collect::<Vec<_>>()
    };
    assert_eq!(follow(), all(1, 0..3));
    on_disk.store(7, Ordering::Relaxed);
    assert_eq!(follow(), all(1, 3..7));
    on_disk.store(10, Ordering::Relaxed);
    assert_eq!(follow(), all(1, 7..10));
}

#[test]
fn a_record_still_being_written_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::begin(dir.path(), 1);
    let frame = journal.frame(decision(0).draft().unwrap());
    let (half, rest) = frame.split_at(frame.len() / 2);
    journal.write(half);
    assert_eq!(follow(dir.path()), []);
    journal.write(rest);
    assert_eq!(follow(dir.path()), all(1, 0..1));
}

#[test]
fn a_life_that_died_in_a_torn_frame_or_an_empty_file_is_left_for_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let mut torn = Journal::begin(dir.path(), 1);
    torn.append_many(3);
    torn.write(&[0, 0, 1, 0, 7, 7]);
    let empty = Journal::begin(dir.path(), 2);
    fs::write(empty.file(), []).unwrap();
    assert_eq!(follow(dir.path()), all(1, 0..3));
    Journal::begin(dir.path(), 3).append_many(2);
    assert_eq!(follow(dir.path()), all(3, 0..2));
}

#[test]
fn preallocated_zeros_are_the_end_for_now() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::begin(dir.path(), 1);
    journal.append_many(2);
    let used = fs::metadata(journal.file()).unwrap().len();
    fs::OpenOptions::new().write(true).open(journal.file()).unwrap().set_len(1 << 20).unwrap();
    assert_eq!(follow(dir.path()), all(1, 0..2));
    fs::OpenOptions::new().write(true).open(journal.file()).unwrap().set_len(used).unwrap();
    journal.append_many(2);
    assert_eq!(follow(dir.path()), all(1, 2..4));
}

#[test]
fn files_removed_before_they_were_told_do_not_stop_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::begin(dir.path(), 1);
    journal.append_many(5);
    fs::remove_file(journal.file()).unwrap();
    journal.turn();
    journal.append_many(5);
    assert_eq!(follow(dir.path()), all(1, 5..10));
}

#[test]
fn a_cursor_that_is_none_is_an_error_and_not_a_new_beginning() {
    let dir = tempfile::tempdir().unwrap();
    for bad in ["", "{}", r#"{"version":2,"writers":{}}"#] {
        fs::write(dir.path().join("cursor.json"), bad).unwrap();
        let started = Follower::start(config(dir.path()), Vec::new());
        assert!(matches!(started, Err(FollowError::Cursor(_))), "{bad}");
    }
}

#[test]
fn names_are_looked_for_where_the_layout_puts_them() {
    let journal = Journal::begin(tempfile::tempdir().unwrap().path(), 12);
    assert_eq!(
        layout::wal_dir(&journal.origin()),
        format!("{}/gw-1/{:020}/wal", layout::STREAMS_DIR, 12)
    );
}
