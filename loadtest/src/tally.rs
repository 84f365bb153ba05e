//! What came of the calls: latencies, statuses, failures, added up over connections.
//!
//! Not here: clocks. Invariant: a call is counted once, as an answer with a latency or as a failure without one.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use hdrhistogram::errors::{AdditionError, CreationError};
use serde::Serialize;

const LATENCY_NS_MAX: u64 = 120_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// Latencies to three significant digits, from a microsecond to two minutes; longer ones count as two minutes.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    pub fn new() -> Result<Self, CreationError> {
        Histogram::new_with_bounds(1_000, LATENCY_NS_MAX, SIGNIFICANT_DIGITS).map(Self)
    }

    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(LATENCY_NS_MAX));
    }

    pub fn merge(&mut self, other: &Self) -> Result<(), AdditionError> {
        self.0.add(&other.0)
    }

    pub fn quantiles(&self) -> Quantiles {
        let at = |quantile| Duration::from_nanos(self.0.value_at_quantile(quantile)).as_secs_f64();
        Quantiles {
            count: self.0.len(),
            p50_ms: at(0.5) * 1e3,
            p90_ms: at(0.9) * 1e3,
            p99_ms: at(0.99) * 1e3,
            p999_ms: at(0.999) * 1e3,
            max_ms: at(1.0) * 1e3,
        }
    }
}

/// The latencies people ask for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    pub count: u64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

/// Why a call got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    #[error("not connected")]
    Connect,
    #[error("broken off")]
    BrokenOff,
    #[error("timed out")]
    TimedOut,
    #[error("never sent")]
    NeverSent,
}

/// One connection's calls, or those of many.
#[derive(Clone, Debug)]
pub struct Tally {
    /// From when the call was due (open loop) or sent (closed loop) to the last byte of its answer.
    pub latencies: Latencies,
    /// How late the generator itself was, where the connection had been free in time.
    pub lateness: Latencies,
    pub statuses: BTreeMap<u16, u64>,
    pub failures: BTreeMap<Failure, u64>,
}

impl Tally {
    pub fn new() -> Result<Self, CreationError> {
        Ok(Self {
            latencies: Latencies::new()?,
            lateness: Latencies::new()?,
            statuses: BTreeMap::new(),
            failures: BTreeMap::new(),
        })
    }

    pub fn record(&mut self, outcome: Result<u16, Failure>, latency: Duration) {
        match outcome {
            Ok(status) => {
                self.latencies.record(latency);
                count(&mut self.statuses, status, 1);
            }
            Err(failure) => count(&mut self.failures, failure, 1),
        }
    }

    pub fn merge(&mut self, other: &Self) -> Result<(), AdditionError> {
        self.latencies.merge(&other.latencies)?;
        self.lateness.merge(&other.lateness)?;
        for (status, calls) in &other.statuses {
            count(&mut self.statuses, *status, *calls);
        }
        for (failure, calls) in &other.failures {
            count(&mut self.failures, *failure, *calls);
        }
        Ok(())
    }

    /// Calls that got an answer.
    pub fn answered(&self) -> u64 {
        self.statuses.values().sum()
    }

    /// Calls that failed or were answered with anything but success.
    pub fn errors(&self) -> u64 {
        let refused = self.statuses.iter().filter(|(status, _)| !(200..300).contains(*status));
        refused.map(|(_, calls)| *calls).chain(self.failures.values().copied()).sum()
    }
}

fn count<K: Ord>(counts: &mut BTreeMap<K, u64>, key: K, calls: u64) {
    let entry = counts.entry(key).or_insert(0);
    *entry = entry.saturating_add(calls);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_connections_give_the_quantiles_of_all_calls() {
        let (mut one, mut two, mut all) =
            (Tally::new().unwrap(), Tally::new().unwrap(), Tally::new().unwrap());
        for us in 1..=1_000_u64 {
            let latency = Duration::from_micros(us);
            if us <= 900 { &mut one } else { &mut two }.record(Ok(200), latency);
            all.record(Ok(200), latency);
        }
        one.merge(&two).unwrap();
        let merged = one.latencies.quantiles();
        assert_eq!(merged, all.latencies.quantiles());
        assert_eq!(merged.count, 1_000);
        assert!((merged.p99_ms - 0.99).abs() < 0.001, "{merged:?}");
    }

    #[test]
    fn a_failure_is_an_error_without_a_latency() {
        let mut tally = Tally::new().unwrap();
        tally.record(Ok(201), Duration::from_millis(1));
        tally.record(Ok(503), Duration::from_millis(1));
        tally.record(Err(Failure::TimedOut), Duration::from_secs(10));
        assert_eq!((tally.answered(), tally.errors()), (2, 2));
        assert_eq!(tally.latencies.quantiles().count, 2);
    }

    #[test]
    fn a_latency_beyond_the_histogram_is_counted_at_its_end() {
        let mut latencies = Latencies::new().unwrap();
        latencies.record(Duration::from_secs(3_600));
        assert!(latencies.quantiles().max_ms >= 120_000.0);
    }
}
