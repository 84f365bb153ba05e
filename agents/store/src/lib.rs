//! The registry's home on local disk, for a region of one voter: a log of entries and a snapshot that stands for those before.
//!
//! Not here: what may happen (`agents/registry`), and voters that agree (Raft's). Invariant: an entry is on disk before
//! anyone hears of it, and what was heard of is there after a crash, or the directory is refused with file and offset.

mod directory;
mod line;
mod log;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use aegis_domain::Timestamp;
use aegis_registry::{Command, Decided, Entry, Event, Refusal, Registry, RegistryError};

use crate::directory::Directory;
use crate::log::Log;

/// When the log is folded into a snapshot: some ten thousand entries, read back in well under a second.
const LOG_BYTES_MAX: u64 = 8 * 1_024 * 1_024;

/// Why the registry cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("{} can be read or written by others; run `chmod -R go=` on it", path.display())]
    TooOpen { path: PathBuf },
    #[error("another process uses {}", path.display())]
    Locked { path: PathBuf },
    #[error("{} is damaged at byte {offset}: {what}", path.display())]
    Damaged { path: PathBuf, offset: u64, what: &'static str },
    #[error("{} holds an entry that does not follow the one before, at byte {offset}", path.display())]
    Disordered { path: PathBuf, offset: u64, source: RegistryError },
    #[error("{} cannot be used", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("a write of the log failed half-way; only a restart tells what reached the disk")]
    Broken,
}

/// The registry as others may read it while it changes.
#[derive(Clone, Debug, Default)]
pub struct Shared(Arc<RwLock<Registry>>);

impl Shared {
    /// Holds changes up while it lives, so it must not live long.
    pub fn read(&self) -> RwLockReadGuard<'_, Registry> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit(&self, entry: &Entry) -> Result<(), RegistryError> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).commit(entry)
    }
}

/// The one writer of a directory.
#[derive(Debug)]
pub struct Store {
    directory: Directory,
    registry: Shared,
    log: Log,
    log_bytes_max: u64,
    _lock: File,
}

impl Store {
    /// Takes the directory for this process and reads what is there; a directory that is not there is made.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let directory = Directory::open(path)?;
        let lock = directory.lock()?;
        let registry = directory.read_snapshot()?;
        let (registry, len) = directory.read_log(registry)?;
        let log = Log::open(&directory, len)?;
        let registry = Shared(Arc::new(RwLock::new(registry)));
        Ok(Self { directory, registry, log, log_bytes_max: LOG_BYTES_MAX, _lock: lock })
    }

    pub fn registry(&self) -> Shared {
        self.registry.clone()
    }

    /// Does what a command asks for, once; returns when it is on disk. Blocks on the disk.
    pub fn apply(&mut self, command: &Command, now: Timestamp) -> Result<Event, StoreError> {
        let decided = self.registry.read().decide(command, now)?;
        let entry = match decided {
            Decided::Before(event) => return Ok(event),
            Decided::Now(entry) => entry,
        };
        self.log.append(&entry)?;
        self.registry.commit(&entry).map_err(|_| StoreError::Broken)?;
        if self.log.len() > self.log_bytes_max {
            self.fold()?;
        }
        Ok(entry.event)
    }

    /// Writes a snapshot and begins a new log. A crash in between leaves entries in the log that the snapshot holds too.
    fn fold(&mut self) -> Result<(), StoreError> {
        self.directory.write_snapshot(&self.registry.read())?;
        self.log = Log::begin(&self.directory)?;
        Ok(())
    }
}
