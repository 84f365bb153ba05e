//! Lines that another region authors: what it released last, and how far this region goes along.
//!
//! Not here: hearing of it and checking it (`control`). Invariant: nothing of an author that was set back counts; a version
//! has the number and the digest that its author gave it; what was taken back here decides here no more for as long as the
//! author goes on pointing at it.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use aegis_audit_chain::Hash;
use aegis_domain::Region;
use aegis_policy_rollout::Progress;
use serde::{Deserialize, Serialize};

use super::line::VERSIONS_MAX;
use super::{Choice, Line, LineKey, Pointer, ReleaseRefusal, Rollout, Version};
use crate::ledger::Desk;
use crate::wire::hash;

/// A dozen public keys.
const KEYS_BYTES_MAX: usize = 8 * 1_024;

/// One version, as its author numbered it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Brought {
    pub number: u32,
    #[serde(with = "hash")]
    pub bundle: Hash,
    #[serde(with = "hash")]
    pub source: Hash,
}

/// What another region releases in a line, checked by whoever brings it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Taking {
    pub line: LineKey,
    pub author: Region,
    /// Of the author's ledger.
    pub revision: u64,
    /// The author's public keys, which its bundles are signed with: a JSON Web Key Set.
    pub keys: Box<str>,
    /// The author's.
    pub pointer: Pointer,
    /// Those that the pointer needs.
    pub versions: Vec<Brought>,
}

/// The region that a line comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Author {
    pub region: Region,
    pub revision: u64,
    pub keys: Box<str>,
    /// Its own pointer, as it was last heard.
    pub pointer: Pointer,
    /// What was rolled back here, and still decides there.
    pub taken_back: BTreeSet<u32>,
    /// It releases nothing here any more.
    pub is_withdrawn: bool,
}

impl Line {
    /// The region that numbers these versions, if it is another.
    pub fn author(&self) -> Option<&Author> {
        self.author.as_ref()
    }

    /// Refuses what only the author may do.
    pub(super) fn is_own(&self) -> Result<(), ReleaseRefusal> {
        match &self.author {
            None => Ok(()),
            Some(author) => Err(ReleaseRefusal::Authored { author: author.region.clone() }),
        }
    }

    /// Takes what the author released, and goes along with its pointer.
    pub(super) fn take(&mut self, taking: &Taking, desk: &Desk<'_>) -> Result<u64, ReleaseRefusal> {
        self.is_takeable(taking)?;
        for brought in &taking.versions {
            let Brought { number, bundle, source } = *brought;
            let version = Version { bundle, source, by: desk.by.clone(), at: desk.at };
            self.versions.entry(number).or_insert(version);
        }
        let before = self.author.take();
        let is_told_anew =
            before.as_ref().is_some_and(|it| it.is_withdrawn || it.keys != taking.keys);
        self.author = Some(Author {
            region: taking.author.clone(),
            revision: taking.revision,
            keys: taking.keys.clone(),
            pointer: taking.pointer.clone(),
            taken_back: before.map(|before| before.taken_back).unwrap_or_default(),
            is_withdrawn: false,
        });
        if is_told_anew {
            self.turn(None, desk, |_| Ok(()))?;
        }
        self.follow(desk)
    }

    fn is_takeable(&self, taking: &Taking) -> Result<(), ReleaseRefusal> {
        if taking.keys.len() > KEYS_BYTES_MAX {
            return Err(ReleaseRefusal::TooLarge);
        }
        let brought = taking.versions.iter();
        let mut new = 0_usize;
        for Brought { number, bundle, source } in brought {
            match self.versions.get(number) {
                Some(known) if (known.bundle, known.source) == (*bundle, *source) => {}
                Some(_) => return Err(ReleaseRefusal::NumberTaken { number: *number }),
                None => new = new.saturating_add(1),
            }
        }
        if self.versions.len().saturating_add(new) > VERSIONS_MAX {
            return Err(ReleaseRefusal::Full);
        }
        let epoch = taking.pointer.epoch;
        let Some(author) = &self.author else {
            return if self.versions.is_empty() {
                Ok(())
            } else {
                Err(ReleaseRefusal::OwnVersions)
            };
        };
        if author.region != taking.author {
            return Err(ReleaseRefusal::Authored { author: author.region.clone() });
        }
        let is_known = author.keys == taking.keys && !author.is_withdrawn;
        match epoch.cmp(&author.pointer.epoch) {
            Ordering::Greater => Ok(()),
            Ordering::Less => {
                Err(ReleaseRefusal::AuthorSetBack { epoch, held: author.pointer.epoch })
            }
            Ordering::Equal if author.pointer != taking.pointer => {
                Err(ReleaseRefusal::AuthorForked { epoch })
            }
            Ordering::Equal if is_known => Err(ReleaseRefusal::NothingToDo),
            Ordering::Equal => Ok(()),
        }
    }

    /// The author releases nothing here any more; an older word of it does not count.
    pub(super) fn withdraw(
        &mut self,
        (author, revision): (&Region, u64),
        desk: &Desk<'_>,
    ) -> Result<u64, ReleaseRefusal> {
        let held = self.author.as_mut().filter(|held| held.region == *author);
        let held = held.ok_or(ReleaseRefusal::NothingToDo)?;
        if held.is_withdrawn || revision < held.revision {
            return Err(ReleaseRefusal::NothingToDo);
        }
        (held.is_withdrawn, held.revision) = (true, revision);
        self.turn(None, desk, |_| Ok(()))
    }

    /// Remembers that a version was taken back here, where another region goes on with it.
    pub(super) fn take_back(&mut self, version: u32) {
        if let Some(author) = &mut self.author
            && author.decides(version)
        {
            author.taken_back.insert(version);
        }
    }

    /// Goes along with the author again, also where something was taken back.
    pub(super) fn forgive(&mut self) {
        if let Some(author) = &mut self.author {
            author.taken_back.clear();
        }
    }

    /// Moves the pointer to where the author's is, as far as this region lets it; a pinned line stays where it is. In a
    /// line of this region's own there is nobody to follow.
    pub(super) fn follow(&mut self, desk: &Desk<'_>) -> Result<u64, ReleaseRefusal> {
        let Some(author) = &mut self.author else {
            return self.pointer.as_ref().map(|it| it.epoch).ok_or(ReleaseRefusal::NothingActive);
        };
        let still: Vec<u32> = author.pointer.deciders().collect();
        author.taken_back.retain(|version| still.contains(version));
        let Some(ours) = &self.pointer else {
            let Pointer { choice, rollout, .. } = author.pointer.clone();
            let (by, at, rollout) = (desk.by.clone(), desk.at, rollout.map(as_heard));
            self.pointer = Some(Pointer { epoch: 1, choice, rollout, is_pinned: false, by, at });
            return Ok(1);
        };
        let (left, next) = (ours.choice.active, author.followed(ours));
        if ours.is_pinned || next == (ours.choice.clone(), ours.rollout.clone()) {
            return Ok(ours.epoch);
        }
        let now = next.0.active;
        let epoch = self.turn(None, desk, |pointer| {
            (pointer.choice, pointer.rollout) = next;
            Ok(())
        })?;
        self.leave(left, now);
        Ok(epoch)
    }
}

impl Author {
    fn decides(&self, version: u32) -> bool {
        self.pointer.deciders().any(|decider| decider == version)
    }

    /// What the author's pointer comes to here.
    fn followed(&self, ours: &Pointer) -> (Choice, Option<Rollout>) {
        let theirs = &self.pointer;
        if self.waits(ours) {
            return (ours.choice.clone(), ours.rollout.clone());
        }
        let choice = if self.taken_back.contains(&theirs.choice.active) {
            Choice { active: ours.choice.active, shadow: None }
        } else {
            theirs.choice.clone()
        };
        let rollout = theirs.rollout.clone().and_then(|theirs| {
            let own = ours.rollout.as_ref().filter(|own| own.plan.id() == theirs.plan.id());
            if self.taken_back.contains(&theirs.candidate) {
                own.cloned()
            } else {
                Some(in_stage(theirs, own))
            }
        });
        (choice, rollout)
    }

    /// Whether the rollout that is under way here is held or paused, and the author has not given it up.
    fn waits(&self, ours: &Pointer) -> bool {
        let Some(own) = ours.under_way() else { return false };
        let waits = own.is_paused || matches!(own.progress, Progress::Held { .. });
        let goes_on = self.pointer.rollout.as_ref().is_some_and(|theirs| {
            let is_over =
                matches!(theirs.progress, Progress::RolledBack { .. } | Progress::Aborted);
            theirs.plan.id() == own.plan.id() && !is_over
        });
        waits && goes_on
    }
}

/// A rollout as the author has it, without what holds it there: its calls are not ours.
fn as_heard(theirs: Rollout) -> Rollout {
    let progress = match theirs.progress {
        Progress::Running { stage, since } | Progress::Held { stage, since, .. } => {
            Progress::Running { stage, since }
        }
        ended @ (Progress::Complete | Progress::RolledBack { .. } | Progress::Aborted) => ended,
    };
    Rollout { progress, is_paused: false, ..theirs }
}

/// The same, in the stage that the author has reached; a stage that is known here already goes on counting.
fn in_stage(theirs: Rollout, own: Option<&Rollout>) -> Rollout {
    let heard = as_heard(theirs);
    let stage = |progress| match progress {
        Progress::Running { stage, .. } => Some(stage),
        Progress::Held { .. }
        | Progress::Complete
        | Progress::RolledBack { .. }
        | Progress::Aborted => None,
    };
    let is_known = |own: &&Rollout| {
        stage(own.progress).is_some() && stage(own.progress) == stage(heard.progress)
    };
    own.filter(is_known).cloned().unwrap_or(heard)
}
