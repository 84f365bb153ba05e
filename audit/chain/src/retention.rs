//! How long a store must keep what it is given, and what one that was asked said of it.
//!
//! Pure: stores are asked by `audit/bucket`. Not here: verdicts (`audit/verify`). Invariant: an object counts as kept only where its
//! store said so of exactly the bytes that are read; silence is never a lock.

use std::fmt;

const DAY_S: u64 = 24 * 60 * 60;
/// A hundred years, as in a gateway's configuration.
const DAYS_MAX: u32 = 36_500;

/// Who may shorten a retention: nobody, or whoever has the right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockMode {
    Governance,
    Compliance,
}

impl LockMode {
    /// Reads a store's word for it.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "COMPLIANCE" => Some(Self::Compliance),
            "GOVERNANCE" => Some(Self::Governance),
            _ => None,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Governance => "GOVERNANCE",
            Self::Compliance => "COMPLIANCE",
        }
    }
}

/// How long a store must keep an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    pub mode: LockMode,
    pub days: u32,
}

/// Why a text is no retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected MODE:DAYSd, such as compliance:365d or governance:30d, of at most {DAYS_MAX} days"
)]
pub struct RetentionError;

impl Retention {
    /// Reads `compliance:365d` or `governance:30d`.
    pub fn parse(text: &str) -> Result<Self, RetentionError> {
        let (mode, days) = text.split_once(':').ok_or(RetentionError)?;
        let mode = match mode {
            "compliance" => LockMode::Compliance,
            "governance" => LockMode::Governance,
            _ => return Err(RetentionError),
        };
        let days = days.strip_suffix('d').filter(|days| days.bytes().all(|it| it.is_ascii_digit()));
        let days = days.and_then(|days| days.parse().ok()).ok_or(RetentionError)?;
        if (1..=DAYS_MAX).contains(&days) { Ok(Self { mode, days }) } else { Err(RetentionError) }
    }

    /// Whether a lock is as much as this, of an object that was written then. Stores count the days from clocks of their own, and
    /// some round them: a day less is as good, and of a short retention half of it.
    pub fn is_met(self, (mode, until_s): (LockMode, u64), written_s: u64) -> bool {
        let asked_s = u64::from(self.days).saturating_mul(DAY_S);
        let least_s = asked_s.saturating_sub(DAY_S).max(asked_s / 2);
        mode >= self.mode && until_s >= written_s.saturating_add(least_s)
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {} days", self.mode.as_str(), self.days)
    }
}

/// What a store said of the objects that a log is read from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// How many it was asked about.
    pub objects: u64,
    /// Those that are kept for less, with what keeps them.
    pub weaker: Vec<Said>,
    /// Those of which it did not say, with the reason.
    pub unknown: Vec<Said>,
    /// The first instant at which one of them is kept no longer, in seconds since 1970.
    pub earliest_s: Option<u64>,
}

/// What was said of an object, or of all of them where a rule of the whole bucket's holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The object's key, or a word for all.
    pub of: String,
    pub objects: u64,
    pub what: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retention_is_typed_in_one_way() {
        let year = Retention { mode: LockMode::Compliance, days: 365 };
        assert_eq!(Retention::parse("compliance:365d"), Ok(year));
        let month = Retention { mode: LockMode::Governance, days: 30 };
        assert_eq!(Retention::parse("governance:30d"), Ok(month));
        for wrong in [
            "",
            "compliance",
            "compliance:",
            "compliance:d",
            "compliance:365",
            "COMPLIANCE:365d",
            "strict:1d",
            "compliance:0d",
            "compliance:+1d",
            "compliance:36501d",
            "compliance:1y",
            "compliance:99999999999d",
            "365d",
            "compliance:1d ",
        ] {
            assert_eq!(Retention::parse(wrong), Err(RetentionError), "{wrong}");
        }
    }
}
