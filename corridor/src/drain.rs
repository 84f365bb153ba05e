//! Stopping without losing a call: readiness goes first, then idle connections, then the listeners.
//!
//! Not here: readiness (`door::ops`) and closing listeners (`door::listeners`). Invariant: until connections close, every
//! call that arrives is served; while a drain runs, each as the last on its connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, watch};

/// How far a stop has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    /// Not ready any more; calls are still served.
    Draining,
    /// New and idle connections are closed.
    Closing,
}

/// The stop switch and the count of calls under way.
#[derive(Debug)]
pub struct Drain {
    phase: watch::Sender<Phase>,
    /// Pingora's own form of the same news: HTTP/2 connections then say GOAWAY and finish their streams.
    shutdown: (watch::Sender<bool>, watch::Receiver<bool>),
    calls: AtomicUsize,
    idle: Notify,
}

/// Counts one call, or one settlement, for as long as it lives.
#[derive(Debug)]
pub struct Underway(Arc<Drain>);

impl Default for Drain {
    fn default() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Serving),
            shutdown: watch::channel(false),
            calls: AtomicUsize::new(0),
            idle: Notify::new(),
        }
    }
}

impl Drain {
    /// From now on nobody new should come.
    pub fn start(&self) {
        self.phase.send_replace(Phase::Draining);
        self.shutdown.0.send_replace(true);
    }

    /// Turns true when a drain starts.
    pub fn shutdown(&self) -> watch::Receiver<bool> {
        self.shutdown.1.clone()
    }

    /// From now on nobody new is served.
    pub fn close(&self) {
        self.phase.send_replace(Phase::Closing);
    }

    pub fn is_draining(&self) -> bool {
        *self.phase.borrow() >= Phase::Draining
    }

    pub fn is_closing(&self) -> bool {
        *self.phase.borrow() == Phase::Closing
    }

    /// Returns once idle connections should end.
    pub async fn closing(&self) {
        // The sender lives as long as `self`, so this cannot fail.
        drop(self.phase.subscribe().wait_for(|phase| *phase == Phase::Closing).await);
    }

    pub fn underway(self: &Arc<Self>) -> Underway {
        self.calls.fetch_add(1, Ordering::AcqRel);
        Underway(Arc::clone(self))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_drain_ends_when_the_last_call_does_and_not_before() {
        let drain = Arc::new(Drain::default());
        let (one, two) = (drain.underway(), drain.underway());
        drop(one);
        let settled = tokio::spawn({
            let drain = Arc::clone(&drain);
            async move { drain.settled().await }
        });
        tokio::task::yield_now().await;
        assert!(!settled.is_finished());
        drop(two);
        settled.await.unwrap();
    }

    #[tokio::test]
    async fn idle_connections_end_only_when_closing() {
        let drain = Drain::default();
        drain.start();
        assert!(drain.is_draining() && !drain.is_closing());
        drain.close();
        drain.closing().await;
    }
}
