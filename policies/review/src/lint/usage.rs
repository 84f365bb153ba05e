//! What is declared and never used, and tools that anyone may call.
//!
//! Not here: names that are used and not declared, which are errors (`check`). Invariant: whatever is named
//! as unused can be deleted and the set still reads and means the same.

use std::collections::BTreeSet;

use super::finding::{Code, Findings};
use aegis_policy_language::{
    Condition, ContextFact, Declared, ListRef, Name, PolicySet, RuleEffect, Subject, Test, Tool,
};

pub(super) fn unused(set: &PolicySet, found: &mut Findings) {
    let mut used = BTreeSet::new();
    set.tools.values().for_each(|tool| uses(tool, &mut used));
    set.all_exceptions().for_each(|exception| in_condition(&exception.when, &mut used));
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
    used.extend(tool.named_lists().map(|(_, name)| (Declared::List, name)));
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
        in_condition(&rule.when, used);
    }
}

fn in_condition<'s>(condition: &'s Condition, used: &mut BTreeSet<(Declared, &'s Name)>) {
    condition.walk(&mut |part| {
        if let Condition::Leaf { test: Test::In(ListRef::Named { name, .. }), .. } = part {
            used.insert((Declared::List, name));
        }
        if let Condition::Calendar { name, .. }
        | Condition::Leaf { subject: Subject::Context(ContextFact::Calendar(name)), .. } = part
        {
            used.insert((Declared::Calendar, name));
        }
    });
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
