//! The thread that makes the journal last: it syncs, turns to a new file when one is full, and has the old ones
//! compacted.
//!
//! Not here: appending (`journal`), and the files themselves (`files`). Invariant: `Synced::upto` is told only
//! after everything appended before it, in this file and earlier ones, has been synced.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::watch;
use tracing::{error, warn};

use super::Durability;
use super::core::Core;
use super::files::{compact, start_journal};
use super::journal::{Disk, Sink};

/// How long a change may wait for its sync in relaxed mode.
const RELAXED_WAIT: Duration = Duration::from_millis(50);

/// How far the journal has reached the disk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Synced {
    pub(super) upto: u64,
    pub(super) failed: bool,
}

/// What the keeper and the state share.
pub(super) struct Shared {
    pub(super) core: Mutex<Core>,
    /// Told when the journal has something to sync, or the state is closing.
    pub(super) wake: Condvar,
    pub(super) synced: watch::Sender<Synced>,
}

pub(super) struct Keeper {
    pub(super) shared: Arc<Shared>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) directory: PathBuf,
    pub(super) durability: Durability,
    pub(super) compact_bytes: u64,
    pub(super) generation: u64,
    pub(super) compaction: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Works until the state closes; the last thing it does is a sync.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let mut core = shared.core.lock();
        while !core.closing {
            shared.wake.wait_while(&mut core, |core| !core.dirty && !core.closing);
            if self.durability == Durability::Relaxed {
                shared.wake.wait_while_for(&mut core, |core| !core.closing, RELAXED_WAIT);
            }
            self.sync(&mut core);
            if core.journal.len() >= self.compact_bytes && self.compaction_is_over() {
                self.turn(&mut core);
            }
        }
        if core.dirty {
            self.sync(&mut core);
        }
        drop(core);
        if let Some(compaction) = self.compaction.take() {
            report_panic(compaction.join());
        }
    }

    fn sync(&self, core: &mut MutexGuard<'_, Core>) {
        core.dirty = false;
        let (sink, upto) = (core.journal.sink(), core.journal.appended());
        self.sync_and_tell(core, &*sink, upto);
    }

    fn sync_and_tell(&self, core: &mut MutexGuard<'_, Core>, sink: &dyn Sink, upto: u64) {
        let done = MutexGuard::unlocked(core, || sink.sync());
        if let Err(cause) = done {
            error!(%cause, "syncing the state journal failed; no more decisions until a restart");
            core.journal.sync_has_failed();
            self.shared.synced.send_modify(|synced| synced.failed = true);
        } else {
            self.shared.synced.send_modify(|synced| synced.upto = synced.upto.max(upto));
        }
    }

    /// Goes on in a new journal. The old one is synced once more after the change, before anything in the new
    /// one is called synced.
    fn turn(&mut self, core: &mut MutexGuard<'_, Core>) {
        let generation = self.generation + 1;
        let made =
            MutexGuard::unlocked(core, || start_journal(&*self.disk, &self.directory, generation));
        let (sink, len) = match made {
            Ok(made) => made,
            Err(cause) => return warn!(%cause, "starting a new state journal failed"),
        };
        let (old, upto) = (core.journal.sink(), core.journal.appended());
        if let Err(cause) = core.journal.turn_to(sink, len) {
            return warn!(%cause, "the state journal must be repaired before it is closed");
        }
        self.generation = generation;
        self.sync_and_tell(core, &*old, upto);
        let (disk, directory) = (Arc::clone(&self.disk), self.directory.clone());
        let work = move || {
            if let Err(cause) = compact(&*disk, &directory, generation) {
                warn!(%cause, "compacting the state journal failed; it is tried again with the next");
            }
        };
        match thread::Builder::new().name("aegis-state-compact".into()).spawn(work) {
            Ok(compaction) => self.compaction = Some(compaction),
            Err(cause) => warn!(%cause, "no thread to compact the state journal"),
        }
    }

    fn compaction_is_over(&mut self) -> bool {
        if self.compaction.as_ref().is_some_and(|compaction| !compaction.is_finished()) {
            return false;
        }
        if let Some(compaction) = self.compaction.take() {
            report_panic(compaction.join());
        }
        true
    }
}

fn report_panic(joined: thread::Result<()>) {
    if joined.is_err() {
        error!("compacting the state journal panicked");
    }
}
