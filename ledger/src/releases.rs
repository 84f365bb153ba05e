//! Policy releases: contents by digest, and the lines of versions that name them.
//!
//! Not here: what a bundle says (`policies/engine`), which version decides (`pointer`), and when a rollout moves on
//! (`policies/rollout`). Invariant: a version never changes, and a line numbers its own versions without a gap.

mod author;
mod line;
mod pointer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aegis_audit_chain::Hash;
use aegis_domain::{Region, Timestamp, Ttl};
use aegis_policy_rollout::{Observed, RolloutError, Stage};
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::ledger::Desk;
use crate::wire::{bytes, hash, instant, pairs};

pub use author::{Author, Brought, Taking};
pub use line::{Environment, Line, LineKey, Version};
pub use pointer::{Choice, Pointer, Rollout};

/// An entry of the log is at most 1 MiB, and base64 makes a third more of its content.
pub const CONTENT_BYTES_MAX: usize = 700 * 1_024;
/// What the contents of a region may take; voters hold them in memory.
const CONTENTS_BYTES_MAX: usize = 256 * 1_024 * 1_024;
const LINES_MAX: usize = 10_000;
/// How long contents wait for the version that names them.
const UNNAMED_KEPT: Ttl = Ttl::from_s(60 * 60);

/// What can be done about releases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ReleaseAct {
    /// Brings a signed bundle.
    Store {
        #[serde(with = "hash")]
        digest: Hash,
        #[serde(with = "bytes")]
        content: Vec<u8>,
    },
    /// Makes a version of a bundle. Its number stands in the bundle, so whoever compiled it has foretold the number.
    Publish {
        line: LineKey,
        number: u32,
        #[serde(with = "hash")]
        bundle: Hash,
        /// SHA-256 of the canonical text of its policy, as the bundle's manifest has it.
        #[serde(with = "hash")]
        source: Hash,
    },
    /// Points at what decides; `seen` is the epoch that was read, zero before the first. Ends a rollout under way.
    Activate { line: LineKey, seen: u64, choice: Choice },
    /// The same for a version that enforces less than the one before. It is not told apart here: who may ask for it, and
    /// how it is spoken of afterwards, is another matter.
    Downgrade { line: LineKey, seen: u64, choice: Choice },
    /// Lets a candidate decide for more and more agents.
    Start { line: LineKey, seen: u64, candidate: u32, stages: Vec<Stage> },
    /// What gateways saw both versions do; the rollout moves on, waits or goes back by it.
    Observe { line: LineKey, seen: u64, observed: Observed },
    /// Keeps the rollout from moving on; its guards still hold it and roll it back.
    Pause { line: LineKey, seen: Option<u64> },
    /// Lets it move on; the time of its stage begins anew.
    Resume { line: LineKey, seen: Option<u64> },
    /// Takes the candidate back.
    Abort { line: LineKey, seen: Option<u64> },
    /// Takes the candidate back, or points again at what decided before: the version that is named, or the last.
    Rollback { line: LineKey, seen: Option<u64>, to: Option<u32> },
    /// Keeps the line where it is, whatever another region releases; only a rollback moves it.
    Pin { line: LineKey, seen: Option<u64> },
    /// In a line of another region, also what was taken back here is let go of.
    Unpin { line: LineKey, seen: Option<u64> },
    /// Says again what the pointer says, at an epoch past the one that is named: some gateways outlived an older state of this
    /// ledger, and hold epochs that it does not remember.
    Overtake { line: LineKey, seen: Option<u64>, past: u64 },
    /// Brings what another region releases in a line. Its contents were stored before.
    Take(Box<Taking>),
    /// Another region releases a line here no more; its contents are deleted.
    Withdraw {
        line: LineKey,
        author: Region,
        /// Of the author's ledger.
        revision: u64,
    },
}

/// Why it was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseRefusal {
    #[error("the content has another digest")]
    Digest,
    #[error("a content is at most {CONTENT_BYTES_MAX} bytes")]
    TooLarge,
    #[error("no content of that digest is held")]
    ContentUnknown,
    #[error("the next version is number {next}")]
    Number { next: u32 },
    #[error("no version of that number was published")]
    VersionUnknown,
    #[error("the contents of that version are no longer held")]
    ContentGone,
    #[error("the pointer was moved since it was read: it is at epoch {epoch}")]
    Moved { epoch: u64 },
    #[error("no version decides yet")]
    NothingActive,
    #[error("that version decides already")]
    ActiveAlready,
    #[error("a rollout has 1 to 32 stages")]
    Stages,
    #[error("a stage has at most 16 guards")]
    Guards,
    #[error("a rollout is under way; abort it first")]
    RolloutRuns,
    #[error("no rollout is under way")]
    NoRollout,
    #[error("what was seen changes nothing, or must not while the line stands still")]
    NothingToDo,
    #[error("a rollback leads to a version that decided before")]
    NeverActive,
    #[error("the line is pinned in this region")]
    Pinned,
    #[error("the line is not pinned")]
    NotPinned,
    #[error("the line is authored in region {author}: push and activate there")]
    Authored { author: Region },
    #[error("the line has versions of this region's own")]
    OwnVersions,
    #[error("version {number} is another here")]
    NumberTaken { number: u32 },
    #[error(
        "the author is at epoch {epoch} and was at {held} before: it was restored from an older state"
    )]
    AuthorSetBack { epoch: u64, held: u64 },
    #[error("the author's epoch {epoch} was another release before")]
    AuthorForked { epoch: u64 },
    #[error("that epoch is further ahead than any that can have been given out")]
    TooFar,
    #[error("the region holds all it can of this kind")]
    Full,
}

impl From<RolloutError> for ReleaseRefusal {
    fn from(error: RolloutError) -> Self {
        match error {
            RolloutError::Stages => ReleaseRefusal::Stages,
            RolloutError::Guards => ReleaseRefusal::Guards,
        }
    }
}

/// A signed bundle, as it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// Shared by every copy of the ledger, such as one that a snapshot is made of.
    #[serde(with = "bytes")]
    pub bytes: Arc<[u8]>,
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
        let pointed = match act {
            ReleaseAct::Store { digest, content } => return self.store(*digest, content, desk.at),
            ReleaseAct::Publish { line, number, bundle, source } => {
                let (by, at) = (desk.by.clone(), desk.at);
                let version = Version { bundle: *bundle, source: *source, by, at };
                return self.publish(line, *number, version);
            }
            ReleaseAct::Activate { line, seen, choice }
            | ReleaseAct::Downgrade { line, seen, choice } => {
                self.hold(line, choice.versions())?;
                self.own_mut(line)?.activate(*seen, choice, desk)
            }
            ReleaseAct::Start { line, seen, candidate, stages } => {
                self.hold(line, [*candidate])?;
                let id = format!("{}/{}@{candidate}", line.tenant, line.environment);
                self.own_mut(line)?.start(*seen, (&id, *candidate, stages), desk)
            }
            ReleaseAct::Observe { line, seen, observed } => {
                self.line_mut(line)?.observe(*seen, observed, desk)
            }
            ReleaseAct::Pause { line, seen } => self.line_mut(line)?.pause(*seen, desk),
            ReleaseAct::Resume { line, seen } => self.line_mut(line)?.resume(*seen, desk),
            ReleaseAct::Abort { line, seen } => self.line_mut(line)?.abort(*seen, desk),
            ReleaseAct::Rollback { line, seen, to } => {
                self.hold(line, *to)?;
                self.line_mut(line)?.roll_back(*seen, *to, desk)
            }
            ReleaseAct::Pin { line, seen } => self.line_mut(line)?.pin(*seen, desk),
            ReleaseAct::Unpin { line, seen } => self.line_mut(line)?.unpin(*seen, desk),
            ReleaseAct::Overtake { line, seen, past } => {
                self.line_mut(line)?.overtake(*seen, *past, desk)
            }
            ReleaseAct::Take(taking) => self.take(taking, desk),
            ReleaseAct::Withdraw { line, author, revision } => {
                let epoch = self.line_mut(line)?.withdraw((author, *revision), desk);
                epoch.inspect(|_| self.empty(line))
            }
        };
        pointed.map(Outcome::Epoch)
    }

    fn line_mut(&mut self, key: &LineKey) -> Result<&mut Line, ReleaseRefusal> {
        self.lines.get_mut(key).ok_or(ReleaseRefusal::VersionUnknown)
    }

    /// A line that this region numbers itself.
    fn own_mut(&mut self, key: &LineKey) -> Result<&mut Line, ReleaseRefusal> {
        let line = self.line_mut(key)?;
        line.is_own()?;
        Ok(line)
    }

    fn take(&mut self, taking: &Taking, desk: &Desk<'_>) -> Result<u64, ReleaseRefusal> {
        let known = self.lines.get(&taking.line).cloned();
        if known.is_none() && self.lines.len() >= LINES_MAX {
            return Err(ReleaseRefusal::Full);
        }
        for number in taking.pointer.versions() {
            let brought = taking.versions.iter().find(|brought| brought.number == number);
            let bundle = brought.ok_or(ReleaseRefusal::VersionUnknown)?.bundle;
            self.content(bundle).ok_or(ReleaseRefusal::ContentUnknown)?;
        }
        // What is refused half-way leaves the line as it was.
        let mut line = known.unwrap_or_default();
        let epoch = line.take(taking, desk)?;
        self.lines.insert(taking.line.clone(), line);
        Ok(epoch)
    }

    /// Deletes the contents of a line; what its versions were stays known.
    fn empty(&mut self, key: &LineKey) {
        let versions = self.lines.get(key).into_iter().flat_map(Line::versions);
        let digests: Vec<String> = versions.map(|(_, it)| it.bundle.to_string()).collect();
        for digest in digests {
            self.contents.remove(digest.as_str());
        }
    }

    /// Whether gateways can be given these versions.
    fn hold(
        &self,
        key: &LineKey,
        numbers: impl IntoIterator<Item = u32>,
    ) -> Result<(), ReleaseRefusal> {
        let line = self.lines.get(key).ok_or(ReleaseRefusal::VersionUnknown)?;
        for number in numbers {
            let version = line.version(number).ok_or(ReleaseRefusal::VersionUnknown)?;
            self.content(version.bundle).ok_or(ReleaseRefusal::ContentGone)?;
        }
        Ok(())
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
        let content = Content { bytes: content.into(), stored_at: at };
        self.contents.insert(digest.to_string().into(), content);
        Ok(Outcome::Done)
    }

    fn publish(
        &mut self,
        key: &LineKey,
        number: u32,
        version: Version,
    ) -> Result<Outcome, ReleaseRefusal> {
        if self.content(version.bundle).is_none() {
            return Err(ReleaseRefusal::ContentUnknown);
        }
        self.lines.get(key).map_or(Ok(()), Line::is_own)?;
        let next = self.lines.get(key).map_or(Some(1), Line::next).ok_or(ReleaseRefusal::Full)?;
        if number != next {
            return Err(ReleaseRefusal::Number { next });
        }
        if !self.lines.contains_key(key) && self.lines.len() >= LINES_MAX {
            return Err(ReleaseRefusal::Full);
        }
        self.lines.entry(key.clone()).or_default().add(number, version);
        Ok(Outcome::Version(number))
    }

    /// Lets go of contents that no version needs at once and that are not just waiting for theirs.
    fn sweep(&mut self, at: Timestamp) {
        let kept = self.lines.values().flat_map(Line::kept);
        let named: BTreeSet<String> = kept.map(|version| version.bundle.to_string()).collect();
        self.contents.retain(|digest, content| {
            named.contains(digest.as_ref()) || at < content.stored_at.plus(UNNAMED_KEPT)
        });
    }
}
