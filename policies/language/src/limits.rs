//! How much one set may hold in all, whatever the number of its files.
//!
//! Not here: limits that a single text, list, tool or pattern meets by itself; those are where it is read.
//! Invariant: nothing is compiled before it is counted, so that no set can keep a reader busy.

use std::collections::BTreeSet;

use crate::{PolicySet, Tool, pattern};
use aegis_document::Diagnostics;

const TOOLS_MAX: usize = 200;
const RULES_MAX: usize = 2_000;
const EXCEPTIONS_MAX: usize = 1_000;
/// A pattern takes up to a few milliseconds to compile.
const PATTERNS_MAX: usize = 1_000;

/// Whether the set may be looked at further; if not, it was reported why.
pub(crate) fn are_kept(set: &PolicySet, found: &mut Diagnostics) -> bool {
    let mut rules = set.tools.values().flat_map(|tool| &tool.rules);
    let over = [
        ("tools", TOOLS_MAX, set.tools.values().nth(TOOLS_MAX).map(|tool| &tool.at)),
        ("rules", RULES_MAX, rules.nth(RULES_MAX).map(|rule| &rule.at)),
        (
            "exceptions",
            EXCEPTIONS_MAX,
            set.all_exceptions().nth(EXCEPTIONS_MAX).map(|exception| &exception.at),
        ),
    ];
    let mut kept = true;
    for (what, most, at) in over {
        if let Some(at) = at {
            found.report(at, format!("a set has at most {most} {what}"), None);
            kept = false;
        }
    }
    kept && are_small(set, found)
}

/// Compiles each pattern once, unless there are too many.
fn are_small(set: &PolicySet, found: &mut Diagnostics) -> bool {
    let mut distinct = BTreeSet::new();
    for param in set.tools.values().flat_map(|tool: &Tool| tool.params.values()) {
        let Some(text) = param.pattern.as_deref().filter(|text| distinct.insert(*text)) else {
            continue;
        };
        if distinct.len() > PATTERNS_MAX {
            let message = format!("a set has at most {PATTERNS_MAX} different patterns");
            found.report(&param.at, message, None);
            return false;
        }
        if let Err(error) = pattern::compiles(text) {
            found.report(&param.at, format!("`pattern`: {error}"), None);
        }
    }
    true
}
