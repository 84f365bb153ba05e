//! Rates of calls by GCRA: one theoretical arrival time for each window of each agent, tenant and tool.
//!
//! Not journalled: a restart costs at most one more burst per window. Invariant: with `T` the window divided by
//! its calls, an admitted call leaves no more than `burst * T` of arrivals ahead of the clock (ITU-T I.371 annex A).

use std::cmp::Reverse;
use std::collections::HashMap;

use aegis_domain::{CountScope, HotRefusal, RateLeft, RateWindow, TenantId, Timestamp};

use aegis_state::ttl_ceil;
use aegis_state::{Ask, InFlightName, RateLimit};

/// Theoretical arrival times in Unix nanoseconds, in the order of `RateWindow::ALL`.
type Arrivals = [u64; 3];

/// The arrivals after a call, for each scope that limits it.
pub(super) type Paced = Vec<(InFlightName, Arrivals)>;

#[derive(Debug)]
pub(super) struct Pace {
    by_tenant: HashMap<TenantId, HashMap<InFlightName, Arrivals>>,
    count: usize,
    count_max: usize,
    /// Those at rest are looked for when there are this many; doubling keeps the cost per call constant.
    sweep_at: usize,
}

const SWEEP_MIN: usize = 1_024;

impl Pace {
    pub(super) fn new(count_max: usize) -> Self {
        Self { by_tenant: HashMap::new(), count: 0, count_max, sweep_at: SWEEP_MIN }
    }

    /// What this call makes of the arrivals and leaves of the nearest limit, or the refusal with the longest wait.
    pub(super) fn check(&self, ask: &Ask) -> Result<(Paced, Option<RateLeft>), HotRefusal> {
        let known = self.by_tenant.get(&ask.tenant);
        let mut paced = Paced::new();
        let mut nearest: Option<RateLeft> = None;
        let mut longest: Option<(u64, CountScope, RateWindow)> = None;
        for of in CountScope::ALL {
            let rates = ask.rates.get(of);
            if rates.is_none() {
                continue;
            }
            let name = InFlightName::of(of, &ask.agent, &ask.tool);
            let mut arrivals = known.and_then(|k| k.get(&name)).copied().unwrap_or_default();
            for (arrival, window) in arrivals.iter_mut().zip(RateWindow::ALL) {
                let Some(limit) = rates.get(window) else { continue };
                match admit(*arrival, window, limit, ask.now) {
                    Ok(next) => {
                        *arrival = next;
                        let left = left(next, (of, window), limit, ask.now);
                        nearest = nearest.into_iter().chain([left]).min_by_key(nearness);
                    }
                    Err(wait_ns) if longest.is_none_or(|(most, ..)| wait_ns > most) => {
                        longest = Some((wait_ns, of, window));
                    }
                    Err(_) => {}
                }
            }
            paced.push((name, arrivals));
        }
        match longest {
            Some((ns, of, window)) => {
                Err(HotRefusal::Rate { of, window, retry_after: ttl_ceil(ns) })
            }
            None => Ok((paced, nearest)),
        }
    }

    /// Whether one more call may be counted; looks for scopes at rest when it seems full.
    pub(super) fn has_room(&mut self, now: Timestamp) -> bool {
        let most_more = CountScope::ALL.len();
        let then = self.count.saturating_add(most_more);
        if then > self.sweep_at.min(self.count_max) {
            self.sweep(now);
        }
        self.count.saturating_add(most_more) <= self.count_max
    }

    pub(super) fn take(&mut self, tenant: &TenantId, paced: Paced) {
        for (name, arrivals) in paced {
            let names = match self.by_tenant.get_mut(tenant) {
                Some(names) => names,
                None => self.by_tenant.entry(tenant.clone()).or_default(),
            };
            self.count += usize::from(names.insert(name, arrivals).is_none());
        }
    }

    /// A scope whose arrivals are all past is as good as one never seen.
    fn sweep(&mut self, now: Timestamp) {
        self.by_tenant.retain(|_, names| {
            names.retain(|_, arrivals| arrivals.iter().any(|at| *at > now.unix_ns()));
            !names.is_empty()
        });
        self.count = self.by_tenant.values().map(HashMap::len).sum();
        self.sweep_at = self.count.saturating_mul(2).max(SWEEP_MIN);
    }
}

/// The fewest calls left, and of as many the longest until they are back.
fn nearness(rate: &RateLeft) -> (u32, Reverse<u64>) {
    (rate.left, Reverse(rate.resets_in.ms()))
}

/// The emission interval, rounded up so that never more than `calls` fit a window, and what may be ahead of the clock.
fn pace_ns(window: RateWindow, limit: RateLimit) -> (u64, u64) {
    let window_ns = window.length().ms().saturating_mul(1_000_000);
    let interval = window_ns.div_ceil(u64::from(limit.calls.get()));
    (interval, interval.saturating_mul(u64::from(limit.burst.get())))
}

/// What is left of a limit after a call that moved its arrival time to `next`.
fn left(
    next: u64,
    (of, window): (CountScope, RateWindow),
    limit: RateLimit,
    now: Timestamp,
) -> RateLeft {
    let (interval, tolerance) = pace_ns(window, limit);
    let ahead = next.saturating_sub(now.unix_ns());
    let left = tolerance.saturating_sub(ahead).checked_div(interval).unwrap_or(0);
    RateLeft {
        of,
        window,
        limit: limit.calls.get(),
        left: u32::try_from(left).unwrap_or(u32::MAX),
        resets_in: ttl_ceil(ahead),
    }
}

/// The next theoretical arrival time, or how many nanoseconds to wait.
fn admit(arrival: u64, window: RateWindow, limit: RateLimit, now: Timestamp) -> Result<u64, u64> {
    let now = now.unix_ns();
    let (interval, tolerance) = pace_ns(window, limit);
    let next = arrival.max(now).saturating_add(interval);
    match next.saturating_sub(now).checked_sub(tolerance) {
        None | Some(0) => Ok(next),
        Some(wait) => Err(wait),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The reference counts: a call conforms if no stretch of time that ends with it holds more than
        /// `burst` calls plus one for each whole interval of the stretch.
        #[test]
        fn gcra_admits_exactly_what_counting_every_stretch_admits(
            calls in 1u32..50, burst in 1u32..8,
            gaps in proptest::collection::vec(0u64..60_000_000, 1..80),
        ) {
            let limit = RateLimit {
                calls: NonZeroU32::new(calls).unwrap(),
                burst: NonZeroU32::new(burst).unwrap(),
            };
            let interval = 1_000_000_000u64.div_ceil(u64::from(calls));
            let (mut arrival, mut now, mut admitted) = (0, 1_000_000_000_000, Vec::<u64>::new());
            for gap in gaps {
                now += gap;
                let conforms = |at: u64| (0..=admitted.len()).all(|from| {
                    let since = admitted.get(from).map_or(0, |first| at - first);
                    let count = (admitted.len() - from + 1) as u64;
                    count * interval <= u64::from(burst) * interval + since
                });
                let answer = admit(arrival, RateWindow::Second, limit, Timestamp::from_unix_ns(now));
                prop_assert_eq!(answer.is_ok(), conforms(now));
                match answer {
                    Ok(next) => { arrival = next; admitted.push(now); }
                    // Waiting exactly that long is enough, a nanosecond less is not.
                    Err(wait) => {
                        prop_assert!(conforms(now + wait));
                        prop_assert!(!conforms(now + wait - 1));
                    }
                }
            }
        }
    }

    #[test]
    fn a_clock_that_steps_back_delays_but_never_admits_more() {
        let limit = RateLimit { calls: NonZeroU32::MIN, burst: NonZeroU32::MIN };
        let at = |s| Timestamp::from_unix_s(s);
        let arrival = admit(0, RateWindow::Second, limit, at(100)).unwrap();
        assert_eq!(admit(arrival, RateWindow::Second, limit, at(98)), Err(3_000_000_000));
        assert!(admit(arrival, RateWindow::Second, limit, at(101)).is_ok());
    }
}
