//! Rates of calls by GCRA: one theoretical arrival time for each window of each agent.
//!
//! Not journalled: a restart costs at most one more burst per window. Invariant: with `T` the window divided by
//! its calls, an admitted call leaves no more than `burst * T` of arrivals ahead of the clock (ITU-T I.371 annex A).

use std::collections::HashMap;

use aegis_domain::{AgentId, CountScope, HotRefusal, RateWindow, TenantId, Timestamp};

use crate::budget::ttl_ceil;
use crate::{Ask, RateLimit};

/// Theoretical arrival times in Unix nanoseconds, in the order of `RateWindow::ALL`.
pub(super) type Arrivals = [u64; 3];

#[derive(Debug)]
pub(super) struct Pace {
    by_tenant: HashMap<TenantId, HashMap<AgentId, Arrivals>>,
    agents: usize,
    agents_max: usize,
    /// Agents at rest are looked for when there are this many; doubling keeps the cost per call constant.
    sweep_at: usize,
}

const SWEEP_MIN: usize = 1_024;

impl Pace {
    pub(super) fn new(agents_max: usize) -> Self {
        Self { by_tenant: HashMap::new(), agents: 0, agents_max, sweep_at: SWEEP_MIN }
    }

    /// The arrivals after this call, or the refusal of the window with the longest wait.
    pub(super) fn check(&self, ask: &Ask) -> Result<Arrivals, HotRefusal> {
        let known = self.by_tenant.get(&ask.tenant).and_then(|agents| agents.get(&ask.agent));
        let mut arrivals = known.copied().unwrap_or_default();
        let mut longest: Option<(u64, RateWindow)> = None;
        for (arrival, window) in arrivals.iter_mut().zip(RateWindow::ALL) {
            let Some(limit) = ask.rates.agent.get(window) else { continue };
            match admit(*arrival, window, limit, ask.now) {
                Ok(next) => *arrival = next,
                Err(wait_ns) if longest.is_none_or(|(most, _)| wait_ns > most) => {
                    longest = Some((wait_ns, window));
                }
                Err(_) => {}
            }
        }
        match longest {
            Some((ns, window)) => {
                let of = CountScope::Agent;
                Err(HotRefusal::Rate { of, window, retry_after: ttl_ceil(ns) })
            }
            None => Ok(arrivals),
        }
    }

    /// Whether one more agent may be counted; looks for agents at rest when it seems full.
    pub(super) fn has_room(&mut self, now: Timestamp) -> bool {
        if self.agents >= self.sweep_at.min(self.agents_max) {
            self.sweep(now);
        }
        self.agents < self.agents_max
    }

    pub(super) fn take(&mut self, ask: &Ask, arrivals: Arrivals) {
        let agents = match self.by_tenant.get_mut(&ask.tenant) {
            Some(agents) => agents,
            None => self.by_tenant.entry(ask.tenant.clone()).or_default(),
        };
        if let Some(slot) = agents.get_mut(&ask.agent) {
            *slot = arrivals;
        } else {
            agents.insert(ask.agent.clone(), arrivals);
            self.agents += 1;
        }
    }

    /// An agent whose arrivals are all past is as good as one never seen.
    fn sweep(&mut self, now: Timestamp) {
        self.by_tenant.retain(|_, agents| {
            agents.retain(|_, arrivals| arrivals.iter().any(|at| *at > now.unix_ns()));
            !agents.is_empty()
        });
        self.agents = self.by_tenant.values().map(HashMap::len).sum();
        self.sweep_at = self.agents.saturating_mul(2).max(SWEEP_MIN);
    }
}

/// The next theoretical arrival time, or how many nanoseconds to wait.
fn admit(arrival: u64, window: RateWindow, limit: RateLimit, now: Timestamp) -> Result<u64, u64> {
    let now = now.unix_ns();
    let window_ns = window.length().ms().saturating_mul(1_000_000);
    // Rounded up: never more than `calls` in a window.
    let interval = window_ns.div_ceil(u64::from(limit.calls.get()));
    let tolerance = interval.saturating_mul(u64::from(limit.burst.get()));
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
