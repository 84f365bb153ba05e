//! The word that a command which goes on for ever is to end: Ctrl-C, or what a service manager sends.
//!
//! Not here: what the command does then. Invariant: once it is watched for, it no longer kills the process.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// Tells whether it came.
#[derive(Debug)]
pub struct Interrupt(Receiver<()>);

impl Interrupt {
    pub fn watch() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (sender, receiver) = channel();
        let entered = runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
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
    pub fn comes_within(&self, time: Duration) -> bool {
        matches!(self.0.recv_timeout(time), Err(RecvTimeoutError::Disconnected))
    }
}
