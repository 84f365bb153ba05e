//! The one file of a voter: its log, its vote, what is committed, and its snapshot.
//!
//! Not here: who writes (`writer`), and what Raft asks for (`log`, `machine`). Invariant: what is read back is a whole log
//! from the snapshot on, or the file is refused.

mod offline;
mod tables;
mod watchdog;
mod writer;

use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::ops::RangeBounds;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use redb::{Database, StorageBackend};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

pub(crate) use offline::Offline;
pub(crate) use tables::{Found, Used};
use watchdog::Pulse;
use writer::Writer;
pub(crate) use writer::{Change, Job};

use crate::types::{Entry, LogId, Snapshot, Vote};

/// Some thousand entries; the snapshot is in memory anyway.
const CACHE_BYTES: usize = 64 * 1_024 * 1_024;
/// A file of this size is worth some seconds of a start.
const COMPACTED_FROM_BYTES: u64 = 512 * 1_024 * 1_024;
/// A disk that takes longer is as good as none, and a voter without a disk must not count.
const SYNC_MAX: Duration = Duration::from_secs(5);

/// The file's name.
const FILE: &str = "ledger.redb";

/// Why a voter's file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("{} can be read or written by others; run `chmod -R go=` on it", path.display())]
    TooOpen { path: PathBuf },
    #[error("{} cannot be used", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("another process uses the file")]
    Locked,
    #[error("the file is node {found} of {cluster}, not the node that was asked for")]
    Stranger { cluster: String, found: u64 },
    #[error("the file is of format {found}, and this version reads {}", tables::FORMAT)]
    Format { found: u32 },
    #[error("the file is damaged: {0}")]
    Damaged(&'static str),
    #[error("the file cannot be read or written")]
    Redb(#[source] Box<redb::Error>),
    #[error("the file holds something this version cannot read")]
    Json(#[from] serde_json::Error),
    #[error("a write failed; only a restart tells what reached the disk")]
    Broken,
}

impl DiskError {
    pub(crate) fn redb(error: impl Into<redb::Error>) -> Self {
        let error = error.into();
        let is_locked = matches!(error, redb::Error::DatabaseAlreadyOpen);
        if is_locked { Self::Locked } else { Self::Redb(Box::new(error)) }
    }
}

/// Why a voter must not go on. Whoever started it decides how it ends; what it answers from here on are errors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    #[error("the ledger cannot be written: {0}")]
    Write(String),
    #[error("the disk did not take a write for {} s", SYNC_MAX.as_secs())]
    Stalled,
    #[error("this voter's state differs from that of most voters after entry {index}")]
    Diverged { index: u64 },
}

/// What is called when a voter must not go on.
pub type OnFatal = Arc<dyn Fn(&Fatal) + Send + Sync>;

/// Whose file it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    pub cluster: String,
    pub node: u64,
}

/// Where the log begins and ends, as Raft sees it: a purge that waits for its snapshot has happened already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) purged: Option<LogId>,
    pub(crate) last: Option<LogId>,
}

/// Who writes, and what is handed to it.
type Work = (Writer, UnboundedReceiver<Job>);

/// An open file.
pub(crate) struct Disk {
    database: Arc<Database>,
    jobs: Option<UnboundedSender<Job>>,
    writer: Option<JoinHandle<()>>,
    bounds: Arc<Mutex<Bounds>>,
    committed: Arc<Mutex<Option<LogId>>>,
    used: Arc<Mutex<Used>>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").finish_non_exhaustive()
    }
}

impl Disk {
    /// Opens `ledger.redb` in a directory; what is not there is made. Blocks on the disk.
    pub(crate) fn open(
        directory: &Path,
        identity: &Identity,
        on_fatal: OnFatal,
    ) -> Result<(Self, Found), DiskError> {
        let mut database = database(backend(directory)?)?;
        let path = directory.join(FILE);
        let bytes = fs::metadata(&path).map_err(|source| DiskError::File { path, source })?.len();
        if bytes >= COMPACTED_FROM_BYTES {
            // Entries that were given up leave room in the file, which only this gives back.
            database.compact().map_err(DiskError::redb)?;
        }
        Self::over(database, identity, on_fatal)
    }

    /// The same on anything that stores bytes.
    #[cfg(test)]
    pub(crate) fn open_on(
        backend: impl StorageBackend,
        identity: &Identity,
        on_fatal: OnFatal,
    ) -> Result<(Self, Found), DiskError> {
        Self::over(database(backend)?, identity, on_fatal)
    }

    fn over(
        database: Database,
        identity: &Identity,
        on_fatal: OnFatal,
    ) -> Result<(Self, Found), DiskError> {
        let thread = |source| DiskError::File { path: PathBuf::from("ledger-writer"), source };
        let pulse = watchdog::start(SYNC_MAX, &on_fatal).map_err(thread)?;
        let (mut disk, found, (writer, queue)) =
            Self::assemble(database, identity, (pulse, on_fatal))?;
        let named = std::thread::Builder::new().name("ledger-writer".into());
        disk.writer = Some(named.spawn(move || writer.run(queue)).map_err(thread)?);
        Ok((disk, found))
    }

    /// The same with a task for a writer: each time, how many changes it takes at most, and how long that lasts.
    #[cfg(test)]
    pub(crate) fn open_simulated<W: Fn() -> (usize, Duration)>(
        backend: impl StorageBackend,
        identity: Identity,
        on_fatal: OnFatal,
        turn: W,
    ) -> Result<(Self, impl Future<Output = ()>), DiskError> {
        let (pulse, _) = std::sync::mpsc::channel();
        let (disk, _, writer) = Self::assemble(database(backend)?, &identity, (pulse, on_fatal))?;
        let (mut writer, mut queue) = writer;
        let work = async move {
            let mut gathered = Vec::new();
            let (mut jobs_max, mut lasts) = turn();
            loop {
                if writer.has_more() {
                    gathered.extend(std::iter::from_fn(|| queue.try_recv().ok()).take(jobs_max));
                } else if queue.recv_many(&mut gathered, jobs_max).await == 0 {
                    break;
                }
                tokio::time::sleep(lasts).await;
                (jobs_max, lasts) = turn();
                writer.write(gathered.drain(..));
                writer.go_on();
            }
        };
        Ok((disk, work))
    }

    /// A file, and the writer that has to be run for it.
    fn assemble(
        database: Database,
        identity: &Identity,
        told: (Sender<Pulse>, OnFatal),
    ) -> Result<(Self, Found, Work), DiskError> {
        let database = Arc::new(database);
        let found = tables::found(&database, identity)?;
        let bounds = Bounds { purged: found.purged, last: found.last };
        let bounds = Arc::new(Mutex::new(bounds));
        let committed = Arc::new(Mutex::new(found.committed));
        let (jobs, queue) = mpsc::unbounded_channel();
        let used = Arc::new(Mutex::new(found.used));
        let writer = Writer::new(&database, &found, (&committed, &used), told);
        let disk = Self { database, jobs: Some(jobs), writer: None, bounds, committed, used };
        Ok((disk, found, (writer, queue)))
    }

    /// Hands a change to the writer, which answers when it is on disk.
    pub(crate) fn send(&self, job: Job) {
        let unsent = match &self.jobs {
            Some(jobs) => jobs.send(job).err().map(|back| back.0),
            None => Some(job),
        };
        if let Some(job) = unsent {
            (job.done)(Err(DiskError::Broken));
        }
    }

    /// Has a change made; returns when it is on disk.
    pub(crate) async fn write(&self, change: Change) -> Result<(), DiskError> {
        let (done, answer) = tokio::sync::oneshot::channel();
        let done = Box::new(move |result| drop(done.send(result)));
        self.send(Job { change, done });
        answer.await.unwrap_or(Err(DiskError::Broken))
    }

    pub(crate) fn bounds(&self) -> Bounds {
        *self.bounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A handle by which an append says how far the log reaches once it is on disk.
    pub(crate) fn bounds_handle(&self) -> Arc<Mutex<Bounds>> {
        Arc::clone(&self.bounds)
    }

    pub(crate) fn move_bounds(&self, change: impl FnOnce(&mut Bounds)) {
        change(&mut self.bounds.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Goes to disk with the next write: losing it costs a wait for the leader, not an entry.
    pub(crate) fn set_committed(&self, committed: Option<LogId>) {
        *self.committed.lock().unwrap_or_else(PoisonError::into_inner) = committed;
    }

    pub(crate) fn committed(&self) -> Option<LogId> {
        *self.committed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What log and snapshot take, as it changes.
    pub(crate) fn used(&self) -> Arc<Mutex<Used>> {
        Arc::clone(&self.used)
    }

    pub(crate) fn vote(&self) -> Result<Option<Vote>, DiskError> {
        tables::vote(&self.database)
    }

    /// The entries of a range that are not purged, at least one and then as many as fit `bytes_max`.
    pub(crate) fn entries(
        &self,
        range: impl RangeBounds<u64>,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, DiskError> {
        let from = self.bounds().purged.map_or(0, |purged| purged.index.saturating_add(1));
        tables::entries(&self.database, range, from, bytes_max)
    }

    pub(crate) fn snapshot(&self) -> Result<Option<Snapshot>, DiskError> {
        tables::snapshot(&self.database)
    }
}

impl Drop for Disk {
    /// Waits for what was handed over, so that the file can be opened again.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.take() {
            drop(writer.join());
        }
    }
}

fn backend(directory: &Path) -> Result<impl StorageBackend, DiskError> {
    let failed = |source| DiskError::File { path: directory.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    let path = directory.join(FILE);
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&path).map_err(failed)?;
    for path in [directory, &path] {
        if fs::metadata(path).map_err(failed)?.mode() & 0o077 != 0 {
            return Err(DiskError::TooOpen { path: path.to_owned() });
        }
    }
    redb::backends::FileBackend::new(file).map_err(DiskError::redb)
}

fn database(backend: impl StorageBackend) -> Result<Database, DiskError> {
    let mut builder = Database::builder();
    let database = builder.set_cache_size(CACHE_BYTES).create_with_backend(backend);
    database.map_err(DiskError::redb)
}
