//! What is legal but unwise, found before anyone runs it.
//!
//! Not here: errors (`check`) and the reasoning (`truth`). Invariant: what is said of a rule is proved for every call
//! that the checks of its tool let through; what cannot be proved is not said.

mod finding;
mod overlap;
mod rules;
mod usage;

pub use finding::{Code, Finding, Findings};

use crate::truth::{Calls, Effort};
use aegis_policy_language::PolicySet;
use rules::Examination;

/// Everything that is worth a second look, by position.
pub fn findings(set: &PolicySet) -> Findings {
    let mut found = Findings::default();
    let effort = Effort::new();
    for tool in set.tools.values() {
        let calls = Calls::of(set, tool, &effort);
        Examination { set, tool, calls, found: &mut found }.run();
    }
    overlap::overlaps(set, &mut found);
    usage::unused(set, &mut found);
    usage::open_tools(set, &mut found);
    found.sorted()
}
