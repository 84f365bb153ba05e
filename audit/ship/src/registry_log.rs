//! The registry as its writer sees it: every commit ends in a head signed by the region key.
//!
//! Not here: reading a registry (`audit/chain`). Invariant: what is committed is one write, so a crash leaves either
//! all of it or an unsigned tail that does not count.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use aegis_audit_chain::link::{Reading, Sequencer};
use aegis_audit_chain::note::{Signer, Verifier};
use aegis_audit_chain::record::{Draft, GenesisEntry, HeadEntry, TornTail};
use aegis_audit_chain::registry::{Registry, RegistryFlaw, RegistryReader};
use aegis_audit_chain::{Head, Origin, birth_note, frame, layout};

use crate::JournalError;
use crate::disk::{Disk, write_again};
use crate::error::io_error;
use crate::journal::WallClock;
use crate::newest::NewestHead;
use crate::stream_reader::{names, wal_firsts};
use crate::wal::Wal;

/// Size its files are made with at most: a registry grows by about a kilobyte a second.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

pub(crate) struct RegistryLog {
    wal: Wal,
    sequencer: Sequencer,
    signer: Signer,
    clock: WallClock,
    /// Monotonic time goes on from where the process before left it.
    mono_base_ns: u64,
    started: Instant,
    signed: Option<(Head, String)>,
    newest: NewestHead,
}

/// Everything a registry needs that is not in its files.
pub(crate) struct RegistrySetup<'a> {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) root: &'a Path,
    pub(crate) signer: Signer,
    pub(crate) clock: WallClock,
    /// Is told every head.
    pub(crate) newest: NewestHead,
    /// The first record, where there is no registry yet.
    pub(crate) genesis: GenesisEntry,
    /// What a stream's files are made with.
    pub(crate) file_bytes: u64,
}

impl RegistrySetup<'_> {
    fn file_bytes(&self) -> u64 {
        self.file_bytes.min(FILE_BYTES_MAX)
    }
}

impl RegistryLog {
    /// Opens the registry, or begins it; hands out what it says, if it says anything.
    pub(crate) fn open(setup: RegistrySetup<'_>) -> Result<(Self, Option<Registry>), JournalError> {
        let origin = setup.genesis.origin.clone();
        let known = match read_registry(setup.root, &origin, setup.signer.verifier()) {
            // A crash in the very first commit: nothing was promised yet, so begin again.
            Err(JournalError::Registry(error))
                if error.what == RegistryFlaw::Unsigned && !streams_exist(setup.root)? =>
            {
                set_aside(&*setup.disk, setup.root, (&origin, 0))?;
                None
            }
            known => known?,
        };
        match known {
            Some(registry) => Self::resume(setup, &registry).map(|log| (log, Some(registry))),
            None => Self::begin(setup).map(|log| (log, None)),
        }
    }

    fn begin(setup: RegistrySetup<'_>) -> Result<Self, JournalError> {
        let origin = setup.genesis.origin.clone();
        let wal =
            Wal::create(Arc::clone(&setup.disk), setup.root, (&origin, 0), setup.file_bytes())
                .map_err(io_error("creating the registry"))?;
        let mut log = Self::new(wal, Sequencer::new(origin.clone()), &setup);
        // Before the first commit, so that a registry with anything signed in it has its note.
        let birth = birth_note(setup.signer.verifier(), &setup.signer);
        log.wal
            .write_note(&layout::genesis_note(&origin), &birth)
            .map_err(io_error("writing the registry's birth note"))?;
        log.commit(vec![setup.genesis.draft()?])?;
        log.write_head_note()?;
        Ok(log)
    }

    fn resume(setup: RegistrySetup<'_>, registry: &Registry) -> Result<Self, JournalError> {
        let origin = &setup.genesis.origin;
        let sequencer = Sequencer::resume(registry.walker().clone());
        let size = sequencer.size();
        let ((file, used), last) = (registry.end(), registry.last_file());
        let (disk, file_bytes) = (Arc::clone(&setup.disk), setup.file_bytes());
        let torn = registry.unsigned();
        for first in torn.iter().map(|tail| tail.file).chain([file]) {
            settle(&*disk, &setup.root.join(layout::wal_file(origin, first)))
                .map_err(io_error("writing the end of the registry again"))?;
        }
        if torn.is_empty() && last == file {
            let wal = Wal::reopen(disk, setup.root, (origin, file, used), file_bytes)
                .map_err(io_error("reopening the registry"))?;
            return Ok(Self::new(wal, sequencer, &setup));
        }
        // Nothing in a file that begins at `size` is signed; it gives up its name to the one that goes on.
        if last == size {
            set_aside(&*disk, setup.root, (origin, size))?;
        }
        let wal = Wal::create(disk, setup.root, (origin, size), file_bytes)
            .map_err(io_error("going on with the registry"))?;
        let mut log = Self::new(wal, sequencer, &setup);
        let gaps: Result<Vec<Draft>, _> = torn.iter().map(TornTail::draft).collect();
        if !torn.is_empty() {
            log.commit(gaps?)?;
        }
        Ok(log)
    }

    fn new(wal: Wal, sequencer: Sequencer, setup: &RegistrySetup<'_>) -> Self {
        let mono_base_ns = sequencer.mono_ns();
        Self {
            wal,
            sequencer,
            signer: setup.signer.clone(),
            clock: Arc::clone(&setup.clock),
            mono_base_ns,
            started: Instant::now(),
            signed: None,
            newest: setup.newest.clone(),
        }
    }

    /// Writes records and the signed head over them in one go.
    pub(crate) fn commit(&mut self, drafts: Vec<Draft>) -> Result<Head, JournalError> {
        let (first, mut frames) = (self.sequencer.size(), Vec::new());
        let now = self.now();
        if let Some(step) = self.sequencer.clock_step(now) {
            self.push(step.draft()?, now, &mut frames);
        }
        for draft in drafts {
            self.push(draft, now, &mut frames);
        }
        let head = self.sequencer.head();
        let sig = self.signer.sign(&head.checkpoint());
        let entry = HeadEntry { size: head.size, root: head.root, sig: sig.clone() };
        self.push(entry.draft()?, now, &mut frames);
        self.wal.append(first, &frames).map_err(io_error("writing the registry"))?;
        self.newest.put(head.size, &head.note_with(&sig));
        self.signed = Some((head.clone(), sig));
        Ok(head)
    }

    /// Puts the newest signed head in a file of its own, for whoever keeps heads elsewhere.
    pub(crate) fn write_head_note(&mut self) -> Result<(), JournalError> {
        let Some((head, sig)) = &self.signed else { return Ok(()) };
        let path = layout::head_file(&head.origin, head.size);
        self.wal
            .write_note(&path, &head.note_with(sig))
            .map_err(io_error("writing a registry head"))
    }

    fn push(&mut self, draft: Draft, now: Reading, frames: &mut Vec<u8>) {
        frame::push_frame(frames, &self.sequencer.place(draft, now).bytes);
    }

    fn now(&self) -> Reading {
        let elapsed = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Reading { wall: (self.clock)(), mono_ns: self.mono_base_ns.saturating_add(elapsed) }
    }
}

/// Reads the registry under the region key; `None` when there is none.
pub(crate) fn read_registry(
    root: &Path,
    origin: &Origin,
    region: &Verifier,
) -> Result<Option<Registry>, JournalError> {
    let what = "reading the registry";
    let firsts = wal_firsts(root, origin).map_err(io_error(what))?;
    if firsts.is_empty() && !streams_exist(root)? {
        return Ok(None);
    }
    let mut reader = RegistryReader::new(origin.clone(), region.clone());
    for first in &firsts {
        let bytes =
            fs::read(root.join(layout::wal_file(origin, *first))).map_err(io_error(what))?;
        reader.file(*first, &bytes)?;
    }
    let registry = reader.finish()?;
    let heads = root.join(layout::heads_dir(origin));
    let mut notes = names(&heads).map_err(io_error(what))?;
    notes.retain(|name| layout::parse_head_name(name).is_some());
    if let Some(newest) = notes.pop() {
        let note = fs::read_to_string(heads.join(newest)).map_err(io_error(what))?;
        let head = Head::open(&note, region).map_err(|_| JournalError::RegistryRolledBack)?;
        if registry.root_at(head.size) != Some(head.root) {
            return Err(JournalError::RegistryRolledBack);
        }
    }
    Ok(Some(registry))
}

/// Brings to the device what a process may have written and not synced, before anything is signed that speaks of it. Nothing tells
/// from when on that is so, and a file is small.
fn settle(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    write_again(&mut *disk.reopen(path)?, (&fs::read(path)?, 0))
}

/// Takes its name from a file in which nothing is signed.
fn set_aside(
    disk: &dyn Disk,
    root: &Path,
    (origin, first): (&Origin, u64),
) -> Result<(), JournalError> {
    let path = root.join(layout::wal_file(origin, first));
    disk.rename(&path, &path.with_extension("torn"))
        .map_err(io_error("setting the registry's torn tail aside"))
}

fn streams_exist(root: &Path) -> Result<bool, JournalError> {
    let names = names(&root.join(layout::STREAMS_DIR)).map_err(io_error("listing the streams"))?;
    Ok(!names.is_empty())
}
