//! A budget's spend, corrected by hand: how much, by whom, when and why.
//!
//! Not here: the spend itself (`state`). An adjustment is on record before the hot state hears of it, and noted once more
//! when the hot state did it, so that one of them alone tells of a crash in between.
//! Invariant: money that was moved by hand can be explained for more than a year.

use aegis_domain::{BudgetKey, DecisionId, MicroUsd, Timestamp, Ttl};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::clients::Origin;
use crate::listed::Listed;
use crate::{Actor, budget, instant};

/// Thirteen months: a year's books and the month in which they are closed.
const KEPT: Ttl = Ttl::from_s(400 * 24 * 60 * 60);
const WHY_CHARS_MAX: usize = 500;

/// One correction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adjustment {
    /// By which the hot state knows one that is sent again; a ULID, so that adjustments sort by time.
    pub id: DecisionId,
    #[serde(with = "budget::key")]
    pub budget: BudgetKey,
    pub correction: Correction,
    pub purpose: Purpose,
    pub reason: Why,
    pub by: Actor,
    /// When it was ordered, which also tells the window it is meant for.
    #[serde(with = "instant")]
    pub at: Timestamp,
    /// When the hot state had done it.
    #[serde(with = "instant::maybe")]
    pub applied_at: Option<Timestamp>,
}

impl Adjustment {
    /// The same for the same command, since nothing is drawn at random here.
    pub(crate) fn id_of(origin: &Origin, at: Timestamp) -> DecisionId {
        let command = format!("{}\n{}", origin.client, origin.serial);
        let digest: [u8; 32] = Sha256::digest(command).into();
        let mut random = [0; 10];
        random.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        DecisionId::new(at.unix_ms(), random)
    }

    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.at.plus(KEPT) <= now
    }
}

impl Listed for Adjustment {
    type Name = DecisionId;

    fn name(&self) -> DecisionId {
        self.id
    }
}

/// How a spend is corrected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Correction {
    /// More was spent than is known.
    Add(MicroUsd),
    /// Less was; nothing falls below zero.
    Subtract(MicroUsd),
}

/// What a correction is for, which tells whoever compares counts with records how much there should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Something was spent or saved that no record of a call tells: a bill, a refund.
    Amend,
    /// The count had come to differ from the records.
    Reconcile,
}

impl Purpose {
    pub fn as_str(self) -> &'static str {
        match self {
            Purpose::Amend => "amend",
            Purpose::Reconcile => "reconcile",
        }
    }

    /// Reads what `as_str` writes.
    pub fn parse(text: &str) -> Option<Self> {
        [Purpose::Amend, Purpose::Reconcile].into_iter().find(|purpose| purpose.as_str() == text)
    }
}

/// Why a person did it, in their words: 1 to 500 characters, none of them a control character, the first no space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Why(Box<str>);

/// The text is no reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a reason is 1 to {WHY_CHARS_MAX} characters without control characters, and begins with no space"
)]
pub struct WhyError;

impl Why {
    pub fn parse(text: &str) -> Result<Self, WhyError> {
        let fits = (1..=WHY_CHARS_MAX).contains(&text.chars().count());
        if fits && !text.starts_with(char::is_whitespace) && !text.chars().any(char::is_control) {
            Ok(Self(text.into()))
        } else {
            Err(WhyError)
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Why {
    type Error = WhyError;
    fn try_from(text: String) -> Result<Self, WhyError> {
        Self::parse(&text)
    }
}

impl From<Why> for String {
    fn from(why: Why) -> String {
        why.0.into()
    }
}
