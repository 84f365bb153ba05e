//! Numbers between two ends, minus single ones; exact, because a bound beyond 2^53 must not be rounded away.
//!
//! Not here: which numbers a parameter declares (`values`). Invariant: an interval that says it is empty holds no
//! number that a call could bring.

use std::cmp::Ordering;

use serde_json::Number;

use aegis_policy_language::Order;

/// A number as it stands in a policy: an integer, or a decimal below 2^53 (`Document` lets in no others).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Exact {
    Integer(i128),
    Decimal(f64),
}

impl Exact {
    /// `None` for what is no number of a `Document`.
    pub(super) fn of(number: &Number) -> Option<Self> {
        if let Some(integer) = number.as_i128() {
            return Some(Exact::Integer(integer));
        }
        let value = number.as_f64().filter(|value| value.is_finite())?;
        let whole: Option<i128> = format!("{:.0}", value.floor()).parse().ok();
        if value.fract() == 0.0 { whole.map(Exact::Integer) } else { Some(Exact::Decimal(value)) }
    }

    /// The largest integer that is not above it.
    fn floor(self) -> i128 {
        match self {
            Exact::Integer(value) => value,
            // Below 2^53, so the text of the floor is exact; saturates for what no policy can hold.
            Exact::Decimal(value) => format!("{:.0}", value.floor())
                .parse()
                .unwrap_or(if value < 0.0 { i128::MIN } else { i128::MAX }),
        }
    }

    pub(super) fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Exact::Integer(a), Exact::Integer(b)) => a.cmp(&b),
            (Exact::Decimal(a), Exact::Decimal(b)) => a.total_cmp(&b),
            // A decimal lies strictly between its floor and the next integer.
            (Exact::Decimal(_), Exact::Integer(b)) => self.floor().cmp(&b).then(Ordering::Greater),
            (Exact::Integer(_), Exact::Decimal(_)) => other.compare(self).reverse(),
        }
    }
}

/// An end of an interval and whether it belongs to it.
type End = (Exact, bool);

#[derive(Clone, Debug)]
pub(super) struct Interval {
    low: Option<End>,
    high: Option<End>,
    holes: Vec<Exact>,
    /// Only integers are in it.
    whole: bool,
}

impl Interval {
    pub(super) fn all(whole: bool) -> Self {
        Self { low: None, high: None, holes: Vec::new(), whole }
    }

    /// Keeps what stands in this order to the bound.
    pub(super) fn keep(&mut self, order: Order, bound: Exact) {
        let tighter = |old: Option<End>, new: End, side: Ordering| match old {
            Some(old) => match old.0.compare(new.0) {
                Ordering::Equal => (new.0, old.1 && new.1),
                found if found == side => old,
                Ordering::Less | Ordering::Greater => new,
            },
            None => new,
        };
        match order {
            Order::Gt | Order::Gte => {
                let end = (bound, order == Order::Gte);
                self.low = Some(tighter(self.low, end, Ordering::Greater));
            }
            Order::Lt | Order::Lte => {
                let end = (bound, order == Order::Lte);
                self.high = Some(tighter(self.high, end, Ordering::Less));
            }
        }
    }

    pub(super) fn keep_only(&mut self, value: Exact) {
        self.keep(Order::Gte, value);
        self.keep(Order::Lte, value);
    }

    pub(super) fn drop_point(&mut self, value: Exact) {
        self.holes.push(value);
    }

    pub(super) fn is_empty(&self) -> bool {
        let (Some(low), Some(high)) = (self.low, self.high) else { return false };
        if self.whole {
            return self.is_empty_of_integers(low, high);
        }
        match low.0.compare(high.0) {
            Ordering::Less => false,
            Ordering::Equal => {
                let point = low.1 && high.1;
                !point || self.holes.iter().any(|hole| hole.compare(low.0) == Ordering::Equal)
            }
            Ordering::Greater => true,
        }
    }

    fn is_empty_of_integers(&self, low: End, high: End) -> bool {
        let first = match low {
            (Exact::Integer(value), true) => value,
            (end, _) => end.floor().saturating_add(1),
        };
        let last = match high {
            (Exact::Integer(value), false) => value.saturating_sub(1),
            (end, _) => end.floor(),
        };
        let is_hole = |value: i128| self.holes.contains(&Exact::Integer(value));
        // More integers than holes: one of the first that many is none.
        let looked_at = i128::try_from(self.holes.len()).unwrap_or(i128::MAX);
        first > last || (first..=last.min(first.saturating_add(looked_at))).all(is_hole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(text: &str) -> Exact {
        Exact::of(&serde_json::from_str(text).unwrap()).unwrap()
    }

    fn between(whole: bool, low: (Order, &str), high: (Order, &str)) -> Interval {
        let mut interval = Interval::all(whole);
        interval.keep(low.0, exact(low.1));
        interval.keep(high.0, exact(high.1));
        interval
    }

    #[test]
    fn integers_beyond_two_to_the_53_stay_apart() {
        let (low, high) = ("9007199254740992", "9007199254740993");
        assert!(between(true, (Order::Gt, low), (Order::Lt, high)).is_empty());
        assert!(!between(true, (Order::Gt, low), (Order::Lte, high)).is_empty());
        assert!(between(false, (Order::Gte, high), (Order::Lte, low)).is_empty());
        assert!(
            !between(
                true,
                (Order::Gte, "18446744073709551615"),
                (Order::Lte, "18446744073709551615")
            )
            .is_empty()
        );
    }

    #[test]
    fn between_two_integers_there_are_decimals_but_no_integers() {
        assert!(between(true, (Order::Gt, "5"), (Order::Lt, "6")).is_empty());
        assert!(!between(false, (Order::Gt, "5"), (Order::Lt, "6")).is_empty());
        assert!(between(true, (Order::Gt, "5.2"), (Order::Lt, "5.9")).is_empty());
        assert!(!between(true, (Order::Gt, "-0.5"), (Order::Lt, "0.5")).is_empty());
        assert!(between(false, (Order::Gte, "0.5"), (Order::Lt, "0.5")).is_empty());
    }

    #[test]
    fn holes_empty_what_they_cover() {
        let mut three = between(true, (Order::Gte, "1"), (Order::Lte, "3"));
        for hole in ["3", "1"] {
            three.drop_point(exact(hole));
            assert!(!three.is_empty());
        }
        three.drop_point(exact("2.0"));
        assert!(three.is_empty());
        let mut point = Interval::all(false);
        point.keep_only(exact("0.5"));
        assert!(!point.is_empty());
        point.drop_point(exact("0.5"));
        assert!(point.is_empty());
    }
}
