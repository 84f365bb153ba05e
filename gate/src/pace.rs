//! How slow a peer may be: a time of grace, then a least rate, and an end to everything.
//!
//! Not here: clocks and timers; elapsed times are arguments. Invariant: a peer that sends nothing more is too slow at a
//! moment that is known beforehand, so that one timer a connection is enough.

use std::time::Duration;

/// The pace that one head or one body must keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    grace: Duration,
    bytes_per_s_min: u64,
    total_max: Duration,
}

impl Pace {
    /// All within this time, at whatever rate: for heads.
    pub fn within(total_max: Duration) -> Self {
        Self { grace: total_max, bytes_per_s_min: 0, total_max }
    }

    /// At any rate during `grace`; from then on no slower than `bytes_per_s_min` on average since the start, and never
    /// longer than `total_max`: for bodies, whose sizes differ. A rate of zero asks for all within `grace`.
    pub fn at_least(bytes_per_s_min: u64, grace: Duration, total_max: Duration) -> Self {
        Self { grace, bytes_per_s_min, total_max }
    }

    /// How long after its start a peer that has sent `bytes` is too slow, if nothing more comes.
    pub fn due(&self, bytes: u64) -> Duration {
        let earned_ms = bytes.saturating_mul(1_000).checked_div(self.bytes_per_s_min);
        let earned = earned_ms.map(Duration::from_millis).unwrap_or_default();
        self.grace.max(earned).min(self.total_max)
    }

    /// Whether a peer that has sent `bytes` in this time may go on.
    pub fn is_kept(&self, bytes: u64, elapsed: Duration) -> bool {
        elapsed < self.due(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_head_has_one_deadline_however_busy_it_is() {
        let pace = Pace::within(s(10));
        assert!(pace.is_kept(0, s(9)));
        assert!(pace.is_kept(1_000_000, Duration::from_millis(9_999)));
        assert!(!pace.is_kept(1_000_000, s(10)));
    }

    #[test]
    fn a_body_may_be_long_but_not_slow() {
        let pace = Pace::at_least(1_000, s(30), s(600));
        assert_eq!(pace.due(0), s(30), "a peer that sends nothing");
        assert_eq!(pace.due(29_999), s(30), "a trickle");
        assert_eq!(pace.due(60_000), s(60), "a minute's worth");
        assert!(pace.is_kept(60_000, s(59)));
        assert!(!pace.is_kept(60_000, s(60)));
        assert_eq!(pace.due(u64::MAX), s(600), "nobody goes on for ever");
    }

    #[test]
    fn more_bytes_never_bring_the_end_nearer() {
        let pace = Pace::at_least(1_024, s(5), s(60));
        let dues: Vec<_> = (0..200).map(|kib| pace.due(kib * 1_024)).collect();
        assert!(dues.is_sorted());
    }
}
