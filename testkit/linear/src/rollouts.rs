//! A line whose versions come into force at once or by stages: a pointer, a rollout under way, and what decided before.
//!
//! Not here: the ledger, whose lines these are, and how long a stage lasts, which no order of calls says. Invariant: a voter that
//! drives rollouts is one more client whose calls nobody hears; a candidate that its guard must stop gains nobody.

use std::collections::BTreeSet;

use crate::history::Model;

/// How many versions back a rollback may lead.
const PAST_MAX: usize = 5;

/// A line, how many stages each of its rollouts has, and which candidates a guard takes back.
#[derive(Clone, Debug, Default)]
pub struct Line {
    pub stages: usize,
    pub unfit: BTreeSet<u32>,
}

/// What a look shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pointed {
    pub epoch: u64,
    pub active: u32,
    pub past: Vec<u32>,
    /// The last one, until another version is put into force.
    pub rollout: Option<Candidate>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// The epoch that it was started on, which no two have in common.
    pub begun: u64,
    pub version: u32,
    pub stand: Stand,
    pub is_paused: bool,
}

/// How far a rollout has come; stages count from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stand {
    Running(usize),
    Held(usize),
    Complete,
    RolledBack,
    Aborted,
}

impl Stand {
    fn stage(self) -> Option<usize> {
        match self {
            Stand::Running(stage) | Stand::Held(stage) => Some(stage),
            Stand::Complete | Stand::RolledBack | Stand::Aborted => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineCall {
    Look,
    /// Puts a version into force, from the epoch that was seen.
    Activate {
        seen: u64,
        to: u32,
    },
    Start {
        seen: u64,
        candidate: u32,
    },
    Pause,
    Resume,
    Abort,
    RollBack,
    /// What voters do by themselves, from the epoch that they saw.
    Drive {
        seen: u64,
        to: Drive,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drive {
    /// The next stage, or the end.
    On,
    Hold,
    LetGo,
    Back,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineReply {
    At(Pointed),
    Done,
    /// It is not at the epoch that was seen.
    Moved,
    Refused(Why),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Runs,
    NoRollout,
    ActiveAlready,
    NothingToDo,
    NeverActive,
}

type Turned = Result<Pointed, LineReply>;

impl Pointed {
    fn under_way(&self) -> Option<(usize, &Candidate)> {
        let candidate = self.rollout.as_ref()?;
        Some((candidate.stand.stage()?, candidate))
    }

    fn seen(&self, seen: u64) -> Result<(), LineReply> {
        if seen == self.epoch { Ok(()) } else { Err(LineReply::Moved) }
    }

    /// The next epoch, with the rollout that is under way changed.
    fn turned(&self, change: impl FnOnce(&mut Candidate) -> Result<(), Why>) -> Turned {
        let mut next = self.clone();
        let under_way = next.rollout.as_mut().filter(|it| it.stand.stage().is_some());
        let candidate = under_way.ok_or(LineReply::Refused(Why::NoRollout))?;
        change(candidate).map_err(LineReply::Refused)?;
        Ok(next.later())
    }

    fn later(mut self) -> Self {
        self.epoch = self.epoch.saturating_add(1);
        self
    }

    /// Another version is active; what was is gone back to.
    fn put(&mut self, to: u32) {
        let left = std::mem::replace(&mut self.active, to);
        if left != to {
            self.past.retain(|past| *past != left && *past != to);
            self.past.push(left);
            let over = self.past.len().saturating_sub(PAST_MAX);
            self.past.drain(..over);
        }
    }

    fn activate(&self, seen: u64, to: u32) -> Turned {
        self.seen(seen)?;
        let mut next = self.clone();
        if self.epoch == 0 {
            next.active = to
        } else {
            next.put(to)
        }
        next.rollout = None;
        Ok(next.later())
    }

    fn start(&self, seen: u64, version: u32) -> Turned {
        self.seen(seen)?;
        if self.under_way().is_some() {
            return Err(LineReply::Refused(Why::Runs));
        }
        if self.active == version {
            return Err(LineReply::Refused(Why::ActiveAlready));
        }
        let mut next = self.clone();
        let (begun, stand) = (self.epoch, Stand::Running(0));
        next.rollout = Some(Candidate { begun, version, stand, is_paused: false });
        Ok(next.later())
    }

    fn pause(&self, is_paused: bool) -> Turned {
        self.turned(|candidate| {
            let was_paused = std::mem::replace(&mut candidate.is_paused, is_paused);
            if was_paused == is_paused { Err(Why::NothingToDo) } else { Ok(()) }
        })
    }

    fn abort(&self) -> Turned {
        self.turned(|candidate| {
            candidate.stand = Stand::Aborted;
            Ok(())
        })
    }

    fn roll_back(&self) -> Turned {
        if self.under_way().is_some() {
            return self.abort();
        }
        let ended = self.rollout.as_ref().map(|candidate| candidate.stand);
        if matches!(ended, Some(Stand::RolledBack | Stand::Aborted)) {
            return Err(LineReply::Refused(Why::NothingToDo));
        }
        let mut next = self.clone();
        next.active = next.past.pop().ok_or(LineReply::Refused(Why::NeverActive))?;
        next.rollout = None;
        Ok(next.later())
    }
}

impl Line {
    fn drive(&self, at: &Pointed, (seen, to): (u64, Drive)) -> Turned {
        at.seen(seen)?;
        let nothing = || LineReply::Refused(Why::NothingToDo);
        let (stage, candidate) = at.under_way().ok_or_else(nothing)?;
        let is_unfit = self.unfit.contains(&candidate.version);
        let is_running = candidate.stand == Stand::Running(stage);
        let next = stage.saturating_add(1);
        let stand = match to {
            Drive::On if !is_running || candidate.is_paused || is_unfit => None,
            Drive::On if next >= self.stages => Some(Stand::Complete),
            Drive::On => Some(Stand::Running(next)),
            Drive::Hold => is_running.then_some(Stand::Held(stage)),
            Drive::LetGo => (!is_running).then_some(Stand::Running(stage)),
            Drive::Back => is_unfit.then_some(Stand::RolledBack),
        };
        let stand = stand.ok_or_else(nothing)?;
        let version = candidate.version;
        let mut driven = at.turned(|candidate| {
            candidate.stand = stand;
            Ok(())
        })?;
        if stand == Stand::Complete {
            driven.put(version);
        }
        Ok(driven)
    }
}

impl Model for Line {
    type State = Pointed;
    type Call = LineCall;
    type Reply = LineReply;

    fn first(&self) -> Pointed {
        Pointed::default()
    }

    fn step(&self, at: &Pointed, call: &LineCall, reply: Option<&LineReply>) -> Option<Pointed> {
        let turned = match call {
            LineCall::Look => Err(LineReply::At(at.clone())),
            LineCall::Activate { seen, to } => at.activate(*seen, *to),
            LineCall::Start { seen, candidate } => at.start(*seen, *candidate),
            LineCall::Pause => at.pause(true),
            LineCall::Resume => at.pause(false),
            LineCall::Abort => at.abort(),
            LineCall::RollBack => at.roll_back(),
            LineCall::Drive { seen, to } => self.drive(at, (*seen, *to)),
        };
        let (after, said) = match turned {
            Ok(after) => (after, LineReply::Done),
            Err(said) => (at.clone(), said),
        };
        reply.is_none_or(|reply| *reply == said).then_some(after)
    }
}
