//! Policy releases: contents by digest, versions per tenant and environment, and the pointer that says which one decides.
//!
//! Not here: what a bundle says (`policies/engine`), and when a rollout moves on (`policies/rollout`). Invariant: a version
//! never changes, and a pointer changes only for who has seen its epoch; a rollback is one more epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use aegis_audit_chain::Hash;
use aegis_domain::{TenantId, Timestamp, Ttl};
use aegis_registry::Actor;
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::ledger::Desk;
use crate::wire::{bytes, hash, instant, pairs};

/// An entry of the log is at most 1 MiB, and base64 makes a third more of its content.
const CONTENT_BYTES_MAX: usize = 700 * 1_024;
/// What the contents of a region may take; voters hold them in memory.
const CONTENTS_BYTES_MAX: usize = 256 * 1_024 * 1_024;
const LINES_MAX: usize = 10_000;
const VERSIONS_MAX: usize = 10_000;
/// How many of the newest versions keep their contents, beside those that a pointer names.
const NEWEST_KEPT: usize = 5;
/// How long contents wait for the version that names them.
const UNNAMED_KEPT: Ttl = Ttl::from_s(60 * 60);
const PERCENT_MAX: u8 = 100;

/// What can be done about releases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ReleaseAct {
    /// Brings a bundle or its source.
    Store {
        #[serde(with = "hash")]
        digest: Hash,
        #[serde(with = "bytes")]
        content: Vec<u8>,
    },
    /// Makes a version of a bundle and the source it was compiled from.
    Publish {
        line: LineKey,
        #[serde(with = "hash")]
        bundle: Hash,
        #[serde(with = "hash")]
        source: Hash,
    },
    /// Points at what decides; `seen` is the epoch that was read, zero before the first.
    Activate { line: LineKey, seen: u64, choice: Choice },
}

/// Why it was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseRefusal {
    #[error("the content has another digest")]
    Digest,
    #[error("a content is at most {CONTENT_BYTES_MAX} bytes")]
    TooLarge,
    #[error("no content of that digest is held")]
    ContentUnknown,
    #[error("no version of that number was published")]
    VersionUnknown,
    #[error("the contents of that version are no longer held")]
    ContentGone,
    #[error("the pointer was moved since it was read")]
    Moved,
    #[error("a percentage is at most 100")]
    Percent,
    #[error("the region holds all it can of this kind")]
    Full,
}

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

/// Which versions decide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    pub active: u32,
    /// Judges the same calls, and only its difference is noted.
    pub shadow: Option<u32>,
    pub canary: Option<Canary>,
}

impl Choice {
    /// Every version that is needed to decide.
    pub fn versions(&self) -> impl Iterator<Item = u32> {
        let canary = self.canary.as_ref().map(|canary| canary.version);
        [Some(self.active), self.shadow, canary].into_iter().flatten()
    }
}

/// A version that decides for some agents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    pub version: u32,
    pub percent: u8,
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

/// What decides now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pointer {
    /// Rises with every change, so a gateway never goes back to an older one.
    pub epoch: u64,
    pub choice: Choice,
    pub by: Actor,
    #[serde(with = "instant")]
    pub at: Timestamp,
}

/// The versions of a tenant in an environment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    #[serde(with = "pairs")]
    versions: BTreeMap<u32, Version>,
    pointer: Option<Pointer>,
}

impl Line {
    pub fn pointer(&self) -> Option<&Pointer> {
        self.pointer.as_ref()
    }

    pub fn version(&self, number: u32) -> Option<&Version> {
        self.versions.get(&number)
    }

    /// All of them, the oldest first.
    pub fn versions(&self) -> impl Iterator<Item = (u32, &Version)> {
        self.versions.iter().map(|(number, version)| (*number, version))
    }

    /// What a rollback or the next stage may need at once.
    fn kept(&self) -> impl Iterator<Item = &Version> {
        let pointed = self.pointer.iter().flat_map(|pointer| pointer.choice.versions());
        let newest = self.versions.values().rev().take(NEWEST_KEPT);
        pointed.filter_map(|number| self.versions.get(&number)).chain(newest)
    }
}

/// A bundle or a source, as it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    #[serde(with = "bytes")]
    pub bytes: Vec<u8>,
    #[serde(with = "instant")]
    stored_at: Timestamp,
}

/// Contents and the lines that name them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Releases {
    /// By digest, as text.
    #[serde(with = "pairs")]
    contents: BTreeMap<Box<str>, Content>,
    #[serde(with = "pairs")]
    lines: BTreeMap<LineKey, Line>,
}

impl Releases {
    pub fn content(&self, digest: Hash) -> Option<&Content> {
        self.contents.get(digest.to_string().as_str())
    }

    pub fn line(&self, key: &LineKey) -> Option<&Line> {
        self.lines.get(key)
    }

    pub fn lines(&self) -> impl Iterator<Item = (&LineKey, &Line)> {
        self.lines.iter()
    }

    pub(crate) fn act(
        &mut self,
        act: &ReleaseAct,
        desk: &Desk<'_>,
    ) -> Result<Outcome, ReleaseRefusal> {
        match act {
            ReleaseAct::Store { digest, content } => self.store(*digest, content, desk.at),
            ReleaseAct::Publish { line, bundle, source } => {
                let version =
                    Version { bundle: *bundle, source: *source, by: desk.by.clone(), at: desk.at };
                self.publish(line, version)
            }
            ReleaseAct::Activate { line, seen, choice } => self.activate(line, *seen, choice, desk),
        }
    }

    fn store(
        &mut self,
        digest: Hash,
        content: &[u8],
        at: Timestamp,
    ) -> Result<Outcome, ReleaseRefusal> {
        if content.len() > CONTENT_BYTES_MAX {
            return Err(ReleaseRefusal::TooLarge);
        }
        if Hash::of(content) != digest {
            return Err(ReleaseRefusal::Digest);
        }
        self.sweep(at);
        let held: usize = self.contents.values().map(|content| content.bytes.len()).sum();
        if held.saturating_add(content.len()) > CONTENTS_BYTES_MAX {
            return Err(ReleaseRefusal::Full);
        }
        let content = Content { bytes: content.to_vec(), stored_at: at };
        self.contents.insert(digest.to_string().into(), content);
        Ok(Outcome::Done)
    }

    fn publish(&mut self, key: &LineKey, version: Version) -> Result<Outcome, ReleaseRefusal> {
        if self.content(version.bundle).is_none() || self.content(version.source).is_none() {
            return Err(ReleaseRefusal::ContentUnknown);
        }
        if !self.lines.contains_key(key) && self.lines.len() >= LINES_MAX {
            return Err(ReleaseRefusal::Full);
        }
        let line = self.lines.entry(key.clone()).or_default();
        if line.versions.len() >= VERSIONS_MAX {
            return Err(ReleaseRefusal::Full);
        }
        let last = line.versions.last_key_value().map_or(0, |(number, _)| *number);
        let number = last.checked_add(1).ok_or(ReleaseRefusal::Full)?;
        line.versions.insert(number, version);
        Ok(Outcome::Version(number))
    }

    fn activate(
        &mut self,
        key: &LineKey,
        seen: u64,
        choice: &Choice,
        desk: &Desk<'_>,
    ) -> Result<Outcome, ReleaseRefusal> {
        let line = self.lines.get(key).ok_or(ReleaseRefusal::VersionUnknown)?;
        let epoch = line.pointer.as_ref().map_or(0, |pointer| pointer.epoch);
        if epoch != seen {
            return Err(ReleaseRefusal::Moved);
        }
        if choice.canary.as_ref().is_some_and(|canary| canary.percent > PERCENT_MAX) {
            return Err(ReleaseRefusal::Percent);
        }
        for number in choice.versions() {
            let version = line.versions.get(&number).ok_or(ReleaseRefusal::VersionUnknown)?;
            if self.content(version.bundle).is_none() {
                return Err(ReleaseRefusal::ContentGone);
            }
        }
        let epoch = epoch.checked_add(1).ok_or(ReleaseRefusal::Full)?;
        let pointer = Pointer { epoch, choice: choice.clone(), by: desk.by.clone(), at: desk.at };
        if let Some(line) = self.lines.get_mut(key) {
            line.pointer = Some(pointer);
        }
        Ok(Outcome::Epoch(epoch))
    }

    /// Lets go of contents that no version needs at once and that are not just waiting for theirs.
    fn sweep(&mut self, at: Timestamp) {
        let kept = self.lines.values().flat_map(Line::kept);
        let named: BTreeSet<String> = kept
            .flat_map(|version| [version.bundle.to_string(), version.source.to_string()])
            .collect();
        self.contents.retain(|digest, content| {
            named.contains(digest.as_ref()) || at < content.stored_at.plus(UNNAMED_KEPT)
        });
    }
}
