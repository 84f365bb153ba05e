//! The journal: takes encoded records, gives each its place at once, and says when it is on disk.
//!
//! Not here: the disk loop (`writer`), anchoring (`anchor`), what happens at start (`open`). Invariant: a record that
//! got a place is written whether or not anyone waits for it; nobody is told it is durable before it is.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use aegis_audit_chain::link::{Reading, Sequencer};
use aegis_audit_chain::record::Draft;
use aegis_audit_chain::{Hash, Head, Origin, frame};
use aegis_domain::Timestamp;
use parking_lot::{Condvar, Mutex};
use tokio::sync::{Semaphore, TryAcquireError, oneshot, watch};

use crate::JournalError;
use crate::inclusion::{Anchored, Earlier};
use crate::newest::NewestHead;

/// Reads the wall clock; the process has one.
pub type WallClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Bytes of records that may wait for the disk; more makes `append` wait.
const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A segment ends after this many records.
const SEAL_RECORDS: u64 = 65_536;

/// A record's place, known before it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub origin: Origin,
    pub seq: u64,
    pub leaf: Hash,
    pub ts: Timestamp,
}

/// Proof that a record is on disk. Only the journal makes one.
#[derive(Debug)]
#[must_use]
pub struct Sealed(Position);

impl Sealed {
    pub fn position(&self) -> &Position {
        &self.0
    }
}

/// A record that has its place and is on its way to disk; dropping it does not take it back.
#[derive(Debug)]
pub struct Pending {
    position: Position,
    done: oneshot::Receiver<()>,
    shared: Arc<Shared>,
}

impl Pending {
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Waits until the record is on disk.
    pub async fn durable(self) -> Result<Sealed, JournalError> {
        match self.done.await {
            Ok(()) => Ok(Sealed(self.position)),
            Err(_) => Err(self.shared.refusal()),
        }
    }

    /// Waits on this thread; not for async code.
    pub fn durable_blocking(self) -> Result<Sealed, JournalError> {
        wait_here(self.durable())
    }
}

/// Records that wait for the disk together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) frames: Vec<u8>,
    pub(crate) waiters: Vec<oneshot::Sender<()>>,
    /// Queue room the batch holds.
    pub(crate) room: usize,
    /// Whether someone waits before it does anything else; then the disk is asked at once.
    pub(crate) is_urgent: bool,
}

/// Whether a record's owner waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Haste {
    Now,
    /// It may share the next record's sync, or gets its own after `writer::UNHURRIED`.
    Soon,
}

/// Why a stream takes nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Disk(io::ErrorKind),
    /// Its registry's witnesses know another history, or more of this one.
    Disowned,
    /// Somebody else may have its key.
    Revoked,
}

impl Failure {
    pub(crate) fn kind(self) -> io::ErrorKind {
        match self {
            Failure::Disk(kind) => kind,
            Failure::Disowned => io::ErrorKind::InvalidData,
            Failure::Revoked => io::ErrorKind::PermissionDenied,
        }
    }
}

impl From<Failure> for JournalError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Disk(kind) => JournalError::Failed(kind),
            Failure::Disowned => JournalError::Disowned,
            Failure::Revoked => JournalError::Revoked,
        }
    }
}

/// What appenders and the writer share.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) sequencer: Sequencer,
    pub(crate) batch: Batch,
    pub(crate) closing: bool,
    pub(crate) failed: Option<Failure>,
    pub(crate) sealed_at: Instant,
}

pub(crate) struct Shared {
    pub(crate) origin: Origin,
    pub(crate) state: Mutex<State>,
    /// Wakes the writer.
    pub(crate) work: Condvar,
    pub(crate) room: Semaphore,
    pub(crate) durable: watch::Sender<u64>,
    /// Since when the disk has been at a batch.
    writing: Mutex<Option<Instant>>,
    /// Since when the disk has been at an anchor of what was written.
    anchoring: Mutex<Option<Instant>>,
    /// What ended the stream, for those who wait for that.
    ended: watch::Sender<Option<Failure>>,
    /// Bytes of frames on disk, of this life.
    pub(crate) durable_bytes: AtomicU64,
    /// Why its key is not believed any more.
    pub(crate) revoked: Mutex<Option<String>>,
    /// What is signed for by now.
    pub(crate) anchored: Mutex<Anchored>,
    clock: WallClock,
    started: Instant,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "journal of {}", self.origin)
    }
}

impl Shared {
    pub(crate) fn new(origin: Origin, clock: WallClock) -> Self {
        let started = Instant::now();
        let state = State {
            sequencer: Sequencer::new(origin.clone()),
            batch: Batch::default(),
            closing: false,
            failed: None,
            sealed_at: started,
        };
        Self {
            origin,
            state: Mutex::new(state),
            work: Condvar::new(),
            room: Semaphore::new(QUEUE_BYTES_MAX),
            durable: watch::Sender::new(0),
            writing: Mutex::default(),
            anchoring: Mutex::default(),
            ended: watch::Sender::new(None),
            durable_bytes: AtomicU64::new(0),
            revoked: Mutex::default(),
            anchored: Mutex::default(),
            clock,
            started,
        }
    }

    pub(crate) fn now(&self) -> Reading {
        let mono_ns = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Reading { wall: (self.clock)(), mono_ns }
    }

    /// Places a draft and what must stand before and after it.
    pub(crate) fn place(
        &self,
        draft: Draft,
        room: u32,
        haste: Haste,
    ) -> Result<(Position, oneshot::Receiver<()>), JournalError> {
        let mut state = self.state.lock();
        if let Some(failure) = state.failed {
            return Err(failure.into());
        }
        if state.closing {
            return Err(JournalError::Closed);
        }
        let was_urgent = state.batch.is_urgent;
        let was_idle = state.batch.frames.is_empty();
        state.batch.is_urgent |= haste == Haste::Now;
        let now = self.now();
        if let Some(step) = state.sequencer.clock_step(now) {
            self.push(&mut state, step.draft()?, now);
        }
        let position = self.push(&mut state, draft, now);
        let (sender, receiver) = oneshot::channel();
        state.batch.waiters.push(sender);
        let room = usize::try_from(room).unwrap_or(0);
        state.batch.room = state.batch.room.saturating_add(room);
        if state.sequencer.unsealed() >= SEAL_RECORDS {
            self.seal(&mut state)?;
        }
        let is_news = was_idle || state.batch.is_urgent != was_urgent;
        drop(state);
        if is_news {
            self.work.notify_one();
        }
        Ok((position, receiver))
    }

    /// Ends the segment, if it holds anything.
    pub(crate) fn seal(&self, state: &mut State) -> Result<(), JournalError> {
        state.sealed_at = Instant::now();
        if state.sequencer.unsealed() > 0 {
            for seal in state.sequencer.tenant_seals() {
                self.push(state, seal.draft()?, self.now());
            }
            let seal = state.sequencer.seal().draft()?;
            self.push(state, seal, self.now());
        }
        Ok(())
    }

    pub(crate) fn push(&self, state: &mut State, draft: Draft, now: Reading) -> Position {
        let placed = state.sequencer.place(draft, now);
        frame::push_frame(&mut state.batch.frames, &placed.bytes);
        Position { origin: self.origin.clone(), seq: placed.seq, leaf: placed.leaf, ts: placed.ts }
    }

    /// Ends the stream for good: nobody who waits, or comes later, is told yes.
    pub(crate) fn fail(&self, failure: Failure) {
        let mut state = self.state.lock();
        state.failed.get_or_insert(failure);
        state.batch = Batch::default();
        drop(state);
        self.room.close();
        self.work.notify_one();
        self.ended.send_if_modified(|ended| {
            let is_first = ended.is_none();
            ended.get_or_insert(failure);
            is_first
        });
    }

    /// Notes that the disk is given a batch now, or that it has answered.
    pub(crate) fn is_writing(&self, since: Option<Instant>) {
        *self.writing.lock() = since;
    }

    /// Notes that the disk is asked for an anchor now, or that it has answered.
    pub(crate) fn is_anchoring(&self, since: Option<Instant>) {
        *self.anchoring.lock() = since;
    }

    /// Says that a batch is on disk.
    pub(crate) fn is_durable(&self, size: u64, frames: &[u8]) {
        let bytes = u64::try_from(frames.len()).unwrap_or(u64::MAX);
        self.durable_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.durable.send_replace(size);
    }

    pub(crate) fn refusal(&self) -> JournalError {
        self.state.lock().failed.map_or(JournalError::Closed, JournalError::from)
    }
}

/// The journal of this process. Share it in an `Arc`; it closes when it is dropped.
#[derive(Debug)]
pub struct Journal {
    pub(crate) dir: PathBuf,
    pub(crate) shared: Arc<Shared>,
    pub(crate) earlier: Earlier,
    pub(crate) newest: NewestHead,
    pub(crate) threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Journal {
    /// The stream this process writes.
    pub fn origin(&self) -> &Origin {
        &self.shared.origin
    }

    /// The registry's newest signed head, of this life: to be shown to witnesses.
    pub fn newest_head(&self) -> NewestHead {
        self.newest.clone()
    }

    /// Takes no record any more, because this log is not the one that others have seen under its name.
    pub fn disown(&self) {
        self.shared.fail(Failure::Disowned);
    }

    /// Ends the stream, because somebody else may have its key, and says so in the registry, at the head that was anchored last. Only
    /// the next life takes records again, under a key of its own.
    pub fn revoke(&self, reason: &str) {
        *self.shared.revoked.lock() = Some(reason.to_owned());
        self.shared.fail(Failure::Revoked);
    }

    /// Gives a record its place; waits only when the queue is full. What is not yet placed when the future is
    /// dropped is not written.
    pub async fn append(&self, draft: Draft) -> Result<Pending, JournalError> {
        let room = room_of(&draft);
        let permit = self.shared.room.acquire_many(room).await;
        permit.map_err(|_| self.shared.refusal())?.forget();
        self.place(draft, room, Haste::Now)
    }

    /// `append` for a record that no call waits for: it shares a later record's sync, or gets its own within 5 ms.
    pub async fn append_unhurried(&self, draft: Draft) -> Result<Pending, JournalError> {
        let room = room_of(&draft);
        let permit = self.shared.room.acquire_many(room).await;
        permit.map_err(|_| self.shared.refusal())?.forget();
        self.place(draft, room, Haste::Soon)
    }

    /// Gives a record its place, or refuses it when the queue is full.
    pub fn try_append(&self, draft: Draft) -> Result<Pending, JournalError> {
        let room = room_of(&draft);
        match self.shared.room.try_acquire_many(room) {
            Ok(permit) => permit.forget(),
            Err(TryAcquireError::NoPermits) => return Err(JournalError::Full),
            Err(TryAcquireError::Closed) => return Err(self.shared.refusal()),
        }
        self.place(draft, room, Haste::Now)
    }

    /// `append` for threads without a runtime.
    pub fn append_blocking(&self, draft: Draft) -> Result<Pending, JournalError> {
        wait_here(self.append(draft))
    }

    /// How many records of this stream are on disk; changes as they get there.
    pub fn durable(&self) -> watch::Receiver<u64> {
        self.shared.durable.subscribe()
    }

    /// Whether a record appended now could get to disk.
    pub fn health(&self) -> Result<(), JournalError> {
        let state = self.shared.state.lock();
        match state.failed {
            Some(failure) => Err(failure.into()),
            None if state.closing => Err(JournalError::Closed),
            None => Ok(()),
        }
    }

    /// How long the disk has been at what it was given last, records or their anchor; zero while it has nothing to do.
    pub fn writing_for(&self) -> Duration {
        let began = [*self.shared.writing.lock(), *self.shared.anchoring.lock()];
        began.into_iter().flatten().min().map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Returns once the disk has failed, or the key was revoked: only the next life takes records again.
    pub async fn disk_failed(&self) {
        let mut ended = self.shared.ended.subscribe();
        let is_over =
            |ended: &Option<Failure>| matches!(ended, Some(Failure::Disk(_) | Failure::Revoked));
        let failed = ended.wait_for(is_over).await;
        // The sender lives as long as `self`, so this cannot fail.
        drop(failed);
    }

    /// Head over everything placed so far, durable or not.
    pub fn head(&self) -> Head {
        self.shared.state.lock().sequencer.head()
    }

    /// Writes the last records, signs the final head, and waits for both threads; not for async code.
    pub fn close(&self) -> Result<(), JournalError> {
        let mut state = self.shared.state.lock();
        if !state.closing && state.failed.is_none() {
            self.shared.seal(&mut state)?;
            self.shared.push(&mut state, Draft::close()?, self.shared.now());
            state.closing = true;
        }
        drop(state);
        self.shared.work.notify_one();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            // A thread that panicked has dropped its waiters, so nobody was told yes.
            if thread.join().is_err() {
                self.shared.fail(Failure::Disk(io::ErrorKind::Other));
            }
        }
        self.shared.room.close();
        self.shared.state.lock().failed.map_or(Ok(()), |failure| Err(failure.into()))
    }

    fn place(&self, draft: Draft, room: u32, haste: Haste) -> Result<Pending, JournalError> {
        let (position, done) = self.shared.place(draft, room, haste)?;
        Ok(Pending { position, done, shared: Arc::clone(&self.shared) })
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::warn!(%error, origin = %self.shared.origin, "audit journal did not close in order");
        }
    }
}

/// Queue room a draft needs: its frame, at most 16,392 bytes.
fn room_of(draft: &Draft) -> u32 {
    u32::try_from(draft.record_bytes().saturating_add(frame::FRAME_OVERHEAD)).unwrap_or(u32::MAX)
}

/// Runs a future on this thread, sleeping while it waits.
fn wait_here<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::task::Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}
