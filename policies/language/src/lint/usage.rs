//! What is declared and never used, and tools that anyone may call.
//!
//! Not here: names that are used and not declared, which are errors (`check`). Invariant: whatever is named
//! as unused can be deleted and the set still reads and means the same.

use std::collections::BTreeSet;

use super::finding::{Code, Findings};
use crate::{Condition, Declared, ListRef, Name, PolicySet, RuleEffect, Test, Tool};

pub(super) fn unused(set: &PolicySet, found: &mut Findings) {
    let mut used = BTreeSet::new();
    set.tools.values().for_each(|tool| uses(tool, &mut used));
    for ((declared, name), at) in &set.places {
        if !used.contains(&(*declared, name)) {
            let message = format!("the {} `{name}` is never used", declared.as_str());
            found.add(Code::Unused, at, message, "remove it, or use it");
        }
    }
}

fn uses<'s>(tool: &'s Tool, used: &mut BTreeSet<(Declared, &'s Name)>) {
    let mut list = |list: &'s ListRef| {
        if let ListRef::Named { name, .. } = list {
            used.insert((Declared::List, name));
        }
    };
    list(&tool.matching.hosts);
    tool.allow.groups.iter().for_each(&mut list);
    tool.params.values().filter_map(|param| param.one_of.as_ref()).for_each(&mut list);
    for rule in &tool.rules {
        match &rule.effect {
            RuleEffect::Deny { .. } => {}
            RuleEffect::ApprovalNeeded { approval } => {
                used.insert((Declared::Approval, approval));
            }
            RuleEffect::Sanitize { obligation } => {
                used.insert((Declared::Obligation, obligation));
            }
        }
        rule.when.walk(&mut |part| match part {
            Condition::Leaf { test: Test::In(ListRef::Named { name, .. }), .. } => {
                used.insert((Declared::List, name));
            }
            Condition::Calendar { name, .. } => {
                used.insert((Declared::Calendar, name));
            }
            Condition::Always
            | Condition::All(_)
            | Condition::Any(_)
            | Condition::Not(_)
            | Condition::Dlp(_)
            | Condition::Money { .. }
            | Condition::Leaf { .. } => {}
        });
    }
}

/// A tool that asks for neither a group nor a scope.
pub(super) fn open_tools(set: &PolicySet, found: &mut Findings) {
    for (name, tool) in &set.tools {
        if tool.allow.groups.is_none() && tool.allow.scopes.is_empty() {
            let message = format!("every agent of the tenant may call `{name}`");
            let help = "name the groups or scopes that may, under `allow`";
            found.add(Code::OpenTool, &tool.at, message, help);
        }
    }
}
