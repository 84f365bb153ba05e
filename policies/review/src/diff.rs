//! What changes when one version of a set follows another, and whether that lets more calls through or fewer.
//!
//! Not here: how a change is shown or who may make it. Invariant: a change says `Stricter` or `Looser` only when every
//! call gets at least, or at most, the effect it had; what cannot be told is `Unclear`. Rules are compared by what
//! their conditions mean, so writing one differently is no change.

mod change;
mod declared;
mod exception;
mod phrase;
mod reach;
mod tool;

pub use change::{Change, Direction};

use crate::truth::Effort;
use aegis_policy_language::PolicySet;
use change::Changes;

/// Every difference, tools first, by name.
pub fn between(old: &PolicySet, new: &PolicySet) -> Vec<Change> {
    let mut changes = Changes::default();
    if (&old.tenant, &old.env) != (&new.tenant, &new.env) {
        let message = format!("{}/{} becomes {}/{}", old.tenant, old.env, new.tenant, new.env);
        changes.add("metadata", message, Direction::Unclear, (None, None));
    }
    let effort = Effort::new();
    tool::tools((old, new), &effort, &mut changes);
    declared::declarations((old, new), &mut changes);
    exception::of_sets((old, new), &effort, &mut changes);
    changes.0
}
