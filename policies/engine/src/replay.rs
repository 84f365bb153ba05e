//! What another policy version would have decided: the classes of differences, and their count by agent and tool.
//!
//! Not here: where recorded calls come from (`cli`). Invariant: a tally does not depend on the order of what is added, so
//! threads may count apart and be put together.

use std::collections::{BTreeMap, BTreeSet};

use aegis_domain::{AgentId, DecisionId, Effect, Obligation, ToolName};

/// How a call would have fared otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Impact {
    /// Denied before, let through now: the one to look at first.
    NewlyAllowed,
    NewlyDenied,
    /// A person would be asked who was not.
    NewlyHeld,
    /// Nobody would be asked any more.
    NoLongerHeld,
    /// Let through both times, with other things done to the body.
    ObligationsChanged,
}

/// What was decided, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub struct Before<'a> {
    pub effect: Effect,
    /// `None` where only the effect is on record.
    pub obligations: Option<&'a [Obligation]>,
}

impl Impact {
    pub const ALL: [Impact; 5] = [
        Impact::NewlyAllowed,
        Impact::NewlyDenied,
        Impact::NewlyHeld,
        Impact::NoLongerHeld,
        Impact::ObligationsChanged,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Impact::NewlyAllowed => "newly_allowed",
            Impact::NewlyDenied => "newly_denied",
            Impact::NewlyHeld => "newly_held",
            Impact::NoLongerHeld => "no_longer_held",
            Impact::ObligationsChanged => "obligations_changed",
        }
    }

    /// The difference between what was decided and what would be; `None` when it is all the same.
    pub fn between(before: Before<'_>, effect: Effect, obligations: &[Obligation]) -> Option<Self> {
        match (before.effect, effect) {
            (Effect::Deny, Effect::Deny) => None,
            (_, Effect::Deny) => Some(Impact::NewlyDenied),
            (Effect::ApprovalNeeded, Effect::ApprovalNeeded) => None,
            (_, Effect::ApprovalNeeded) => Some(Impact::NewlyHeld),
            (Effect::Deny, Effect::Allow | Effect::Sanitize) => Some(Impact::NewlyAllowed),
            (Effect::ApprovalNeeded, Effect::Allow | Effect::Sanitize) => {
                Some(Impact::NoLongerHeld)
            }
            (was @ (Effect::Allow | Effect::Sanitize), Effect::Allow | Effect::Sanitize) => {
                let same = was == effect && before.obligations.is_none_or(|was| was == obligations);
                (!same).then_some(Impact::ObligationsChanged)
            }
        }
    }
}

/// Whose calls are counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub impact: Impact,
    pub agent: Option<AgentId>,
    pub tool: ToolName,
}

/// How many, and a few of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    pub calls: u64,
    /// The earliest, by id.
    pub examples: BTreeSet<DecisionId>,
}

/// Differences by class, agent and tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    pub rows: BTreeMap<Key, Row>,
    examples_max: usize,
}

impl Tally {
    /// An empty one that remembers so many examples a row.
    pub fn new(examples_max: usize) -> Self {
        Self { rows: BTreeMap::new(), examples_max }
    }

    pub fn add(&mut self, key: Key, id: DecisionId) {
        let row = self.rows.entry(key).or_default();
        row.calls = row.calls.saturating_add(1);
        row.examples.insert(id);
        if row.examples.len() > self.examples_max {
            row.examples.pop_last();
        }
    }

    /// Takes over what was counted elsewhere.
    pub fn merge(&mut self, other: Tally) {
        for (key, counted) in other.rows {
            let row = self.rows.entry(key).or_default();
            row.calls = row.calls.saturating_add(counted.calls);
            row.examples.extend(counted.examples);
            while row.examples.len() > self.examples_max {
                row.examples.pop_last();
            }
        }
    }

    /// The calls of one class.
    pub fn count(&self, impact: Impact) -> u64 {
        let rows = self.rows.iter().filter(|(key, _)| key.impact == impact);
        rows.map(|(_, row)| row.calls).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EFFECTS: [Effect; 4] =
        [Effect::Allow, Effect::Sanitize, Effect::ApprovalNeeded, Effect::Deny];

    #[test]
    fn every_change_of_effect_has_a_class_and_no_change_has_none() {
        for before in EFFECTS {
            for after in EFFECTS {
                let was = Before { effect: before, obligations: None };
                let impact = Impact::between(was, after, &[]);
                assert_eq!(impact.is_none(), before == after, "{before:?} {after:?}");
            }
        }
        let was = Before { effect: Effect::Deny, obligations: None };
        assert_eq!(Impact::between(was, Effect::Sanitize, &[]), Some(Impact::NewlyAllowed));
        assert_eq!(Impact::between(was, Effect::ApprovalNeeded, &[]), Some(Impact::NewlyHeld));
    }

    #[test]
    fn other_obligations_count_where_both_are_known() {
        let now = [Obligation::StripAttachments];
        let known = Before { effect: Effect::Sanitize, obligations: Some(&[]) };
        assert_eq!(
            Impact::between(known, Effect::Sanitize, &now),
            Some(Impact::ObligationsChanged)
        );
        let unknown = Before { obligations: None, ..known };
        assert_eq!(Impact::between(unknown, Effect::Sanitize, &now), None);
    }

    #[test]
    fn tallies_put_together_are_the_tally_of_all() {
        let key = |tool: &str| Key {
            impact: Impact::NewlyDenied,
            agent: None,
            tool: tool.parse().unwrap(),
        };
        let ids: Vec<DecisionId> = (0..20).map(|at| DecisionId::new(at, [1; 10])).collect();
        let mut all = Tally::new(3);
        let (mut left, mut right) = (Tally::new(3), Tally::new(3));
        for (at, id) in ids.iter().enumerate() {
            let tool = if at % 3 == 0 { "a" } else { "b" };
            all.add(key(tool), *id);
            if at % 2 == 0 { &mut left } else { &mut right }.add(key(tool), *id);
        }
        right.merge(left);
        assert_eq!(right, all);
        assert_eq!(all.count(Impact::NewlyDenied), 20);
        assert!(all.rows[&key("b")].examples.contains(&ids[1]));
    }
}
