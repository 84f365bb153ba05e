//! The writer thread: takes what has gathered, writes it in one piece, syncs, tells everyone.
//!
//! Not here: who appends (`journal`), who signs (`anchor`). Invariant: waiters are told only after the sync; the first
//! error ends the stream.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::anchor::AnchorSlot;
use crate::journal::{Batch, Failure, Shared};
use crate::wal::Wal;

/// A segment with records ends after this long.
const SEAL_EVERY: Duration = Duration::from_secs(10);

/// Records that nobody waits for are written after this long, if no other record takes them along.
pub(crate) const UNHURRIED: Duration = Duration::from_millis(5);

pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) wal: Wal,
    pub(crate) anchors: Arc<AnchorSlot>,
}

impl Writer {
    /// Runs until the journal closes or fails.
    pub(crate) fn run(mut self) {
        let result = self.write_all();
        match result {
            Ok(()) => self.anchors.finish(),
            Err(error) => {
                tracing::error!(%error, origin = %self.shared.origin, "audit journal failed");
                self.shared.fail(Failure::Disk(error.kind()));
                self.anchors.abandon(error.kind());
            }
        }
    }

    fn write_all(&mut self) -> io::Result<()> {
        // Two buffers take turns, so appenders never wait for a copy.
        let mut spare = Batch::default();
        loop {
            let mut state = self.shared.state.lock();
            while !state.batch.is_urgent && !state.closing {
                if let Some(failure) = state.failed {
                    return Err(failure.kind().into());
                }
                let is_idle = state.batch.frames.is_empty();
                let wait = if is_idle { SEAL_EVERY } else { UNHURRIED };
                let is_over = self.shared.work.wait_for(&mut state, wait).timed_out();
                self.seal_if_due(&mut state)?;
                if is_over && !state.batch.frames.is_empty() {
                    break;
                }
            }
            if let Some(failure) = state.failed {
                return Err(failure.kind().into());
            }
            self.seal_if_due(&mut state)?;
            std::mem::swap(&mut state.batch, &mut spare);
            let (tree, closing) = (state.sequencer.tree().clone(), state.closing);
            drop(state);
            if spare.frames.is_empty() {
                return self.wal.finish();
            }
            let first = *self.shared.durable.borrow();
            self.shared.is_writing(Some(Instant::now()));
            let written = self.wal.append(first, &spare.frames);
            self.shared.is_writing(None);
            if let Err(error) = written {
                // Before the waiters are let go, so that they learn why.
                self.shared.fail(Failure::Disk(error.kind()));
                return Err(error);
            }
            self.shared.is_durable(tree.size(), &spare.frames);
            for waiter in spare.waiters.drain(..) {
                // An appender that went away still has its record.
                let _gone = waiter.send(());
            }
            self.shared.room.add_permits(spare.room);
            self.anchors.offer(tree);
            (spare.room, spare.is_urgent) = (0, false);
            spare.frames = recycled(spare.frames);
            if closing {
                return self.wal.finish();
            }
        }
    }

    fn seal_if_due(&self, state: &mut crate::journal::State) -> io::Result<()> {
        let due = state.sealed_at.elapsed() >= SEAL_EVERY && !state.closing;
        if due && state.failed.is_none() && state.sequencer.unsealed() > 0 {
            self.shared.seal(state).map_err(io::Error::other)?;
        }
        Ok(())
    }
}

/// Empties a buffer, and lets go of one that a burst has blown up.
fn recycled(mut buffer: Vec<u8>) -> Vec<u8> {
    const KEEP_BYTES: usize = 1024 * 1024;
    if buffer.capacity() > KEEP_BYTES {
        return Vec::new();
    }
    buffer.clear();
    buffer
}
