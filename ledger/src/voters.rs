//! The voters: which ids were given out, and what each can read.
//!
//! Not here: who votes right now (Raft's membership). Invariant: an id is given out once, because a voter that comes back
//! empty under its old id could vote twice in a term.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::wire::pairs;
use crate::{FEATURE_LEVEL, Outcome};

const VOTERS_MAX: usize = 1_000;
const ADDRESS_BYTES_MAX: usize = 256;

/// What can be done about voters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum VoterAct {
    /// Gives out an id, for a process that will be reached at an address.
    Admit { address: Box<str> },
    /// A voter is reached elsewhere from now on.
    Move { id: u64, address: Box<str> },
    /// A voter says what it can read, each time it starts.
    Reads { id: u64, level: u32 },
    /// It is gone for good.
    Dismiss { id: u64 },
    /// From here on commands of this level may be proposed.
    Raise { level: u32 },
}

/// Why it was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum VoterRefusal {
    #[error("no voter of that id was admitted, or it was dismissed")]
    Unknown,
    #[error("an address is 1 to 256 bytes of printable ASCII without space")]
    Address,
    #[error("a voter cannot read that level yet")]
    NotAllRead,
    #[error("the level does not go back")]
    Lower,
    #[error("no more voters can be admitted")]
    Full,
}

/// One voter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Voter {
    pub address: Box<str>,
    pub level: u32,
}

/// All that were admitted and not dismissed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Voters {
    /// The id that was given out last.
    last: u64,
    level: u32,
    #[serde(with = "pairs")]
    present: BTreeMap<u64, Voter>,
}

impl Default for Voters {
    fn default() -> Self {
        Self { last: 0, level: FEATURE_LEVEL, present: BTreeMap::new() }
    }
}

impl Voters {
    /// The level at which commands may be proposed.
    pub fn level(&self) -> u32 {
        self.level
    }

    pub fn get(&self, id: u64) -> Option<&Voter> {
        self.present.get(&id)
    }

    /// Whether it was admitted once and is no longer wanted. One that is not known yet may still be admitted.
    pub fn was_dismissed(&self, id: u64) -> bool {
        id <= self.last && !self.present.contains_key(&id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (u64, &Voter)> {
        self.present.iter().map(|(id, voter)| (*id, voter))
    }

    pub(crate) fn act(&mut self, act: &VoterAct) -> Result<Outcome, VoterRefusal> {
        match act {
            VoterAct::Admit { address } => self.admit(address),
            VoterAct::Move { id, address } => {
                check(address)?;
                let voter = self.present.get_mut(id).ok_or(VoterRefusal::Unknown)?;
                voter.address.clone_from(address);
                Ok(Outcome::Done)
            }
            VoterAct::Reads { id, level } => {
                let voter = self.present.get_mut(id).ok_or(VoterRefusal::Unknown)?;
                voter.level = *level;
                Ok(Outcome::Done)
            }
            VoterAct::Dismiss { id } => {
                self.present.remove(id).ok_or(VoterRefusal::Unknown)?;
                Ok(Outcome::Done)
            }
            VoterAct::Raise { level } => self.raise(*level),
        }
    }

    fn admit(&mut self, address: &str) -> Result<Outcome, VoterRefusal> {
        check(address)?;
        if self.present.len() >= VOTERS_MAX {
            return Err(VoterRefusal::Full);
        }
        self.last = self.last.checked_add(1).ok_or(VoterRefusal::Full)?;
        self.present.insert(self.last, Voter { address: address.into(), level: 0 });
        Ok(Outcome::Voter(self.last))
    }

    fn raise(&mut self, level: u32) -> Result<Outcome, VoterRefusal> {
        if level < self.level {
            return Err(VoterRefusal::Lower);
        }
        if self.present.is_empty() || self.present.values().any(|voter| voter.level < level) {
            return Err(VoterRefusal::NotAllRead);
        }
        self.level = level;
        Ok(Outcome::Done)
    }

    /// One voter is all there is; the others are gone for good.
    pub(crate) fn alone(&mut self, id: u64, address: &str) {
        self.last = self.last.max(id);
        let voter = Voter { address: address.into(), level: self.level };
        self.present = BTreeMap::from([(id, voter)]);
    }
}

fn check(address: &str) -> Result<(), VoterRefusal> {
    let fits = (1..=ADDRESS_BYTES_MAX).contains(&address.len());
    let is_text = address.bytes().all(|byte| byte.is_ascii_graphic());
    if fits && is_text { Ok(()) } else { Err(VoterRefusal::Address) }
}
