//! Exceptions: who may do without which rules, until when, and who answers for it.
//!
//! Not here: whether one is in effect now (the host computes that from `expires`, as it does for calendars).
//! Invariant: an exception has an owner, a reason and an end, and names at least one rule.

use aegis_domain::{RuleId, Timestamp};

use crate::condition::{Condition, condition};
use crate::example::instant;
use crate::name::Text;
use aegis_document::{Location, Node, Problems};

/// Lifts deny and approval rules while it has not expired and its condition holds.
#[derive(Clone, Debug)]
pub struct Exception {
    pub at: Location,
    pub id: RuleId,
    pub owner: Text,
    pub reason: Text,
    /// The first instant at which it no longer holds.
    pub expires: Timestamp,
    pub rules: Vec<RuleId>,
    pub when: Condition,
}

pub(crate) fn exception(node: &Node, problems: &mut Problems) -> Option<Exception> {
    let mut map = node.mapping(problems)?;
    let id = map.required("id", problems, Node::parsed);
    let owner = map.required("owner", problems, Node::parsed);
    let reason = map.required("reason", problems, Node::parsed);
    let expires = map.required("expires", problems, instant);
    let rules =
        map.required("rules", problems, |n, p| crate::tool::filled_list(n, p, Node::parsed));
    let when = map.get("when").map(|when| condition(when, problems));
    map.finish(problems);
    Some(Exception {
        at: problems.locate(node.position()),
        id: id?,
        owner: owner?,
        reason: reason?,
        expires: expires?,
        rules: rules?,
        when: when.unwrap_or(Some(Condition::Always))?,
    })
}
