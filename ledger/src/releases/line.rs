//! The versions of one tenant in one environment, and what decided there before.
//!
//! Not here: how the pointer is moved (`pointer`). Invariant: what a rollback leads to keeps its contents.

use std::collections::BTreeMap;
use std::fmt;

use aegis_audit_chain::Hash;
use aegis_domain::{TenantId, Timestamp};
use aegis_registry::Actor;
use serde::{Deserialize, Serialize};

use super::{Author, Pointer};
use crate::wire::{hash, instant, pairs};

pub(super) const VERSIONS_MAX: usize = 10_000;
/// How many of the newest versions keep their contents, beside those that decide or decided.
const NEWEST_KEPT: usize = 5;

/// Where a tenant runs its agents, such as `prod`: 1 to 63 of `a-z 0-9 -`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Environment(Box<str>);

impl Environment {
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=63).contains(&text.len());
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        (fits && text.bytes().all(allowed)).then(|| Self(text.into()))
    }
}

impl TryFrom<String> for Environment {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("an environment is 1 to 63 of a-z 0-9 -")
    }
}

impl From<Environment> for String {
    fn from(environment: Environment) -> String {
        environment.0.into()
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whose versions are numbered together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineKey {
    pub tenant: TenantId,
    pub environment: Environment,
}

/// One version, for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Version {
    #[serde(with = "hash")]
    pub bundle: Hash,
    #[serde(with = "hash")]
    pub source: Hash,
    pub by: Actor,
    #[serde(with = "instant")]
    pub at: Timestamp,
}

/// The versions of a tenant in an environment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    #[serde(with = "pairs")]
    pub(super) versions: BTreeMap<u32, Version>,
    pub(super) pointer: Option<Pointer>,
    /// What decided before, the latest last: where rollbacks lead.
    pub(super) past: Vec<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) author: Option<Author>,
}

impl Line {
    pub fn pointer(&self) -> Option<&Pointer> {
        self.pointer.as_ref()
    }

    pub fn version(&self, number: u32) -> Option<&Version> {
        self.versions.get(&number)
    }

    /// All of them, the oldest first.
    pub fn versions(&self) -> impl DoubleEndedIterator<Item = (u32, &Version)> {
        self.versions.iter().map(|(number, version)| (*number, version))
    }

    /// The number that the next version gets; `None` where there is room for none.
    pub fn next(&self) -> Option<u32> {
        let last = self.versions.last_key_value().map_or(0, |(number, _)| *number);
        last.checked_add(1).filter(|_| self.versions.len() < VERSIONS_MAX)
    }

    /// The versions that decided before, the latest last.
    pub fn past(&self) -> &[u32] {
        &self.past
    }

    pub(super) fn add(&mut self, number: u32, version: Version) {
        self.versions.insert(number, version);
    }

    /// What a rollback or the next stage may need at once.
    pub(super) fn kept(&self) -> impl Iterator<Item = &Version> {
        let heard = self.author.iter().map(|author| &author.pointer);
        let pointed = self.pointer.iter().chain(heard).flat_map(Pointer::versions);
        let past = self.past.iter().copied();
        let newest = self.versions.values().rev().take(NEWEST_KEPT);
        pointed.chain(past).filter_map(|number| self.versions.get(&number)).chain(newest)
    }
}
