//! Stopping without losing a call: readiness goes first, then idle connections, then the listeners.
//!
//! Not here: closing listeners (Pingora does it when the signal watch returns).
//! Invariant: while a drain runs, new calls on open connections are still served, each as the last on its connection.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The drain switch and the count of calls under way.
#[derive(Debug, Default)]
pub struct Drain {
    is_draining: AtomicBool,
    started: Notify,
    calls: AtomicUsize,
    idle: Notify,
}

/// Counts one call, or one settlement, for as long as it lives.
#[derive(Debug)]
pub struct Underway(std::sync::Arc<Drain>);

impl Drain {
    /// From now on nobody new should come.
    pub fn start(&self) {
        self.is_draining.store(true, Ordering::Release);
        self.started.notify_waiters();
    }

    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }

    /// Returns once a drain has started.
    pub async fn started(&self) {
        let mut notified = std::pin::pin!(self.started.notified());
        notified.as_mut().enable();
        if !self.is_draining() {
            notified.await;
        }
    }

    pub fn underway(self: &std::sync::Arc<Self>) -> Underway {
        self.calls.fetch_add(1, Ordering::AcqRel);
        Underway(std::sync::Arc::clone(self))
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Acquire)
    }

    /// Returns once no call is under way.
    pub async fn settled(&self) {
        loop {
            let mut notified = std::pin::pin!(self.idle.notified());
            notified.as_mut().enable();
            if self.calls() == 0 {
                return;
            }
            notified.await;
        }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        if self.0.calls.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}
