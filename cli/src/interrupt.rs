//! The word that a command which goes on for ever is to end: Ctrl-C, or what a service manager sends.
//!
//! Not here: what the command does then. Invariant: once it is watched for, it no longer kills the process.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;

/// Tells whether it came.
pub(crate) struct Interrupt(Receiver<()>);

impl Interrupt {
    pub(crate) fn watch() -> Result<Self, Failure> {
        let failed = |error| Failure::file("the signal", Path::new("SIGINT"), error);
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (sender, receiver) = channel();
        let entered = runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        drop(entered);
        thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            });
            drop(sender);
        });
        Ok(Self(receiver))
    }

    /// Waits that long, or until it comes.
    pub(crate) fn comes_within(&self, time: Duration) -> bool {
        matches!(self.0.recv_timeout(time), Err(RecvTimeoutError::Disconnected))
    }
}
