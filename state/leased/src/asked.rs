//! The ids of decisions that the inner home was asked about, so that it is asked again.
//!
//! Not here: its answers. Invariant: a decision is paid for in one place, also when it is asked a second time; only a
//! retry that comes after `KEPT_MAX` others is not known as one.

use std::collections::{HashSet, VecDeque};

use aegis_domain::DecisionId;

const KEPT_MAX: usize = 1 << 16;

#[derive(Debug, Default)]
pub(crate) struct Asked {
    known: HashSet<DecisionId>,
    /// Oldest first.
    order: VecDeque<DecisionId>,
}

impl Asked {
    pub(crate) fn note(&mut self, id: DecisionId) {
        if !self.known.insert(id) {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > KEPT_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub(crate) fn knows(&self, id: &DecisionId) -> bool {
        self.known.contains(id)
    }
}
