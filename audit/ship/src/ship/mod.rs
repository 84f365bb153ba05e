//! The shipper: carries what is signed for from the journal into a bucket, each record exactly once, and says how much waits.
//!
//! Not here: whether calls stop when too much waits; the corridor decides that by policy. Invariant: a registry segment goes
//! up only after everything it anchors, so whoever reads the bucket never finds a head whose records are still to come.

mod carrier;
mod error;
mod ledger;
mod promise;
mod prune;
mod sealer;
mod spool;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use aegis_audit_chain::Origin;
use aegis_audit_chain::note::SecretKey;
use aegis_audit_chain::segment::RECORDS_MAX;
use aegis_domain::Timestamp;
use parking_lot::{Condvar, Mutex};

pub use error::ShipError;
pub use prune::{IsRead, Keep};

use crate::disk::Disk;
use crate::journal::Shared as JournalShared;
use crate::newest::NewestHead;
use crate::{Journal, JournalConfig, JournalError};
use aegis_audit_bucket::{Address, Bucket, BucketError, Retention};
use carrier::Carrier;
use error::io_error;
use promise::Heard;

/// A segment with records ends after this long.
pub const SHIP_EVERY: Duration = Duration::from_secs(10);
/// What may wait before the shipper says that it is too much.
pub const BACKLOG_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// After a failure, the first and the longest wait.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(60);

/// What is shipped, where to, and what the store must promise.
#[derive(Clone)]
pub struct ShipConfig {
    /// The journal's directory.
    pub dir: PathBuf,
    pub registry: Origin,
    /// Signs the manifests.
    pub region_key: SecretKey,
    pub disk: Arc<dyn Disk>,
    pub address: Address,
    /// How long the store must keep each object of its own accord; `None` asks for nothing.
    pub retention: Option<Retention>,
    pub backlog_bytes_max: u64,
    pub every: Duration,
    /// Which files of the journal may be deleted once they are confirmed; `None` keeps all.
    pub keep: Option<Keep>,
}

impl ShipConfig {
    /// Ships a journal to an address, with the usual limits.
    pub fn new(journal: &JournalConfig, address: Address) -> Result<Self, JournalError> {
        Ok(Self {
            dir: journal.dir.clone(),
            registry: journal.registry()?,
            region_key: journal.region_key.clone(),
            disk: Arc::clone(&journal.disk),
            address,
            retention: None,
            backlog_bytes_max: BACKLOG_BYTES_MAX,
            every: SHIP_EVERY,
            keep: None,
        })
    }
}

/// How the shipper is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Bytes of this life's records that are on disk and not yet in the bucket; earlier lives count by their files.
    pub backlog_bytes: u64,
    /// Whether that is more than was allowed to wait.
    pub is_full: bool,
    /// Segments confirmed since the start.
    pub segments: u64,
    /// Why the last try failed; `None` when it did not.
    pub trouble: Option<String>,
    /// Whether the shipper has given up until somebody looks at it.
    pub is_stopped: bool,
    /// When a segment was confirmed last, since the start.
    pub shipped_at: Option<Timestamp>,
}

/// What the carrying thread and its owner share.
struct Shared {
    journal: Arc<JournalShared>,
    /// The registry's newest head that is on disk; the record that bears it stands behind what it covers.
    registry: NewestHead,
    /// Of this life: frames confirmed in the bucket.
    confirmed: AtomicU64,
    /// Of earlier lives: files with something unconfirmed.
    older: AtomicU64,
    segments: AtomicU64,
    backlog_max: u64,
    /// What was said last about too much waiting.
    was_full: AtomicBool,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_stopping: bool,
    is_stopped: bool,
    trouble: Option<String>,
    shipped_at: Option<Timestamp>,
}

impl Shared {
    fn backlog(&self) -> u64 {
        let durable = self.journal.durable_bytes.load(Ordering::Relaxed);
        let waiting = durable.saturating_sub(self.confirmed.load(Ordering::Relaxed));
        waiting.saturating_add(self.older.load(Ordering::Relaxed))
    }

    /// Whether more waits than may; says so where that has changed.
    fn is_full(&self) -> bool {
        let backlog_bytes = self.backlog();
        let is_full = backlog_bytes > self.backlog_max;
        if is_full != self.was_full.load(Ordering::Relaxed)
            && is_full != self.was_full.swap(is_full, Ordering::Relaxed)
        {
            match is_full {
                true => tracing::error!(backlog_bytes, "too much waits for the audit bucket"),
                false => tracing::warn!(backlog_bytes, "the audit bucket has caught up"),
            }
        }
        is_full
    }

    fn standing(&self) -> Standing {
        let state = self.state.lock();
        Standing {
            backlog_bytes: self.backlog(),
            is_full: self.is_full(),
            segments: self.segments.load(Ordering::Relaxed),
            trouble: state.trouble.clone(),
            is_stopped: state.is_stopped,
            shipped_at: state.shipped_at,
        }
    }

    /// A segment is in the bucket.
    fn is_shipped(&self) {
        self.segments.fetch_add(1, Ordering::Relaxed);
        self.state.lock().shipped_at = Some(self.journal.now().wall);
    }
}

impl State {
    /// Says what has changed about the way into the bucket, and nothing else.
    fn note_trouble(&mut self, trouble: Option<String>) {
        match (&self.trouble, &trouble) {
            (None, Some(error)) => {
                tracing::error!(error, "audit records do not get into the bucket");
            }
            (Some(_), None) => tracing::warn!("audit records get into the bucket again"),
            (Some(_), Some(_)) | (None, None) => {}
        }
        self.trouble = trouble;
    }
}

/// The thread that carries. Dropping it leaves the thread to its last round; `stop` waits for that.
pub struct Shipper {
    shared: Arc<Shared>,
    ended: Mutex<Receiver<()>>,
}

impl std::fmt::Debug for Shipper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "shipper of {}", self.shared.journal.origin)
    }
}

/// Starts shipping. A store that promises less than was asked for is refused here; one that cannot be reached is tried
/// again, and nothing is sent to it before it has promised.
pub fn start(config: ShipConfig, journal: &Journal) -> Result<Shipper, ShipError> {
    let bucket = Bucket::open_to_write(&config.address)?;
    let mut heard = Heard::Never;
    if let Some(asked) = config.retention {
        match bucket.check_retention(asked).map_err(ShipError::from) {
            Ok(()) => heard = Heard::Now,
            Err(error @ ShipError::Bucket(BucketError::Retention { .. })) => return Err(error),
            Err(error) if error.is_final() => return Err(error),
            Err(error) => tracing::warn!(%error, "audit bucket cannot be asked for its retention"),
        }
    }
    let shared = Arc::new(Shared {
        journal: Arc::clone(&journal.shared),
        registry: journal.newest_head(),
        confirmed: AtomicU64::new(0),
        older: AtomicU64::new(0),
        segments: AtomicU64::new(0),
        backlog_max: config.backlog_bytes_max,
        was_full: AtomicBool::new(false),
        state: Mutex::new(State::default()),
        wake: Condvar::new(),
    });
    let every = config.every;
    let carrier = Carrier::open(config, (bucket, heard), Arc::clone(&shared))?;
    let (end, ended) = channel();
    let loops = Arc::clone(&shared);
    let thread = thread::Builder::new().name("audit-ship".to_owned());
    let spawned = thread.spawn(move || {
        carry(carrier, &loops, every);
        // Nobody may be waiting for it.
        drop(end);
    });
    spawned.map_err(io_error("starting the shipper's thread"))?;
    Ok(Shipper { shared, ended: Mutex::new(ended) })
}

impl Shipper {
    pub fn standing(&self) -> Standing {
        self.shared.standing()
    }

    /// Whether more waits than is allowed; cheap enough to ask for every call.
    pub fn is_full(&self) -> bool {
        self.shared.is_full()
    }

    /// Carries what is signed for by now, and ends; close the journal first, so that this is everything. What is not in
    /// the bucket after `within` stays on disk for the next start.
    pub fn stop(&self, within: Duration) -> Standing {
        self.shared.state.lock().is_stopping = true;
        self.shared.wake.notify_all();
        // It ends by dropping its sender.
        let is_late = self.ended.lock().recv_timeout(within) == Err(RecvTimeoutError::Timeout);
        if is_late {
            tracing::warn!(
                "audit shipper did not end in time; what is left is shipped at the next start"
            );
        }
        self.standing()
    }
}

/// Carries in rounds until told to stop.
fn carry(mut carrier: Carrier, shared: &Shared, every: Duration) {
    let mut retry = RETRY_FIRST;
    loop {
        // Asked before the round, so that what was signed before the request to stop is in it.
        let is_last = shared.state.lock().is_stopping;
        let result = carrier.round();
        let mut state = shared.state.lock();
        let wait = match result {
            Ok(()) => {
                state.note_trouble(None);
                retry = RETRY_FIRST;
                every
            }
            Err(error) => {
                state.note_trouble(Some(chain(&error)));
                if error.is_final() {
                    state.is_stopped = true;
                    return;
                }
                let wait = retry;
                retry = retry.saturating_mul(2).min(RETRY_LAST);
                wait
            }
        };
        if is_last {
            return;
        }
        let until = Instant::now().checked_add(wait);
        while !state.is_stopping && until.is_some_and(|until| Instant::now() < until) {
            if state.trouble.is_none() && carrier.is_segment_full(shared) {
                break;
            }
            shared.wake.wait_for(&mut state, wait.min(Duration::from_secs(1)));
        }
    }
}

impl Carrier {
    /// Whether a segment would be full without waiting for its time.
    fn is_segment_full(&self, shared: &Shared) -> bool {
        let durable = *shared.journal.durable.borrow();
        durable.saturating_sub(self.live_size()) >= RECORDS_MAX
    }
}

/// An error and everything below it, each said once: the store's client repeats its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let told = cause.to_string();
        if !text.contains(&told) {
            text.push_str(": ");
            text.push_str(&told);
        }
        next = cause.source();
    }
    text
}
