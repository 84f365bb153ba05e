//! The thread that reads the journal and tells the sinks, and remembers how far it got.
//!
//! Not here: reading files (`streams`), and what a sink makes of a record. Invariant: the cursor is saved only after
//! every sink has synced what lies before it, so a crash repeats records and never skips one.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use aegis_audit_chain::Origin;
use aegis_audit_chain::record::Record;
use parking_lot::{Condvar, Mutex};
use tracing::{error, warn};

use crate::cursor::{self, CursorError, Places};
use crate::streams::Streams;

/// Records told at once.
const BATCH_MAX: usize = 1_024;

/// One record and the stream it stands in.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub origin: Origin,
    pub record: Record,
}

/// Somebody who is told the records.
pub trait Sink: Send {
    /// Takes a batch; after an error the same batch comes again.
    fn tell(&mut self, batch: &[Event]) -> io::Result<()>;
    /// Makes what was taken last, as far as this sink can.
    fn sync(&mut self) -> io::Result<()>;
}

/// How many records of the stream being written are on disk, so that none is told that a power cut may undo.
pub struct Durable {
    pub origin: Origin,
    pub records: Box<dyn Fn() -> u64 + Send>,
}

impl Durable {
    pub(crate) fn of(&self, origin: &Origin) -> Option<u64> {
        (self.origin == *origin).then(|| (self.records)())
    }
}

/// Where a follower reads, and where it remembers.
pub struct FollowerConfig {
    pub audit_dir: PathBuf,
    pub cursor_file: PathBuf,
    /// Without it, every whole record in the files is told.
    pub durable: Option<Durable>,
    pub poll_every: Duration,
    /// How much may be told again after a crash.
    pub save_every: Duration,
}

impl FollowerConfig {
    pub fn new(audit_dir: PathBuf, cursor_file: PathBuf) -> Self {
        Self {
            audit_dir,
            cursor_file,
            durable: None,
            poll_every: Duration::from_millis(50),
            save_every: Duration::from_secs(1),
        }
    }
}

/// Why a follower cannot start.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    #[error("cannot go on where an earlier follower stopped")]
    Cursor(#[from] CursorError),
    #[error("cannot start the follower's thread")]
    Thread(#[source] io::Error),
}

/// Follows the journal until it is dropped; then it tells what is left, syncs and saves.
pub struct Follower {
    signal: Arc<Signal>,
    saved: Saved,
    thread: Option<JoinHandle<()>>,
}

/// How far every sink has synced, for whoever deletes what was read. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Saved(Arc<Mutex<Places>>);

impl Saved {
    /// Whether the first `size` records of a stream are told for good.
    pub fn is_past(&self, origin: &Origin, size: u64) -> bool {
        let places = self.0.lock();
        places
            .get(origin.writer())
            .is_some_and(|place| (place.incarnation, place.next) >= (origin.incarnation(), size))
    }
}

#[derive(Default)]
struct Signal {
    stopping: Mutex<bool>,
    wake: Condvar,
}

impl Follower {
    pub fn start(config: FollowerConfig, sinks: Vec<Box<dyn Sink>>) -> Result<Self, FollowError> {
        let told = cursor::load(&config.cursor_file)?;
        let streams = Streams::at(config.audit_dir, config.durable, &told);
        let signal = Arc::new(Signal::default());
        let saved = Saved(Arc::new(Mutex::new(told.clone())));
        let work = Work {
            shared: saved.clone(),
            streams,
            sinks: sinks.into_iter().map(|sink| Told { sink, done: false }).collect(),
            batch: Vec::new(),
            saved: told.clone(),
            told,
            cursor_file: config.cursor_file,
            poll_every: config.poll_every,
            save_every: config.save_every,
            troubled: false,
        };
        let shared = Arc::clone(&signal);
        let thread = thread::Builder::new().name("aegis-telemetry".into());
        let thread = thread.spawn(move || work.run(&shared)).map_err(FollowError::Thread)?;
        Ok(Self { signal, saved, thread: Some(thread) })
    }

    pub fn saved(&self) -> Saved {
        self.saved.clone()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        *self.signal.stopping.lock() = true;
        self.signal.wake.notify_one();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            error!("the telemetry follower panicked");
        }
    }
}

struct Told {
    sink: Box<dyn Sink>,
    /// Has taken the current batch.
    done: bool,
}

struct Work {
    streams: Streams,
    sinks: Vec<Told>,
    /// Read and not yet taken by every sink.
    batch: Vec<Event>,
    told: Places,
    saved: Places,
    shared: Saved,
    cursor_file: PathBuf,
    poll_every: Duration,
    save_every: Duration,
    /// The last round failed, and that has been said.
    troubled: bool,
}

impl Work {
    fn run(mut self, signal: &Signal) {
        let mut saved_at = Instant::now();
        loop {
            // Read before the round: what was written before the stop is still told.
            let stopping = *signal.stopping.lock();
            let mut round = self.tell_some();
            let drained = !matches!(round, Ok(More::Yes));
            let due = saved_at.elapsed() >= self.save_every || (stopping && drained);
            if round.is_ok() && due {
                round = self.save().map(|()| More::No);
                saved_at = Instant::now();
            }
            self.report(round.err());
            if stopping && drained {
                return;
            }
            let mut stopping = signal.stopping.lock();
            if drained && !*stopping {
                signal.wake.wait_for(&mut stopping, self.poll_every);
            }
        }
    }

    /// Tells one batch; an error leaves it to be told again to the sinks that have not taken it.
    fn tell_some(&mut self) -> io::Result<More> {
        if self.batch.is_empty() {
            self.streams.read(&mut self.batch, BATCH_MAX)?;
        }
        if self.batch.is_empty() {
            self.told = self.streams.places();
            return Ok(More::No);
        }
        for told in self.sinks.iter_mut().filter(|told| !told.done) {
            told.sink.tell(&self.batch)?;
            told.done = true;
        }
        self.sinks.iter_mut().for_each(|told| told.done = false);
        self.told = self.streams.places();
        self.batch.clear();
        Ok(More::Yes)
    }

    fn save(&mut self) -> io::Result<()> {
        if self.saved != self.told {
            for told in &mut self.sinks {
                told.sink.sync()?;
            }
            cursor::save(&self.cursor_file, &self.told).map_err(io::Error::other)?;
            self.saved.clone_from(&self.told);
            self.shared.0.lock().clone_from(&self.told);
        }
        Ok(())
    }

    fn report(&mut self, trouble: Option<io::Error>) {
        if let Some(cause) = trouble.as_ref().filter(|_| !self.troubled) {
            warn!(%cause, "telemetry is held up; it goes on when this is over");
        }
        self.troubled = trouble.is_some();
    }
}

/// Whether there was something to tell, so that there may be more.
enum More {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cursor::Place;

    #[test]
    fn only_what_was_saved_of_that_writer_is_past() {
        let saved = Saved::default();
        let stream = |writer, number| Origin::stream("d", "r", writer, number).unwrap();
        assert!(!saved.is_past(&stream("gw", 1), 0));
        saved.0.lock().insert("gw".to_owned(), Place { incarnation: 2, next: 5 });
        assert!(saved.is_past(&stream("gw", 1), u64::MAX));
        assert!(saved.is_past(&stream("gw", 2), 5));
        assert!(!saved.is_past(&stream("gw", 2), 6));
        assert!(!saved.is_past(&stream("gw", 3), 0));
        assert!(!saved.is_past(&stream("other", 1), 1));
    }
}
