//! The voters: which ids were given out, what each can read, and the keys they cosign audit heads with.
//!
//! Not here: who votes right now (Raft's membership). Invariant: an id is given out once, because a voter that comes back
//! empty under its old id could vote twice in a term. A key that cosigned is never forgotten.

use std::collections::BTreeMap;

use aegis_audit_chain::cosignature::Witness;
use aegis_domain::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::wire::{instant, pairs};

const VOTERS_MAX: usize = 1_000;
const ADDRESS_BYTES_MAX: usize = 256;
const COSIGNERS_MAX: usize = 10_000;

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
    /// A voter says, each time it starts, which key it cosigns audit heads with, and the base URL of its own control API.
    Cosigns { id: u64, key: Box<str>, url: Option<Box<str>> },
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
    #[error("the key is not a witness' verifier key, or is another voter's")]
    Key,
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

/// A key that a voter cosigns heads with, or did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cosigner {
    pub voter: u64,
    /// As a verifier key of type 0x04 (<https://c2sp.org/tlog-cosignature>).
    pub key: Box<str>,
    /// Where heads can be shown to it.
    pub url: Option<Box<str>>,
    #[serde(with = "instant")]
    pub since: Timestamp,
    /// When it gave way to another key, or its voter went.
    #[serde(with = "instant::maybe")]
    pub until: Option<Timestamp>,
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
    /// All there ever were, in the order of their beginning.
    #[serde(default)]
    cosigners: Vec<Cosigner>,
}

/// Of a ledger in which nothing was done yet. Every voter that replays a log begins with it, whatever its version, so it never
/// changes; who founds a cluster raises it.
const FIRST_LEVEL: u32 = 2;

impl Default for Voters {
    fn default() -> Self {
        Self { last: 0, level: FIRST_LEVEL, present: BTreeMap::new(), cosigners: Vec::new() }
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

    /// The keys that cosign, and those that did.
    pub fn cosigners(&self) -> &[Cosigner] {
        &self.cosigners
    }

    /// The key that a voter cosigns with now.
    pub fn cosigner(&self, id: u64) -> Option<&Cosigner> {
        self.cosigners.iter().find(|known| known.voter == id && known.until.is_none())
    }

    pub(crate) fn act(&mut self, act: &VoterAct, at: Timestamp) -> Result<Outcome, VoterRefusal> {
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
            VoterAct::Cosigns { id, key, url } => self.cosigns(*id, (key, url.as_deref()), at),
            VoterAct::Dismiss { id } => {
                self.present.remove(id).ok_or(VoterRefusal::Unknown)?;
                self.end_cosigner(*id, at);
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

    fn cosigns(
        &mut self,
        voter: u64,
        (key, url): (&str, Option<&str>),
        since: Timestamp,
    ) -> Result<Outcome, VoterRefusal> {
        let witness = Witness::parse(key).map_err(|_| VoterRefusal::Key)?;
        if !self.present.contains_key(&voter) {
            return Err(VoterRefusal::Unknown);
        }
        url.map_or(Ok(()), check)?;
        let is_same = |known: &&mut Cosigner| known.voter == voter && known.until.is_none();
        if let Some(known) = self.cosigners.iter_mut().find(is_same).filter(|it| *it.key == *key) {
            known.url = url.map(Into::into);
            return Ok(Outcome::Done);
        }
        // A verifier counts keys, so one that two voters had would count twice. After a restore a voter has a new name.
        let has_it =
            |known: &Cosigner| Witness::parse(&known.key).is_ok_and(|it| it.has_key_of(&witness));
        if self.cosigners.iter().any(|known| known.voter != voter && has_it(known)) {
            return Err(VoterRefusal::Key);
        }
        if self.cosigners.len() >= COSIGNERS_MAX {
            return Err(VoterRefusal::Full);
        }
        self.end_cosigner(voter, since);
        let url = url.map(Into::into);
        self.cosigners.push(Cosigner { voter, key: key.into(), url, since, until: None });
        Ok(Outcome::Done)
    }

    fn end_cosigner(&mut self, voter: u64, at: Timestamp) {
        let ends = |known: &&mut Cosigner| known.voter == voter && known.until.is_none();
        self.cosigners.iter_mut().filter(ends).for_each(|known| known.until = Some(at));
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
    pub(crate) fn alone(&mut self, id: u64, address: &str, at: Timestamp) {
        let gone: Vec<u64> = self.present.keys().copied().filter(|other| *other != id).collect();
        gone.into_iter().for_each(|other| self.end_cosigner(other, at));
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
