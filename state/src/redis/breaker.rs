//! When to stop asking: a tenant whose servers are silent is answered at once, and one call now and then tries again.
//!
//! Not here: connections (`keeper`). Invariant: it opens within a second of the first unanswered call, and an answer
//! of any kind closes it.

use std::time::{Duration, Instant};

/// Unanswered calls in a row that open it.
const FAILURES_MAX: u32 = 5;
/// Two unanswered calls open it as well when nothing was heard for this long.
const SILENCE_MAX: Duration = Duration::from_millis(500);
/// How often one call tries while it is open.
const PROBE_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    silent_since: Option<Instant>,
    next_probe: Option<Instant>,
}

impl Breaker {
    /// Whether a call may be sent now.
    pub(super) fn admits(&mut self, now: Instant) -> bool {
        let Some(next_probe) = self.next_probe else { return true };
        if now < next_probe {
            return false;
        }
        self.next_probe = Some(now + PROBE_EVERY);
        true
    }

    pub(super) fn heard(&mut self) {
        *self = Self::default();
    }

    /// Counts an unanswered call; returns whether this one opened it.
    pub(super) fn unheard(&mut self, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        let since = *self.silent_since.get_or_insert(now);
        let is_silent = self.failures >= 2 && now.duration_since(since) >= SILENCE_MAX;
        if self.next_probe.is_some() || !(is_silent || self.failures >= FAILURES_MAX) {
            return false;
        }
        self.next_probe = Some(now + PROBE_EVERY);
        true
    }

    pub(super) fn is_open(&self) -> bool {
        self.next_probe.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_at_the_fifth_silence_and_lets_one_probe_through() {
        let mut breaker = Breaker::default();
        let start = Instant::now();
        assert!((0..4).all(|_| !breaker.unheard(start)));
        assert!(breaker.admits(start));
        assert!(breaker.unheard(start));
        assert!(!breaker.admits(start));
        let later = start + PROBE_EVERY;
        assert!(breaker.admits(later), "one probe");
        assert!(!breaker.admits(later), "and no second");
        breaker.heard();
        assert!(breaker.admits(later));
    }

    #[test]
    fn rare_calls_open_it_within_a_second() {
        let mut breaker = Breaker::default();
        let start = Instant::now();
        assert!(!breaker.unheard(start));
        assert!(breaker.unheard(start + SILENCE_MAX));
    }

    #[test]
    fn one_slow_call_now_and_then_does_not_open_it() {
        let mut breaker = Breaker::default();
        let start = Instant::now();
        for n in 0..20 {
            assert!(!breaker.unheard(start + SILENCE_MAX * n));
            breaker.heard();
        }
    }
}
