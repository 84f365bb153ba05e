//! The middle of several rounds, number by number.
//!
//! Pure. Not here: rounds. Invariant: one odd round of three changes nothing.

use crate::load::Summary;
use crate::tally::Quantiles;

pub(crate) fn summary(rounds: &[Summary]) -> Summary {
    let of = |field: fn(&Summary) -> f64| middle(rounds.iter().map(field));
    let latency: Vec<_> = rounds.iter().map(|round| round.latency).collect();
    let late: Vec<_> = rounds.iter().map(|round| round.generator_late).collect();
    Summary {
        calls_per_s: of(|round| round.calls_per_s),
        cpu_us_per_call: Some(middle(rounds.iter().filter_map(|round| round.cpu_us_per_call))),
        errors: rounds.iter().map(|round| round.errors).sum(),
        latency: quantiles(&latency),
        generator_late: quantiles(&late),
    }
}

/// Counts are added, for all rounds are behind the number; the rest is the median.
fn quantiles(rounds: &[Quantiles]) -> Quantiles {
    let of = |field: fn(&Quantiles) -> f64| middle(rounds.iter().map(field));
    Quantiles {
        count: rounds.iter().map(|round| round.count).sum(),
        p50_ms: of(|round| round.p50_ms),
        p90_ms: of(|round| round.p90_ms),
        p99_ms: of(|round| round.p99_ms),
        p999_ms: of(|round| round.p999_ms),
        max_ms: of(|round| round.max_ms),
    }
}

/// The median; of an even number, the mean of the middle two; of none, not a number.
fn middle(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    let at = |place: usize| sorted.get(place).copied().unwrap_or(f64::NAN);
    if sorted.len().is_multiple_of(2) {
        (at(half.wrapping_sub(1)) + at(half)) / 2.0
    } else {
        at(half)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_ignores_one_odd_round() {
        assert_eq!(middle([3.0, 1_000.0, 2.0].into_iter()), 3.0);
        assert_eq!(middle([4.0, 2.0].into_iter()), 3.0);
        assert!(middle(std::iter::empty()).is_nan());
    }
}
