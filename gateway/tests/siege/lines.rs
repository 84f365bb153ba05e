//! A line as the control API shows it, and all that was seen of it, by epoch.
//!
//! Not here: who looked (`reads`, `rollouts`). Invariant: of one epoch everybody is shown the same, whichever voter answers and
//! however late: whatever a voter shows was once agreed on.

use std::collections::BTreeMap;

use aegis_linear::{Candidate, Pointed, Stand};
use aegis_policy_rollout::Stage;
use serde::Deserialize;
use serde_json::Value;

use crate::stage::Instants;

/// What one look showed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct View {
    pub(crate) epoch: u64,
    pub(crate) active: u32,
    pub(crate) past: Vec<u32>,
    pub(crate) rollout: Option<Rollout>,
    pub(crate) by: String,
    pub(crate) at: jiff::Timestamp,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Rollout {
    pub(crate) id: String,
    pub(crate) candidate: u32,
    pub(crate) stages: Vec<Stage>,
    pub(crate) state: String,
    pub(crate) paused: bool,
    pub(crate) stage: Option<usize>,
    pub(crate) since: Option<jiff::Timestamp>,
}

impl View {
    pub(crate) fn of(body: &Value) -> Option<Self> {
        serde_json::from_value(body.clone()).ok()
    }

    /// The same, as the model of a line has it.
    pub(crate) fn pointed(&self) -> Pointed {
        let rollout = self.rollout.as_ref().map(|it| Candidate {
            begun: it.id.rsplit('.').next().unwrap().parse().unwrap(),
            version: it.candidate,
            stand: it.stand(),
            is_paused: it.paused,
        });
        Pointed { epoch: self.epoch, active: self.active, past: self.past.clone(), rollout }
    }
}

impl Rollout {
    pub(crate) fn stand(&self) -> Stand {
        match (self.state.as_str(), self.stage) {
            ("running", Some(stage)) => Stand::Running(stage),
            ("held", Some(stage)) => Stand::Held(stage),
            ("complete", None) => Stand::Complete,
            ("rolled_back", None) => Stand::RolledBack,
            ("aborted", None) => Stand::Aborted,
            other => panic!("{other:?} is no state of a rollout"),
        }
    }
}

/// What was seen of one line.
#[derive(Debug, Default)]
pub(crate) struct Chronicle {
    pub(crate) views: BTreeMap<u64, View>,
    /// The last instant at which an epoch was not yet, as far as is known.
    not_yet: BTreeMap<u64, u64>,
    /// The first instant at which it was.
    known: BTreeMap<u64, u64>,
}

impl Chronicle {
    /// Somebody asked and was shown this.
    pub(crate) fn note(&mut self, view: View, asked: Instants, is_agreed: bool) {
        let first = self.known.entry(view.epoch).or_insert(asked.heard);
        *first = (*first).min(asked.heard);
        if is_agreed {
            self.was_not(view.epoch + 1, asked.called);
        }
        let known = self.views.entry(view.epoch).or_insert_with(|| view.clone());
        assert_eq!(*known, view, "two lines at one epoch");
    }

    /// An epoch had not come about at this instant.
    pub(crate) fn was_not(&mut self, epoch: u64, instant: u64) {
        let last = self.not_yet.entry(epoch).or_insert(instant);
        *last = (*last).max(instant);
    }

    /// Whether a line may have been at an epoch at some time up to this instant.
    pub(crate) fn may_be(&self, epoch: u64, instant: u64) -> bool {
        self.not_yet.range(..=epoch).all(|(_, not_yet)| *not_yet <= instant)
    }

    /// Since when an epoch is known to be over.
    pub(crate) fn over_since(&self, epoch: u64) -> Option<u64> {
        self.known.range(epoch + 1..).map(|(_, known)| *known).min()
    }
}
