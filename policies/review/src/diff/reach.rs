//! Whether a condition holds for more calls than it did.
//!
//! Not here: the reasoning (`truth`). Invariant: the answer is about the calls that the new checks of a tool let through,
//! and is said of a rule: to hold for more calls is stricter.

use aegis_policy_language::{Condition, PolicySet};

use super::change::Direction;
use crate::truth::{Calls, Claim};

pub(super) fn reach(
    calls: &Calls<'_>,
    (before, after): (&PolicySet, &PolicySet),
    (old, new): (&Condition, &Condition),
) -> Direction {
    let old = |holds| Claim { set: before, condition: old, holds };
    let new = |holds| Claim { set: after, condition: new, holds };
    match (calls.allow(&[old(true), new(false)]), calls.allow(&[old(false), new(true)])) {
        (false, false) => Direction::Neutral,
        (false, true) => Direction::Stricter,
        (true, false) => Direction::Looser,
        (true, true) => Direction::Unclear,
    }
}
