//! When calls are due: at a constant rate, dealt to the connections in turn.
//!
//! Pure: the clock is the caller's. Invariant: a due time depends on the call's number only, never on how earlier calls
//! went, so a slow answer cannot thin out the calls behind it (coordinated omission).

use std::num::NonZeroU32;
use std::time::Duration;

const NS_PER_S: u128 = 1_000_000_000;

/// A constant arrival rate from one instant on, for a bounded time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    calls_per_s: NonZeroU32,
    calls: u64,
}

impl Schedule {
    /// As many calls as are due within `length`.
    pub fn new(calls_per_s: NonZeroU32, length: Duration) -> Self {
        let calls = length.as_nanos().saturating_mul(calls_per_s.get().into()).div_ceil(NS_PER_S);
        Self { calls_per_s, calls: u64::try_from(calls).unwrap_or(u64::MAX) }
    }

    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// When call `number` is due after the start.
    pub fn due(&self, number: u64) -> Duration {
        let ns = u128::from(number).saturating_mul(NS_PER_S);
        let ns = ns.checked_div(self.calls_per_s.get().into()).unwrap_or(ns);
        Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
    }

    /// The calls of connection `lane` of `lanes`: every `lanes`-th, beginning with its own number.
    pub fn lane(&self, lane: usize, lanes: usize) -> impl Iterator<Item = (u64, Duration)> {
        let schedule = *self;
        let first = u64::try_from(lane).unwrap_or(u64::MAX);
        (first..self.calls).step_by(lanes.max(1)).map(move |number| (number, schedule.due(number)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(rate: u32, length: Duration) -> Schedule {
        Schedule::new(NonZeroU32::new(rate).unwrap(), length)
    }

    #[test]
    fn due_times_do_not_drift() {
        // A third of a second is no whole number of nanoseconds; adding it up would lose one in three calls.
        let thirds = schedule(3, Duration::from_secs(3_600));
        assert_eq!(thirds.due(3 * 3_600), Duration::from_secs(3_600));
        assert_eq!(thirds.calls(), 3 * 3_600);
    }

    #[test]
    fn lanes_share_the_schedule_without_gap_or_overlap() {
        let whole = schedule(1_000, Duration::from_millis(101));
        let mut dealt: Vec<_> = (0..7).flat_map(|lane| whole.lane(lane, 7)).collect();
        dealt.sort_unstable();
        let all: Vec<_> = (0..101).map(|number| (number, whole.due(number))).collect();
        assert_eq!(dealt, all);
    }
}
