//! Money as whole micro-dollars, so that no sum depends on rounding.
//!
//! Not here: prices and estimates (`decide::price`). Invariant: arithmetic is checked or saturates upwards;
//! nothing wraps and nothing is a float.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text is not an amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    #[error("an amount is digits with at most six decimals, such as 0.000150")]
    Malformed,
    #[error("an amount may be at most {max} micro-dollars")]
    TooLarge { max: u64 },
}

/// An amount in millionths of a US dollar, at most 2^53 - 1 (about nine billion dollars).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MicroUsd(u64);

/// How far an estimate of a call's cost can be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EstimateKind {
    /// The call cannot cost more.
    #[default]
    Ceiling,
    /// Nothing bounds the call's cost, so this is a guess.
    Soft,
}

impl MicroUsd {
    pub const ZERO: MicroUsd = MicroUsd(0);
    /// 2^53 - 1: exact in JSON, Lua and Rego numbers alike.
    pub const MAX: MicroUsd = MicroUsd(9_007_199_254_740_991);

    /// Takes a count of micro-dollars, capped at `MAX`.
    pub const fn new(micro_usd: u64) -> Self {
        if micro_usd > Self::MAX.0 { Self::MAX } else { Self(micro_usd) }
    }

    /// Reads dollars written as a decimal, such as `12`, `0.5` or `0.000003`.
    pub fn parse_usd(text: &str) -> Result<Self, MoneyError> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || decimals.len() > 6 {
            return Err(MoneyError::Malformed);
        }
        let padded = format!("{decimals:0<6}");
        let too_large = MoneyError::TooLarge { max: Self::MAX.0 };
        let whole: u64 = whole.parse().map_err(|_| too_large.clone())?;
        let decimals: u64 = padded.parse().map_err(|_| MoneyError::Malformed)?;
        whole
            .checked_mul(1_000_000)
            .and_then(|micro| micro.checked_add(decimals))
            .filter(|micro| *micro <= Self::MAX.0)
            .map(Self)
            .ok_or(too_large)
    }

    pub const fn micro_usd(self) -> u64 {
        self.0
    }

    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).filter(|sum| *sum <= Self::MAX.0).map(Self)
    }

    /// Adds, stopping at `MAX`: too much spent is safe, too little is not.
    pub fn saturating_add(self, other: Self) -> Self {
        Self::new(self.0.saturating_add(other.0))
    }

    /// Subtracts, stopping at zero.
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// `count` times this amount, stopping at `MAX`.
    pub fn saturating_times(self, count: u64) -> Self {
        Self::new(self.0.saturating_mul(count))
    }

    /// The price of `units` when this amount buys `per` of them, rounded up; `None` when `per` is zero.
    pub fn for_units(self, units: u64, per: u64) -> Option<Self> {
        let total = u128::from(self.0).checked_mul(u128::from(units))?;
        let micro_usd =
            total.checked_add(u128::from(per).checked_sub(1)?)?.checked_div(u128::from(per))?;
        Some(u64::try_from(micro_usd).map_or(Self::MAX, Self::new))
    }
}

impl fmt::Display for MicroUsd {
    /// Dollars with six decimals: `0.000150`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, decimals) = (self.0.checked_div(1_000_000), self.0.checked_rem(1_000_000));
        write!(f, "{}.{:06}", whole.unwrap_or(0), decimals.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dollars_are_read_exactly_or_refused() {
        assert_eq!(MicroUsd::parse_usd("0.000003"), Ok(MicroUsd::new(3)));
        assert_eq!(MicroUsd::parse_usd("12"), Ok(MicroUsd::new(12_000_000)));
        for bad in ["", ".", "1.", ".5", "-1", "1e3", "0.0000001", "1,0"] {
            assert_eq!(MicroUsd::parse_usd(bad), Err(MoneyError::Malformed), "{bad}");
        }
        assert!(matches!(MicroUsd::parse_usd("99999999999"), Err(MoneyError::TooLarge { .. })));
    }

    #[test]
    fn a_price_per_million_tokens_is_rounded_up() {
        let per_million = MicroUsd::new(150_000);
        assert_eq!(per_million.for_units(1, 1_000_000), Some(MicroUsd::new(1)));
        assert_eq!(per_million.for_units(20, 1_000_000), Some(MicroUsd::new(3)));
        assert_eq!(per_million.for_units(20, 0), None);
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(micro in 0..=MicroUsd::MAX.micro_usd()) {
            let amount = MicroUsd::new(micro);
            prop_assert_eq!(MicroUsd::parse_usd(&amount.to_string()), Ok(amount));
        }
    }
}
