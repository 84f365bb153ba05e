//! The one thread that writes: it takes what has gathered and makes it one transaction.
//!
//! Not here: what stands in the tables (`tables`). Invariant: nobody hears of a change before it is on disk, and the log is
//! never purged beyond the snapshot that is on disk.
//!
//! Raft purges a log before it has installed the snapshot that stands for it (openraft 0.9.25). A crash in between would
//! leave neither, so such a purge waits for its snapshot and both become one transaction. Appends that come in the meantime
//! wait with it: on disk they would follow a hole.
//!
//! A snapshot may be larger than the disk takes within the watchdog's patience, and everything else would wait for it. So a large
//! one is drafted beside the one that counts, piece by piece, between other changes; then it takes its place in one transaction.

use std::collections::VecDeque;
use std::fmt;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use redb::Database;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::UnboundedReceiver;

use super::tables::{self, Found, Used};
use super::watchdog::Pulse;
use super::{DiskError, Fatal, OnFatal};
#[cfg(test)]
use crate::tests::sim::{Bug, planted};
use crate::types::{LogId, SnapshotMeta, Vote};

/// How many changes one transaction takes.
const JOBS_MAX: usize = 256;
/// How much of a snapshot one transaction takes: a disk that writes 2 MiB a second is in time.
const DRAFT_BYTES: usize = 8 * 1_024 * 1_024;

/// What is to be written.
pub(crate) enum Change {
    Vote(Vote),
    /// Entries by index.
    Append(Vec<(u64, Vec<u8>)>),
    /// Everything from an index on goes.
    Truncate(u64),
    /// Everything up to here goes.
    Purge(LogId),
    Snapshot(Box<SnapshotMeta>, Arc<Vec<u8>>),
    /// What was drafted is the snapshot from now on.
    Adopt(Box<SnapshotMeta>, [u8; 32]),
}

/// What is called when a change is on disk, or never will be.
type Done = Box<dyn FnOnce(Result<(), DiskError>) + Send>;

/// A change and who waits for it.
pub(crate) struct Job {
    pub(crate) change: Change,
    pub(crate) done: Done,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").finish_non_exhaustive()
    }
}

/// A large snapshot, as far as it was written beside the one that counts.
struct Draft {
    meta: Box<SnapshotMeta>,
    image: Arc<Vec<u8>>,
    written: usize,
    done: Done,
}

pub(super) struct Writer {
    database: Arc<Database>,
    /// The last entry of the snapshot on disk.
    snapshot: Option<LogId>,
    /// A purge that waits for its snapshot.
    waiting: Option<LogId>,
    /// What came after it.
    held: VecDeque<Job>,
    drafts: VecDeque<Draft>,
    /// Whether what no longer counts was given back; at a start, what the life before left.
    is_swept: bool,
    draft_bytes: usize,
    committed: Arc<Mutex<Option<LogId>>>,
    used: Arc<Mutex<Used>>,
    written: Option<LogId>,
    pulse: Sender<Pulse>,
    on_fatal: OnFatal,
    is_broken: bool,
}

impl Writer {
    pub(super) fn new(
        database: &Arc<Database>,
        found: &Found,
        (committed, used): (&Arc<Mutex<Option<LogId>>>, &Arc<Mutex<Used>>),
        (pulse, on_fatal): (Sender<Pulse>, OnFatal),
    ) -> Self {
        Self {
            database: Arc::clone(database),
            snapshot: found.snapshot,
            waiting: None,
            held: VecDeque::new(),
            drafts: VecDeque::new(),
            is_swept: found.is_swept,
            draft_bytes: draft_bytes(),
            committed: Arc::clone(committed),
            used: Arc::clone(used),
            written: found.committed,
            pulse,
            on_fatal,
            is_broken: false,
        }
    }

    /// Writes until nobody sends any more.
    pub(super) fn run(mut self, mut queue: UnboundedReceiver<Job>) {
        let mut gathered = Vec::new();
        loop {
            if self.has_more() {
                gathered.extend(std::iter::from_fn(|| queue.try_recv().ok()).take(JOBS_MAX));
            } else if queue.blocking_recv_many(&mut gathered, JOBS_MAX) == 0 {
                break;
            }
            self.write(gathered.drain(..));
            self.go_on();
        }
        while !self.drafts.is_empty() {
            self.go_on();
        }
        self.write(std::iter::empty());
    }

    /// Whether there is something to do that nobody need send.
    pub(super) fn has_more(&self) -> bool {
        !self.is_broken && (!self.is_swept || !self.drafts.is_empty())
    }

    /// Does some of it.
    pub(super) fn go_on(&mut self) {
        if self.is_swept {
            return self.draft();
        }
        let (database, used) = (Arc::clone(&self.database), self.used());
        match self.watched(|| tables::sweep(&database, used)) {
            Ok((used, is_more)) => {
                self.set_used(used);
                self.is_swept = !is_more;
            }
            Err(error) => self.fail(&error, Vec::new()),
        }
    }

    /// Writes another piece of the snapshot that is being drafted, if one is; after the last it takes its place.
    fn draft(&mut self) {
        let Some(mut draft) = self.drafts.pop_front() else { return };
        let rest = draft.image.get(draft.written..).unwrap_or_default();
        if rest.is_empty() {
            let sha256 = Sha256::digest(draft.image.as_slice()).into();
            let (mut changes, mut waiters) = (Vec::new(), Vec::new());
            let job = Job { change: Change::Adopt(draft.meta, sha256), done: draft.done };
            self.sort(job, &mut changes, &mut waiters);
            // Adopted or not, something is left over.
            self.is_swept = false;
            return self.commit(&changes, waiters);
        }
        let (database, from) = (Arc::clone(&self.database), draft.written);
        let piece = rest.get(..self.draft_bytes).unwrap_or(rest);
        let used = self.used();
        match self.watched(|| tables::draft(&database, used, (from, piece))) {
            Ok(used) => {
                self.set_used(used);
                draft.written = from.saturating_add(piece.len());
                self.drafts.push_front(draft);
            }
            Err(error) => self.fail(&error, vec![draft.done]),
        }
    }

    /// Makes what has gathered one transaction.
    pub(super) fn write(&mut self, gathered: impl Iterator<Item = Job>) {
        let (mut changes, mut waiters) = (Vec::new(), Vec::new());
        for job in gathered {
            self.sort(job, &mut changes, &mut waiters);
        }
        self.commit(&changes, waiters);
    }

    /// What may be written now; the rest is held.
    fn sort(&mut self, job: Job, changes: &mut Vec<Change>, waiters: &mut Vec<Done>) {
        let covers = |snapshot: Option<LogId>, upto: LogId| {
            snapshot.is_some_and(|snapshot| snapshot.index >= upto.index)
        };
        match job.change {
            Change::Append(_) | Change::Truncate(_) if self.waiting.is_some() => {
                self.held.push_back(job);
                return;
            }
            #[cfg(test)]
            Change::Purge(_) if planted(Bug::PurgeFirst) => {
                changes.push(job.change);
                waiters.push(job.done);
                return;
            }
            Change::Purge(upto) if !covers(self.snapshot, upto) => {
                self.waiting = self.waiting.max(Some(upto));
                (job.done)(Ok(()));
                return;
            }
            Change::Vote(_) | Change::Append(_) | Change::Truncate(_) | Change::Purge(_) => {
                changes.push(job.change);
                waiters.push(job.done);
                return;
            }
            // One that was being built while a newer one was installed: the log it would go with is gone.
            Change::Snapshot(ref meta, _) | Change::Adopt(ref meta, _)
                if meta.last_log_id < self.snapshot =>
            {
                (job.done)(Ok(()));
                return;
            }
            Change::Snapshot(meta, image) if image.len() > self.draft_bytes => {
                self.drafts.push_back(Draft { meta, image, written: 0, done: job.done });
                return;
            }
            Change::Snapshot(ref meta, _) | Change::Adopt(ref meta, _) => {
                self.snapshot = meta.last_log_id;
                changes.push(job.change);
                waiters.push(job.done);
            }
        }
        if let Some(upto) = self.waiting.take_if(|upto| covers(self.snapshot, *upto)) {
            changes.push(Change::Purge(upto));
            for job in std::mem::take(&mut self.held) {
                self.sort(job, changes, waiters);
            }
        }
    }

    fn commit(&mut self, changes: &[Change], waiters: Vec<Done>) {
        let committed = *self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        let database = Arc::clone(&self.database);
        let used = self.used();
        let result = if changes.is_empty() && committed == self.written {
            if self.is_broken { Err(DiskError::Broken) } else { Ok(used) }
        } else {
            self.watched(|| tables::write(&database, used, (changes, committed)))
        };
        match result {
            Ok(used) => {
                self.set_used(used);
                self.written = committed;
                waiters.into_iter().for_each(|done| done(Ok(())));
            }
            Err(error) => self.fail(&error, waiters),
        }
    }

    fn used(&self) -> Used {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_used(&self, used: Used) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = used;
    }

    fn watched<T>(&self, write: impl FnOnce() -> Result<T, DiskError>) -> Result<T, DiskError> {
        if self.is_broken {
            return Err(DiskError::Broken);
        }
        // The watchdog ends with us; without it a write is still a write.
        self.pulse.send(Pulse::Begun).unwrap_or(());
        let result = write();
        self.pulse.send(Pulse::Ended).unwrap_or(());
        result
    }

    /// A second sync can succeed though the kernel dropped what the first could not write (P. Rebello et al., "Can Applications
    /// Recover from fsync Failures?", USENIX ATC 2020), so the first failure is the last.
    fn fail(&mut self, error: &DiskError, waiters: Vec<Done>) {
        if !std::mem::replace(&mut self.is_broken, true) {
            (self.on_fatal)(&Fatal::Write(chain(error)));
        }
        let drafts = self.drafts.drain(..).map(|draft| draft.done);
        let waiters: Vec<_> = waiters.into_iter().chain(drafts).collect();
        waiters.into_iter().for_each(|done| done(Err(DiskError::Broken)));
    }
}

fn draft_bytes() -> usize {
    #[cfg(test)]
    if let Some(bytes) = crate::tests::sim::draft_bytes() {
        return bytes;
    }
    DRAFT_BYTES
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
