//! Start: take the directory, read the registry, account for earlier lives, be born, then take records.
//!
//! Not here: the running journal (`journal`). Invariant: the birth is durable in the registry before the first record is
//! written, and earlier streams are closed only after their unknown outcomes are on disk.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use aegis_audit_chain::note::{SecretKey, Signer};
use aegis_audit_chain::record::{
    AnchorEntry, AnchorRefEntry, BornEntry, ClosedEntry, Draft, GenesisEntry, OutcomeEntry,
    Previous, RevokedEntry,
};
use aegis_audit_chain::{Hash, Head, Origin, birth_note, layout};
use aegis_audit_registry::{Registry, Stream};
use aegis_domain::Region;
use parking_lot::Mutex;

use crate::JournalError;
use crate::anchor::{AnchorSlot, Anchorer, Rereader};
use crate::disk::Disk;
use crate::error::io_error;
use crate::inclusion::{Earlier, Reaches, Signed};
use crate::journal::{Journal, Shared, WallClock};
use crate::newest::NewestHead;
use crate::recover::{self, Found, Recovered, RecoveredStream};
use crate::registry_log::{RegistryLog, RegistrySetup};
use crate::stream_reader::names;
use crate::wal::Wal;
use crate::writer::Writer;

/// Size a log file is made with.
pub const FILE_BYTES: u64 = 64 * 1024 * 1024;
/// The registry's epoch: a new one begins only when a registry is given up.
const EPOCH: u64 = 1;

/// Where and as whom the journal writes.
#[derive(Clone)]
pub struct JournalConfig {
    pub dir: PathBuf,
    /// The deployment's name: `a-z 0-9 . -`.
    pub domain: String,
    pub region: Region,
    /// This gateway's name, the same in every life: the registry in the directory speaks for no other.
    pub writer: String,
    /// Version and commit of the software.
    pub build: String,
    pub config_sha256: Hash,
    /// Signs the registry; its public half is what verifiers are given.
    pub region_key: SecretKey,
    pub clock: WallClock,
    pub disk: Arc<dyn Disk>,
    /// `FILE_BYTES`, but for tests.
    pub file_bytes: u64,
    /// Streams whose keys somebody else may have, each with what was said of it. What their own lives did not get to put on record
    /// the next one does.
    pub revoked: Vec<(Origin, String)>,
}

impl JournalConfig {
    /// The registry's name, which is also the region key's.
    pub fn registry(&self) -> Result<Origin, JournalError> {
        Ok(Origin::registry(&self.domain, self.region.as_str(), &self.writer, EPOCH)?)
    }
}

impl Journal {
    /// Opens the journal of a new life. Only one process may have a directory open.
    pub fn open(config: JournalConfig) -> Result<(Self, Recovered), JournalError> {
        config.disk.create_dir(&config.dir).map_err(io_error("creating the audit directory"))?;
        let lock = lock(&config.dir)?;
        let registry_origin = config.registry()?;
        keeps_its_name(&config.dir, &registry_origin)?;
        let signer = Signer::new(registry_origin.as_str(), config.region_key.clone());
        let newest = NewestHead::default();
        let (mut registry, known) = RegistryLog::open(RegistrySetup {
            disk: Arc::clone(&config.disk),
            root: &config.dir,
            signer: signer.clone(),
            clock: Arc::clone(&config.clock),
            newest: newest.clone(),
            genesis: genesis(&config, &registry_origin, (signer.verifier().to_string(), None)),
            file_bytes: config.file_bytes,
        })?;
        let found = match &known {
            Some(known) => recover::find(&*config.disk, (&config.dir, signer.verifier()), known)?,
            None => Found { closed: Vec::new(), unsettled: Vec::new() },
        };
        let mut life = Life::begin(&config, (&mut registry, &signer), (known.as_ref(), &found))?;
        life.write_first(&config, &found)?;
        let anchor = life.anchor()?;
        let mut drafts = vec![anchor.draft()?];
        for closed in &found.closed {
            drafts.push(closed.draft()?);
        }
        for revoked in revoked(known.as_ref(), &config.revoked) {
            drafts.push(revoked.draft()?);
        }
        registry.commit(drafts)?;
        life.shared.anchored.lock().head = Some(anchor);
        registry.write_head_note()?;
        let region = signer.verifier().clone();
        let heads = reaches(known.as_ref(), &found.closed, &signer);
        let earlier = Earlier { region, heads, last: Mutex::default() };
        let recovered = Recovered {
            streams: found.closed.iter().map(RecoveredStream::of).collect(),
            unsettled: found.unsettled,
        };
        Ok((life.run((registry, newest), (config, lock), earlier)?, recovered))
    }
}

/// A stream that is born but not yet running.
struct Life {
    shared: Arc<Shared>,
    signer: Signer,
    wal: Wal,
    rereader: Rereader,
    genesis: GenesisEntry,
    registry: Head,
}

impl Life {
    fn begin(
        config: &JournalConfig,
        (registry, region): (&mut RegistryLog, &Signer),
        (known, found): (Option<&Registry>, &Found),
    ) -> Result<Self, JournalError> {
        let taken = known.map_or(0, Registry::last_incarnation);
        let number = taken.max(last_directory(&config.dir)?).saturating_add(1);
        let (domain, region_name) = (&config.domain, config.region.as_str());
        let origin = Origin::stream(domain, region_name, &config.writer, number)?;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|_| JournalError::Random)?;
        let signer = Signer::new(origin.as_str(), SecretKey::from_seed(&seed));
        let previous = known.and_then(|known| previous(known, found));
        let vkey = signer.verifier().to_string();
        let born =
            BornEntry { origin: origin.clone(), vkey: vkey.clone(), previous: previous.clone() };
        let registry = registry.commit(vec![born.draft()?])?;
        let disk = Arc::clone(&config.disk);
        let wal = Wal::create(disk, &config.dir, (&origin, 0), config.file_bytes).map_err(
            io_error("making the stream's first file, which is reserved whole below audit/,"),
        )?;
        wal.write_note(&layout::genesis_note(&origin), &birth_note(signer.verifier(), region))
            .map_err(io_error("writing the stream's birth note"))?;
        let shared = Arc::new(Shared::new(origin.clone(), Arc::clone(&config.clock)));
        Ok(Self {
            shared: Arc::clone(&shared),
            signer,
            wal,
            rereader: Rereader::new(&config.dir, shared),
            genesis: genesis(config, &origin, (vkey, previous)),
            registry,
        })
    }

    /// Writes the records every stream begins with, and what earlier lives left unsaid.
    fn write_first(&mut self, config: &JournalConfig, found: &Found) -> Result<(), JournalError> {
        let registry = config.registry()?;
        let (size, root) = (self.registry.size, self.registry.root);
        let mut drafts: Vec<Draft> =
            vec![self.genesis.draft()?, AnchorRefEntry { registry, size, root }.draft()?];
        for unsettled in &found.unsettled {
            let of = (&unsettled.origin, unsettled.seq, &unsettled.decision);
            drafts.push(OutcomeEntry::unknown(of.0, of.1, of.2).draft()?);
        }
        let mut state = self.shared.state.lock();
        for draft in drafts {
            self.shared.push(&mut state, draft, self.shared.now());
        }
        let frames = std::mem::take(&mut state.batch.frames);
        self.wal.append(0, &frames).map_err(io_error("writing the stream's first records"))?;
        self.shared.is_durable(state.sequencer.size(), &frames);
        Ok(())
    }

    /// The first anchor: from here on, losing the stream is seen.
    fn anchor(&mut self) -> Result<AnchorEntry, JournalError> {
        let size = *self.shared.durable.borrow();
        self.rereader.read_to(size).map_err(io_error("reading back the journal"))?;
        Ok(self.rereader.anchor(&self.signer))
    }

    fn run(
        self,
        (registry, newest): (RegistryLog, NewestHead),
        (config, lock): (JournalConfig, File),
        earlier: Earlier,
    ) -> Result<Journal, JournalError> {
        let JournalConfig { dir, disk, .. } = config;
        let slot = Arc::new(AnchorSlot::default());
        let (shared, signer, rereader) = (Arc::clone(&self.shared), self.signer, self.rereader);
        let anchorer =
            Anchorer { shared, slot: Arc::clone(&slot), registry, signer, disk, rereader };
        let writer = Writer { shared: Arc::clone(&self.shared), wal: self.wal, anchors: slot };
        let spawn = |name: &str| thread::Builder::new().name(name.to_owned());
        let what = "starting a journal thread";
        // The directory is free for another process only when neither thread can write any more.
        let lock = Arc::new(lock);
        let held = Arc::clone(&lock);
        let write = spawn("audit-writer").spawn(move || {
            writer.run();
            drop(held);
        });
        let write = write.map_err(io_error(what))?;
        let anchor = spawn("audit-anchor").spawn(move || {
            anchorer.run();
            drop(lock);
        });
        let threads = Mutex::new(vec![write, anchor.map_err(io_error(what))?]);
        Ok(Journal { dir, shared: self.shared, earlier, newest, threads })
    }
}

fn genesis(
    config: &JournalConfig,
    origin: &Origin,
    (vkey, previous): (String, Option<Previous>),
) -> GenesisEntry {
    let (build, config_sha256) = (config.build.clone(), config.config_sha256);
    GenesisEntry { origin: origin.clone(), vkey, build, config_sha256, previous }
}

/// What is not on record yet of earlier streams whose keys were revoked.
fn revoked(known: Option<&Registry>, told: &[(Origin, String)]) -> Vec<RevokedEntry> {
    let of = |stream: &Stream| {
        let (origin, reason) = told.iter().find(|(origin, _)| *origin == stream.born.origin)?;
        Some(RevokedEntry::of((origin.clone(), stream.anchors.last()), reason.clone()))
    };
    let streams = known.into_iter().flat_map(Registry::streams);
    streams.filter(|stream| stream.revoked.is_none()).filter_map(of).collect()
}

/// The newest heads of all streams before this one, by the hashes of their names.
fn reaches(
    known: Option<&Registry>,
    closed: &[ClosedEntry],
    region: &Signer,
) -> BTreeMap<Hash, Reaches> {
    let of = |stream: &Stream| {
        let origin = &stream.born.origin;
        let found = || closed.iter().find(|closed| closed.origin == *origin);
        let end = stream.closed.as_ref().or_else(found);
        let end = end.and_then(|closed| Signed::by_region(closed, region));
        let anchored = stream.anchors.last().map(Signed::by_stream);
        (Hash::of(origin.as_str().as_bytes()), Reaches { anchored, end })
    };
    known.into_iter().flat_map(Registry::streams).map(of).collect()
}

/// The stream born last, and how far it is known to reach.
fn previous(known: &Registry, found: &Found) -> Option<Previous> {
    let stream = known.streams().last()?;
    let origin = stream.born.origin.clone();
    let recovered = found.closed.iter().find(|closed| closed.origin == origin);
    let last = recovered.map(|closed| (closed.size, closed.root)).or_else(|| stream.last());
    let (size, root) = last.unwrap_or((0, Hash::empty_root()));
    Some(Previous { origin, size, root })
}

/// A directory goes on under the name it began with: what the registry of another writer signs for would be closed by nobody.
fn keeps_its_name(dir: &Path, registry: &Origin) -> Result<(), JournalError> {
    let known = names(dir).map_err(io_error("listing the audit directory"))?;
    let other = known.into_iter().find(|name| {
        let of = Origin::parse(&format!("{}/{}/{name}/1", registry.domain(), registry.region()));
        of.is_ok_and(|of| of.is_registry() && of.writer() != registry.writer())
    });
    match other {
        Some(found) => Err(JournalError::OtherName { found, own: registry.writer().to_owned() }),
        None => Ok(()),
    }
}

/// The highest incarnation that has a directory, whether or not the registry knows it.
fn last_directory(dir: &Path) -> Result<u64, JournalError> {
    let streams = dir.join(layout::STREAMS_DIR);
    let mut last = 0;
    for writer in names(&streams).map_err(io_error("listing the streams"))? {
        let lives = names(&streams.join(writer)).map_err(io_error("listing the streams"))?;
        let numbers = lives.iter().filter_map(|name| layout::parse_incarnation_name(name));
        last = numbers.fold(last, u64::max);
    }
    Ok(last)
}

/// Takes the directory for this process; the kernel gives it back when the process ends, however it ends.
fn lock(dir: &Path) -> Result<File, JournalError> {
    let what = "opening the lock file";
    let path = dir.join(layout::LOCK_FILE);
    let options = OpenOptions::new().create(true).truncate(false).write(true).open(path);
    let file = options.map_err(io_error(what))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::Locked),
        Err(TryLockError::Error(source)) => Err(JournalError::Io { what, source }),
    }
}
