//! A key the region signs tokens with, by its public part, and where it stands in its life.
//!
//! Not here: the private part (`control`). Invariant: the standing follows from the instants alone, so every voter and
//! every gateway sees a key change at the same instant, without a command for it.

use aegis_domain::{KeyId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::listed::Listed;
use crate::{PublicJwk, instant};

/// One key of the region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenKey {
    pub key: PublicJwk,
    /// The control node whose vault holds the private half. Each has keys of its own, and one takes over from another only
    /// within a vault.
    pub signer: u64,
    /// From here on it signs; it is published from the start, so that verifiers know it by then.
    #[serde(with = "instant")]
    pub signs_from: Timestamp,
    /// When the next key takes over.
    #[serde(with = "instant::maybe")]
    pub signs_until: Option<Timestamp>,
    /// When what it signed stops counting.
    #[serde(with = "instant::maybe")]
    pub counts_until: Option<Timestamp>,
    /// The serial of the event that last changed it.
    pub changed: u64,
}

/// Where a key stands at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyStanding {
    /// Published, not signing yet.
    Next,
    Active,
    /// What it signed still counts.
    Retiring,
    Retired,
}

impl KeyStanding {
    pub fn as_str(self) -> &'static str {
        match self {
            KeyStanding::Next => "next",
            KeyStanding::Active => "active",
            KeyStanding::Retiring => "retiring",
            KeyStanding::Retired => "retired",
        }
    }
}

impl TokenKey {
    pub fn id(&self) -> &KeyId {
        self.key.id()
    }

    pub fn standing(&self, now: Timestamp) -> KeyStanding {
        if self.counts_until.is_some_and(|until| until <= now) {
            KeyStanding::Retired
        } else if self.signs_until.is_some_and(|until| until <= now) {
            KeyStanding::Retiring
        } else if now < self.signs_from {
            KeyStanding::Next
        } else {
            KeyStanding::Active
        }
    }
}

impl Listed for TokenKey {
    type Name = KeyId;

    fn name(&self) -> KeyId {
        self.id().clone()
    }
}
