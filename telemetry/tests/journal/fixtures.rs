//! A journal directory that grows record by record, and sinks that remember.
//!
//! Not here: cases. Invariant: record `n` of a stream is the decision with id `n`, unless a test says otherwise.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use aegis_audit_chain::frame::{Header, push_frame};
use aegis_audit_chain::link::{Reading, Sequencer};
use aegis_audit_chain::record::{DecisionEntry, Draft};
use aegis_audit_chain::{Origin, layout};
use aegis_domain::{DecisionId, Effect, Reason, Region, Timestamp};
use aegis_telemetry::{Event, Sink};

pub(crate) struct Journal {
    root: PathBuf,
    origin: Origin,
    sequencer: Sequencer,
    file: PathBuf,
}

impl Journal {
    pub(crate) fn begin(root: &Path, incarnation: u64) -> Self {
        let origin = Origin::stream("aegis.example", "eu-west-1", "gw-1", incarnation).unwrap();
        fs::create_dir_all(root.join(layout::wal_dir(&origin))).unwrap();
        let sequencer = Sequencer::new(origin.clone());
        let mut journal = Self { root: root.into(), origin, sequencer, file: PathBuf::new() };
        journal.turn();
        journal
    }

    pub(crate) fn origin(&self) -> Origin {
        self.origin.clone()
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Goes on in a new file.
    pub(crate) fn turn(&mut self) {
        let first = self.sequencer.size();
        self.file = self.root.join(layout::wal_file(&self.origin, first));
        self.write(&Header { origin: self.origin.clone(), first }.encode());
    }

    pub(crate) fn append(&mut self, draft: Draft) {
        let frame = self.frame(draft);
        self.write(&frame);
    }

    pub(crate) fn append_many(&mut self, count: u64) {
        let frames: Vec<u8> = (0..count)
            .flat_map(|_| self.frame(decision(self.sequencer.size()).draft().unwrap()))
            .collect();
        self.write(&frames);
    }

    pub(crate) fn write(&self, bytes: &[u8]) {
        let mut file = OpenOptions::new().create(true).append(true).open(&self.file).unwrap();
        file.write_all(bytes).unwrap();
    }

    pub(crate) fn frame(&mut self, draft: Draft) -> Vec<u8> {
        let mono_ns = self.sequencer.size();
        let wall = Timestamp::from_unix_ns(1_794_312_000_000_000_000 + mono_ns);
        let placed = self.sequencer.place(draft, Reading { wall, mono_ns });
        let mut frame = Vec::new();
        push_frame(&mut frame, &placed.bytes);
        frame
    }
}

pub(crate) fn id(n: u64) -> DecisionId {
    DecisionId::new(n, [0; 10])
}

pub(crate) fn decision(n: u64) -> DecisionEntry {
    let region = Region::parse("eu-west-1").unwrap();
    DecisionEntry::new(id(n), region, Effect::Allow, Reason::Allowed)
}

/// Where a record stands: its life and its number.
pub(crate) type Told = (u64, u64);

/// Sends what it is told, and fails when it is told to.
pub(crate) struct Recorder {
    told: Sender<Told>,
    count: u64,
    /// How many had been told at the last sync.
    pub(crate) synced: Arc<AtomicU64>,
    /// Calls of `tell` and `sync` that still succeed.
    pub(crate) tells_left: u64,
    pub(crate) syncs_left: u64,
}

impl Recorder {
    pub(crate) fn new() -> (Self, Receiver<Told>) {
        let (told, hears) = channel();
        let synced = Arc::default();
        (Self { told, count: 0, synced, tells_left: u64::MAX, syncs_left: u64::MAX }, hears)
    }
}

fn spend(left: &mut u64) -> io::Result<()> {
    *left = left.checked_sub(1).ok_or_else(|| io::Error::other("told to fail"))?;
    Ok(())
}

impl Sink for Recorder {
    fn tell(&mut self, batch: &[Event]) -> io::Result<()> {
        spend(&mut self.tells_left)?;
        for event in batch {
            self.told.send((event.origin.incarnation(), event.record.head.seq)).unwrap();
            self.count += 1;
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        spend(&mut self.syncs_left)?;
        self.synced.store(self.count, Ordering::Relaxed);
        Ok(())
    }
}
