//! The registry as its writer sees it: every commit ends in a head signed by the region key.
//!
//! Not here: reading a registry (`audit/chain`). Invariant: what is committed is one write, so a crash leaves either
//! all of it or an unsigned tail that does not count.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use aegis_audit_chain::link::{Placed, Reading, Sequencer};
use aegis_audit_chain::note::{Signer, Verifier};
use aegis_audit_chain::record::{Draft, Entry, GenesisEntry, HeadEntry, TornTail};
use aegis_audit_chain::{Head, Origin, birth_note, frame, layout};
use aegis_audit_registry::{
    Keeps, Newest, Registry, RegistryFlaw, RegistryReader, Resume, Streams,
};

use crate::JournalError;
use crate::disk::{Disk, write_again};
use crate::error::io_error;
use crate::journal::WallClock;
use crate::newest::NewestHead;
use crate::resume;
use crate::stream_reader::{names, wal_firsts};
use crate::wal::Wal;

/// Size its files are made with at most: a registry grows by about a kilobyte a second.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// A start that read more files than so many begins a new one, for the resume point that is written there.
const READ_FILES_MAX: usize = 4;

pub(crate) struct RegistryLog {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    wal: Wal,
    sequencer: Sequencer,
    signer: Signer,
    clock: WallClock,
    /// Monotonic time goes on from where the process before left it.
    mono_base_ns: u64,
    started: Instant,
    signed: Option<(Head, String)>,
    newest: NewestHead,
    /// What it says so far, for the next resume point; `None` where that cannot be followed.
    streams: Option<Streams>,
    last: Option<Newest>,
    /// The file that has a resume point where it begins, or needs none.
    pointed: Option<u64>,
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
            Some((registry, files)) => {
                Self::resume(setup, (&registry, files)).map(|log| (log, Some(registry)))
            }
            None => Self::begin(setup).map(|log| (log, None)),
        }
    }

    fn begin(setup: RegistrySetup<'_>) -> Result<Self, JournalError> {
        let origin = setup.genesis.origin.clone();
        let wal =
            Wal::create(Arc::clone(&setup.disk), setup.root, (&origin, 0), setup.file_bytes())
                .map_err(io_error("creating the registry"))?;
        let mut log = Self::new(wal, (Sequencer::new(origin.clone()), None), &setup);
        // Before the first commit, so that a registry with anything signed in it has its note.
        let birth = birth_note(setup.signer.verifier(), &setup.signer);
        log.wal
            .write_note(&layout::genesis_note(&origin), &birth)
            .map_err(io_error("writing the registry's birth note"))?;
        log.commit(vec![setup.genesis.draft()?])?;
        log.write_head_note()?;
        Ok(log)
    }

    fn resume(
        setup: RegistrySetup<'_>,
        (registry, files): (&Registry, usize),
    ) -> Result<Self, JournalError> {
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
        if torn.is_empty() && last == file && files <= READ_FILES_MAX {
            let wal = Wal::reopen(disk, setup.root, (origin, file, used), file_bytes)
                .map_err(io_error("reopening the registry"))?;
            return Ok(Self::new(wal, (sequencer, Some(registry)), &setup));
        }
        // Nothing in a file that begins at `size` is signed; it gives up its name to the one that goes on.
        if last == size {
            set_aside(&*disk, setup.root, (origin, size))?;
        }
        let wal = Wal::create(disk, setup.root, (origin, size), file_bytes)
            .map_err(io_error("going on with the registry"))?;
        let mut log = Self::new(wal, (sequencer, Some(registry)), &setup);
        let gaps: Result<Vec<Draft>, _> = torn.iter().map(TornTail::draft).collect();
        if !torn.is_empty() {
            log.commit(gaps?)?;
        }
        Ok(log)
    }

    fn new(
        wal: Wal,
        (sequencer, known): (Sequencer, Option<&Registry>),
        setup: &RegistrySetup<'_>,
    ) -> Self {
        let mono_base_ns = sequencer.mono_ns();
        let streams = known.map(Registry::table).cloned();
        // A file in which nothing is signed yet is one that begins.
        let begins = sequencer.size();
        let pointed = known.map(|known| known.end().0).filter(|file| *file < begins);
        let pointed = if known.is_some() { pointed } else { Some(wal.first()) };
        Self {
            disk: Arc::clone(&setup.disk),
            root: setup.root.to_path_buf(),
            wal,
            sequencer,
            signer: setup.signer.clone(),
            clock: Arc::clone(&setup.clock),
            mono_base_ns,
            started: Instant::now(),
            signed: None,
            newest: setup.newest.clone(),
            streams: Some(streams.unwrap_or_else(|| Streams::new(Keeps::Newest))),
            last: known.and_then(Registry::newest).cloned(),
            pointed,
        }
    }

    /// Writes records and the signed head over them in one go.
    pub(crate) fn commit(&mut self, drafts: Vec<Draft>) -> Result<Head, JournalError> {
        let (first, mut frames, mut said) = (self.sequencer.size(), Vec::new(), Vec::new());
        let now = self.now();
        if let Some(step) = self.sequencer.clock_step(now) {
            self.push(step.draft()?, now, &mut frames);
        }
        for draft in drafts {
            said.push(self.push(draft, now, &mut frames));
        }
        let (head, before) = (self.sequencer.head(), self.sequencer.walker());
        let sig = self.signer.sign(&head.checkpoint());
        let entry = HeadEntry { size: head.size, root: head.root, sig: sig.clone() };
        let newest = self.push(entry.draft()?, now, &mut frames);
        self.wal.append(first, &frames).map_err(io_error("writing the registry"))?;
        self.newest.put(head.size, &head.note_with(&sig));
        let begun = self.begun();
        self.follow(&said);
        self.last = Some(Newest::of(before, &newest.bytes));
        self.signed = Some((head.clone(), sig));
        if let Some(point) = begun {
            resume::write(&*self.disk, &self.root, (&point, &self.signer))
                .map_err(io_error("writing a resume point of the registry"))?;
        }
        Ok(head)
    }

    /// Where the registry stood when it began the file whose first records it has just written.
    fn begun(&mut self) -> Option<Resume> {
        let file = self.wal.first();
        if self.pointed.replace(file) == Some(file) {
            return None;
        }
        let point = Resume::new(self.last.clone()?, self.streams.clone()?)?;
        (point.size() == file).then_some(point)
    }

    /// Takes note of what was committed.
    fn follow(&mut self, said: &[Placed]) {
        let (Some(streams), origin) = (&mut self.streams, self.sequencer.origin()) else { return };
        let followed = said.iter().all(|Placed { seq, bytes, .. }| {
            Entry::parse(bytes)
                .is_ok_and(|entry| streams.apply(origin, (*seq, bytes), entry).is_ok())
        });
        if !followed {
            // Whoever reads it next says what is wrong with it.
            self.streams = None;
        }
    }

    /// Puts the newest signed head in a file of its own, for whoever keeps heads elsewhere.
    pub(crate) fn write_head_note(&mut self) -> Result<(), JournalError> {
        let Some((head, sig)) = &self.signed else { return Ok(()) };
        let path = layout::head_file(&head.origin, head.size);
        self.wal
            .write_note(&path, &head.note_with(sig))
            .map_err(io_error("writing a registry head"))
    }

    fn push(&mut self, draft: Draft, now: Reading, frames: &mut Vec<u8>) -> Placed {
        let placed = self.sequencer.place(draft, now);
        frame::push_frame(frames, &placed.bytes);
        placed
    }

    fn now(&self) -> Reading {
        let elapsed = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Reading { wall: (self.clock)(), mono_ns: self.mono_base_ns.saturating_add(elapsed) }
    }
}

/// Reads the registry under the region key, from its newest sound resume point on; says how many files that took. `None` when
/// there is none.
pub(crate) fn read_registry(
    root: &Path,
    origin: &Origin,
    region: &Verifier,
) -> Result<Option<(Registry, usize)>, JournalError> {
    let what = "reading the registry";
    let listed = || wal_firsts(root, origin).map_err(io_error(what));
    if listed()?.is_empty() && !streams_exist(root)? {
        return Ok(None);
    }
    // While it is being written, whatever is looked at later has more in it.
    let noted = newest_note(root, origin, region)?;
    let size = noted.as_ref().map(|head| head.size);
    // Behind a point that is newer than all notes, these could not be compared: then an older one is used, or none.
    let most = size.map_or(0, |size| size.saturating_add(1));
    let point = resume::newest(root, (origin, region), most).map_err(io_error(what))?;
    let mut firsts = listed()?;
    let mut reader = match point {
        // What is behind a point was on disk before the point was.
        Some(point) if !firsts.contains(&point.size()) => {
            return Err(JournalError::RegistryRolledBack);
        }
        Some(point) => {
            firsts.retain(|first| *first >= point.size());
            RegistryReader::after(point, (region.clone(), size), Keeps::Newest)
        }
        None => RegistryReader::newest(origin.clone(), region.clone(), size),
    };
    for first in &firsts {
        let bytes =
            fs::read(root.join(layout::wal_file(origin, *first))).map_err(io_error(what))?;
        reader.file(*first, &bytes)?;
    }
    let registry = reader.finish()?;
    match noted.is_none_or(|head| registry.root_at(head.size) == Some(head.root)) {
        true => Ok(Some((registry, firsts.len()))),
        false => Err(JournalError::RegistryRolledBack),
    }
}

/// The largest head in the registry's notes.
fn newest_note(
    root: &Path,
    origin: &Origin,
    region: &Verifier,
) -> Result<Option<Head>, JournalError> {
    let what = "reading the registry's notes";
    let heads = root.join(layout::heads_dir(origin));
    let mut notes = names(&heads).map_err(io_error(what))?;
    notes.retain(|name| layout::parse_head_name(name).is_some());
    let Some(newest) = notes.pop() else { return Ok(None) };
    let note = fs::read_to_string(heads.join(newest)).map_err(io_error(what))?;
    Head::open(&note, region).map(Some).map_err(|_| JournalError::RegistryRolledBack)
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
