//! Which versions of a line decide, and every way to change that.
//!
//! Not here: whether guards are breached (`policies/rollout`). Invariant: each change is the next epoch; a candidate that was
//! taken back decides for nobody until another rollout begins, which has an id of its own; a line that is paused or pinned
//! never gives a candidate more agents.

use aegis_domain::{AgentId, Region, TenantId, Timestamp};
use aegis_policy_rollout::{Observed, Progress, Rollout as Plan, Side, Stage};
use aegis_registry::Actor;
use serde::{Deserialize, Serialize};

use super::{Line, ReleaseRefusal};
use crate::ledger::Desk;
use crate::wire::instant;

/// How many versions back a rollback may lead.
const PAST_MAX: usize = 5;

/// More changes than a line can have seen since any backup. A gateway that lies of its epoch must not use them up.
const OVERTAKEN_MAX: u64 = 1_000_000_000;

/// Which versions decide for everyone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    pub active: u32,
    /// Judges the same calls, and only its difference is noted.
    pub shadow: Option<u32>,
}

impl Choice {
    pub(super) fn versions(&self) -> impl Iterator<Item = u32> {
        [Some(self.active), self.shadow].into_iter().flatten()
    }
}

/// A candidate on its way to all agents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    pub candidate: u32,
    pub plan: Plan,
    pub progress: Progress,
    /// Whether somebody keeps it where it is.
    pub is_paused: bool,
}

impl Rollout {
    /// Whether the candidate decides for anyone, beside a stable version.
    pub fn is_under_way(&self) -> bool {
        match self.progress {
            Progress::Running { .. } | Progress::Held { .. } => true,
            Progress::Complete | Progress::RolledBack { .. } | Progress::Aborted => false,
        }
    }
}

/// What decides now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pointer {
    /// Rises with every change, so a gateway never goes back to an older one.
    pub epoch: u64,
    pub choice: Choice,
    /// The last one; it stays here when it has ended, to be read.
    pub rollout: Option<Rollout>,
    pub is_pinned: bool,
    pub by: Actor,
    #[serde(with = "instant")]
    pub at: Timestamp,
}

impl Pointer {
    /// The rollout, while it is under way.
    pub fn under_way(&self) -> Option<&Rollout> {
        self.rollout.as_ref().filter(|rollout| rollout.is_under_way())
    }

    /// Which version decides an agent's calls in a region.
    pub fn decider(&self, region: &Region, tenant: &TenantId, agent: &AgentId) -> u32 {
        let served = self.under_way().filter(|rollout| {
            rollout.plan.side(rollout.progress, region, tenant, agent) == Side::Candidate
        });
        served.map_or(self.choice.active, |rollout| rollout.candidate)
    }

    /// All that gateways need.
    pub fn versions(&self) -> impl Iterator<Item = u32> {
        let candidate = self.under_way().map(|rollout| rollout.candidate);
        self.choice.versions().chain(candidate)
    }

    /// The versions that decide calls: a shadow does not.
    pub(super) fn deciders(&self) -> impl Iterator<Item = u32> {
        let candidate = self.under_way().map(|rollout| rollout.candidate);
        [Some(self.choice.active), candidate].into_iter().flatten()
    }

    fn next(&self, now: Timestamp, observed: &Observed, is_followed: bool) -> Option<Progress> {
        let rollout = self.under_way()?;
        let next = rollout.plan.step(rollout.progress, now, observed);
        let stage = |progress| match progress {
            Progress::Running { stage, .. } | Progress::Held { stage, .. } => Some(stage),
            Progress::Complete | Progress::RolledBack { .. } | Progress::Aborted => None,
        };
        let gains = next == Progress::Complete || stage(next) > stage(rollout.progress);
        let stands_still = rollout.is_paused || self.is_pinned || is_followed;
        (next != rollout.progress && !(gains && stands_still)).then_some(next)
    }

    fn seen(&self, seen: Option<u64>) -> Result<(), ReleaseRefusal> {
        let epoch = self.epoch;
        if seen.is_none_or(|seen| seen == epoch) {
            Ok(())
        } else {
            Err(ReleaseRefusal::Moved { epoch })
        }
    }

    fn is_free(&self) -> Result<(), ReleaseRefusal> {
        if self.is_pinned { Err(ReleaseRefusal::Pinned) } else { Ok(()) }
    }

    fn rollout_mut(&mut self) -> Result<&mut Rollout, ReleaseRefusal> {
        let rollout = self.rollout.as_mut().filter(|rollout| rollout.is_under_way());
        rollout.ok_or(ReleaseRefusal::NoRollout)
    }
}

impl Line {
    /// What becomes of the rollout by what was seen; `None` where nothing does, or must not: in a line of another region it
    /// gains agents by what was seen there. The leader asks this before it proposes an observation, so that the log holds
    /// only those that matter.
    pub fn next_progress(&self, now: Timestamp, observed: &Observed) -> Option<Progress> {
        self.pointer.as_ref()?.next(now, observed, self.author.is_some())
    }

    pub(super) fn activate(
        &mut self,
        seen: u64,
        choice: &Choice,
        desk: &Desk<'_>,
    ) -> Result<u64, ReleaseRefusal> {
        let Some(before) = &self.pointer else {
            if seen != 0 {
                return Err(ReleaseRefusal::Moved { epoch: 0 });
            }
            let (choice, by, at) = (choice.clone(), desk.by.clone(), desk.at);
            let first = Pointer { epoch: 1, choice, rollout: None, is_pinned: false, by, at };
            self.pointer = Some(first);
            return Ok(1);
        };
        before.seen(Some(seen))?;
        before.is_free()?;
        let left = before.choice.active;
        let epoch = self.turn(None, desk, |pointer| {
            (pointer.choice, pointer.rollout) = (choice.clone(), None);
            Ok(())
        })?;
        self.leave(left, choice.active);
        Ok(epoch)
    }

    /// Begins a rollout of a candidate; its id is the given one and the epoch, so that none has it twice.
    pub(super) fn start(
        &mut self,
        seen: u64,
        (id, candidate, stages): (&str, u32, &[Stage]),
        desk: &Desk<'_>,
    ) -> Result<u64, ReleaseRefusal> {
        self.turn(Some(seen), desk, |pointer| {
            pointer.is_free()?;
            if pointer.under_way().is_some() {
                return Err(ReleaseRefusal::RolloutRuns);
            }
            if pointer.choice.active == candidate {
                return Err(ReleaseRefusal::ActiveAlready);
            }
            let plan = Plan::new(&format!("{id}.{}", pointer.epoch), stages.to_vec())?;
            let progress = plan.begin(desk.at);
            pointer.rollout = Some(Rollout { candidate, plan, progress, is_paused: false });
            Ok(())
        })
    }

    pub(super) fn observe(
        &mut self,
        seen: u64,
        observed: &Observed,
        desk: &Desk<'_>,
    ) -> Result<u64, ReleaseRefusal> {
        let left = self.pointer.as_ref().map(|pointer| pointer.choice.active);
        let next = self.next_progress(desk.at, observed);
        let mut taken_back = None;
        let epoch = self.turn(Some(seen), desk, |pointer| {
            let next = next.ok_or(ReleaseRefusal::NothingToDo)?;
            let rollout = pointer.rollout_mut()?;
            rollout.progress = next;
            if matches!(next, Progress::RolledBack { .. }) {
                taken_back = Some(rollout.candidate);
            }
            if next == Progress::Complete {
                pointer.choice.active = rollout.candidate;
            }
            Ok(())
        })?;
        let now = self.pointer.as_ref().map(|pointer| pointer.choice.active);
        if let (Some(left), Some(now)) = (left, now) {
            self.leave(left, now);
        }
        taken_back.into_iter().for_each(|candidate| self.take_back(candidate));
        // Let go of by its guards, it is in whatever stage the author has reached meanwhile.
        if self.author().is_some() { self.follow(desk) } else { Ok(epoch) }
    }

    pub(super) fn pause(
        &mut self,
        seen: Option<u64>,
        desk: &Desk<'_>,
    ) -> Result<u64, ReleaseRefusal> {
        self.turn(seen, desk, |pointer| {
            let rollout = pointer.rollout_mut()?;
            if rollout.is_paused {
                return Err(ReleaseRefusal::NothingToDo);
            }
            rollout.is_paused = true;
            Ok(())
        })
    }

    pub(super) fn resume(
        &mut self,
        seen: Option<u64>,
        desk: &Desk<'_>,
    ) -> Result<u64, ReleaseRefusal> {
        self.turn(seen, desk, |pointer| {
            pointer.is_free()?;
            let rollout = pointer.rollout_mut()?;
            if !rollout.is_paused {
                return Err(ReleaseRefusal::NothingToDo);
            }
            rollout.is_paused = false;
            if let Progress::Running { since, .. } = &mut rollout.progress {
                *since = desk.at;
            }
            Ok(())
        })?;
        self.follow(desk)
    }

    pub(super) fn abort(
        &mut self,
        seen: Option<u64>,
        desk: &Desk<'_>,
    ) -> Result<u64, ReleaseRefusal> {
        let mut candidate = None;
        let epoch = self.turn(seen, desk, |pointer| {
            let rollout = pointer.rollout_mut()?;
            rollout.progress = Progress::Aborted;
            candidate = Some(rollout.candidate);
            Ok(())
        })?;
        candidate.into_iter().for_each(|candidate| self.take_back(candidate));
        Ok(epoch)
    }

    pub(super) fn roll_back(
        &mut self,
        seen: Option<u64>,
        to: Option<u32>,
        desk: &Desk<'_>,
    ) -> Result<u64, ReleaseRefusal> {
        let pointer = self.pointer.as_ref().ok_or(ReleaseRefusal::NothingActive)?;
        let is_active = to.is_none_or(|to| to == pointer.choice.active);
        if is_active && pointer.under_way().is_some() {
            return self.abort(seen, desk);
        }
        // Whoever asks for it just after a guard has done it does not mean the version before that.
        let is_back = |rollout: &Rollout| {
            matches!(rollout.progress, Progress::RolledBack { .. } | Progress::Aborted)
        };
        if to.is_none() && pointer.rollout.as_ref().is_some_and(is_back) {
            return Err(ReleaseRefusal::NothingToDo);
        }
        let place = match to {
            None => self.past.len().checked_sub(1),
            Some(to) => self.past.iter().rposition(|past| *past == to),
        };
        let target = place.and_then(|place| Some((place, *self.past.get(place)?)));
        let (place, active) = target.ok_or(ReleaseRefusal::NeverActive)?;
        let left = pointer.choice.active;
        let epoch = self.turn(seen, desk, |pointer| {
            pointer.choice = Choice { active, shadow: None };
            pointer.rollout = None;
            Ok(())
        })?;
        // What decided after it is not gone back to.
        self.past.truncate(place);
        self.take_back(left);
        Ok(epoch)
    }

    pub(super) fn pin(
        &mut self,
        seen: Option<u64>,
        desk: &Desk<'_>,
    ) -> Result<u64, ReleaseRefusal> {
        self.turn(seen, desk, |pointer| {
            pointer.is_free()?;
            pointer.is_pinned = true;
            Ok(())
        })
    }

    pub(super) fn unpin(
        &mut self,
        seen: Option<u64>,
        desk: &Desk<'_>,
    ) -> Result<u64, ReleaseRefusal> {
        let is_free = self.author().is_none_or(|author| author.taken_back.is_empty());
        self.turn(seen, desk, |pointer| {
            if !pointer.is_pinned && is_free {
                return Err(ReleaseRefusal::NotPinned);
            }
            pointer.is_pinned = false;
            Ok(())
        })?;
        self.forgive();
        self.follow(desk)
    }

    /// The pointer as it is, at the epoch after the one that is named.
    pub(super) fn overtake(
        &mut self,
        seen: Option<u64>,
        past: u64,
        desk: &Desk<'_>,
    ) -> Result<u64, ReleaseRefusal> {
        self.turn(seen, desk, |pointer| {
            let ahead = past.checked_sub(pointer.epoch).ok_or(ReleaseRefusal::NothingToDo)?;
            if ahead > OVERTAKEN_MAX {
                return Err(ReleaseRefusal::TooFar);
            }
            pointer.epoch = past;
            Ok(())
        })
    }

    /// Changes the pointer, whole or not at all, and gives it its next epoch.
    pub(super) fn turn(
        &mut self,
        seen: Option<u64>,
        desk: &Desk<'_>,
        change: impl FnOnce(&mut Pointer) -> Result<(), ReleaseRefusal>,
    ) -> Result<u64, ReleaseRefusal> {
        let mut pointer = self.pointer.clone().ok_or(ReleaseRefusal::NothingActive)?;
        pointer.seen(seen)?;
        change(&mut pointer)?;
        pointer.epoch = pointer.epoch.checked_add(1).ok_or(ReleaseRefusal::Full)?;
        (pointer.by, pointer.at) = (desk.by.clone(), desk.at);
        let epoch = pointer.epoch;
        self.pointer = Some(pointer);
        Ok(epoch)
    }

    /// Remembers what decided until now.
    pub(super) fn leave(&mut self, left: u32, now: u32) {
        if left != now {
            self.past.retain(|past| *past != left && *past != now);
            self.past.push(left);
            let over = self.past.len().saturating_sub(PAST_MAX);
            self.past.drain(..over);
        }
    }
}
