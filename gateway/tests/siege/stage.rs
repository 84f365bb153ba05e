//! What all who take part share: one clock, what agents were answered last, which gateway is being rolled, and when it is over.
//!
//! Not here: who takes part (`agents`, `people`), and what happens (`storms`). Invariant: the clock never goes back; nobody calls a
//! gateway that was announced to go.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The stage, from before the first call to after the last.
pub(crate) struct Stage {
    begun: Instant,
    is_over: AtomicBool,
    /// The gateway that is away, announced before it goes.
    away: Mutex<Option<usize>>,
    /// When each agent sent the last call that was answered, by its gateway and its number there.
    answered: Mutex<BTreeMap<(usize, usize), u64>>,
}

/// When something was asked and when its answer was heard.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Instants {
    pub(crate) called: u64,
    pub(crate) heard: u64,
}

impl Stage {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            is_over: AtomicBool::new(false),
            away: Mutex::default(),
            answered: Mutex::default(),
        })
    }

    /// Nanoseconds since it was set up.
    pub(crate) fn instant(&self) -> u64 {
        self.elapsed().as_nanos().try_into().unwrap()
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    /// Turns agents away from a gateway, or from none.
    pub(crate) fn announce(&self, away: Option<usize>) {
        *self.away.lock().unwrap() = away;
    }

    pub(crate) fn is_away(&self, gateway: usize) -> bool {
        *self.away.lock().unwrap() == Some(gateway)
    }

    pub(crate) fn was_answered(&self, agent: (usize, usize), sent: u64) {
        self.answered.lock().unwrap().insert(agent, sent);
    }

    /// The agents that have been answered no call yet which they sent after this, but for those whose gateway is away.
    pub(crate) fn unanswered_since(&self, instant: u64) -> Vec<(usize, usize)> {
        let answered = self.answered.lock().unwrap();
        let unanswered = answered.iter().filter(|(_, sent)| **sent < instant);
        unanswered.map(|(agent, _)| *agent).filter(|(gateway, _)| !self.is_away(*gateway)).collect()
    }
}
