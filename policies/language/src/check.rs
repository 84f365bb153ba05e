//! Whether a set is whole: every name in it is declared, every test fits its type, no two things share a name.
//!
//! Not here: what is legal but unwise (`policies/review`). Invariant: a set that passes lowers without further questions.

use std::collections::{BTreeMap, BTreeSet};

use aegis_domain::{CallKind, Effect, Host, Obligation, RuleId, ToolName};

use crate::condition::{Condition, ContextFact, Literal, Subject, Test};
use crate::tool::{Param, ParamKind, RuleEffect, Tool};
use crate::{Exception, ListRef, Name, PolicySet, Text};
use aegis_document::{Diagnostics, Location, nearest};

/// What the names of checks begin with; no rule may use them.
const RESERVED: [&str; 6] = ["schema.", "request.", "scope.", "agent.", "egress.", "facts."];

/// Each level is a call of one generated rule by another; engines recurse there, and a deep enough stack of them ends
/// the process.
const DEPTH_MAX: usize = 16;

pub(crate) fn names_and_types(set: &PolicySet, found: &mut Diagnostics) {
    packages(set, found);
    for (name, tool) in &set.tools {
        Checker { set, tool, found }.tool(name);
    }
    approvals(set, found);
    exceptions(set, found);
    for example in &set.examples {
        if !set.tools.contains_key(&example.tool) {
            let names = set.tools.keys().map(ToolName::as_str);
            undeclared("tool", example.tool.as_str(), names, &example.at, found);
        }
    }
}

/// Two tools must not become the same Rego package.
fn packages(set: &PolicySet, found: &mut Diagnostics) {
    let mut seen: BTreeMap<String, &ToolName> = BTreeMap::new();
    for (name, tool) in &set.tools {
        if let Some(other) = seen.insert(crate::rego_name::package_of(name), name) {
            let message = format!("the tools `{other}` and `{name}` differ only in punctuation");
            found.report(&tool.at, message, None);
        }
    }
}

/// The members of a named list; says so when there are none.
pub(crate) fn members<'l>(
    lists: &'l BTreeMap<Name, Vec<Text>>,
    name: &Name,
    at: &Location,
    found: &mut Diagnostics,
) -> &'l [Text] {
    let members = lists.get(name).map(Vec::as_slice);
    match members {
        Some([]) => {
            let message = format!("the list `{name}` is empty and matches nothing");
            found.report(at, message, None);
        }
        Some(_) => {}
        None => {
            undeclared("list", name.as_str(), lists.keys().map(Name::as_str), at, found);
        }
    }
    members.unwrap_or_default()
}

/// What an answer is bound to is a parameter of some tool that asks for it.
fn approvals(set: &PolicySet, found: &mut Diagnostics) {
    for (name, approval) in &set.approvals {
        let asks = |tool: &&Tool| {
            tool.rules.iter().any(|rule| {
                matches!(&rule.effect, RuleEffect::ApprovalNeeded { approval } if approval == name)
            })
        };
        let tools: Vec<&Tool> = set.tools.values().filter(asks).collect();
        let params = tools.iter().flat_map(|tool| tool.params.keys());
        let known: BTreeSet<&str> = params.map(Name::as_str).collect();
        for bound in approval.bind.iter().filter(|_| !tools.is_empty()) {
            if !known.contains(bound.as_str()) {
                let known = known.iter().copied();
                undeclared("parameter", bound.as_str(), known, &approval.at, found);
            }
        }
    }
}

/// Exceptions have names of their own, and those of the set name rules that some tool has.
fn exceptions(set: &PolicySet, found: &mut Diagnostics) {
    let mut seen: BTreeSet<&RuleId> = BTreeSet::new();
    for exception in set.all_exceptions() {
        if !seen.insert(&exception.id) {
            let message = format!("a second exception `{}` in this set", exception.id);
            found.report(&exception.at, message, None);
        }
    }
    let rules = set.tools.values().flat_map(|tool| &tool.rules);
    let known: BTreeSet<&str> = rules.map(|rule| rule.id.as_str()).collect();
    for exception in &set.exceptions {
        liftable(exception, &known, found);
    }
}

/// Reports what an exception names and no rule is.
fn liftable(exception: &Exception, known: &BTreeSet<&str>, found: &mut Diagnostics) {
    for rule in exception.rules.iter().map(RuleId::as_str) {
        if RESERVED.iter().any(|prefix| rule.starts_with(prefix)) {
            let message = format!("`{rule}` is a check; an exception lifts rules only");
            found.report(&exception.at, message, None);
        } else if !known.contains(&rule) {
            undeclared("rule", rule, known.iter().copied(), &exception.at, found);
        }
    }
}

/// The nearest known name is looked for only while somebody will read it.
fn undeclared<'k>(
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'k str>,
    at: &Location,
    found: &mut Diagnostics,
) {
    let known: Vec<&str> = if found.is_full() { Vec::new() } else { known.collect() };
    let help = nearest(name, &known).map(|known| format!("did you mean `{known}`?"));
    found.report(at, format!("there is no {what} `{name}`"), help);
}

struct Checker<'s> {
    set: &'s PolicySet,
    tool: &'s Tool,
    found: &'s mut Diagnostics,
}

impl Checker<'_> {
    fn tool(&mut self, name: &ToolName) {
        let (set, tool) = (self.set, self.tool);
        self.list(&tool.matching.hosts);
        for host in set.members(&tool.matching.hosts) {
            let plain = host.as_str().strip_prefix("*.").unwrap_or(host.as_str());
            if Host::parse(plain).is_err() {
                let message = format!("`{host}` is no host of the tool `{name}`");
                let help = "write `api.example.com`, or `*.example.com` for every name below it";
                self.found.report(&tool.at, message, Some(help.to_owned()));
            }
        }
        tool.allow.groups.iter().for_each(|groups| self.list(groups));
        for param in tool.matching.paths.iter().flat_map(|path| path.params()) {
            let kind = tool.params.get(param).map(|param| param.kind);
            if kind != Some(ParamKind::String) {
                let message = format!("`{{{param}}}` in a path needs a parameter of type string");
                self.found.report(&tool.at, message, None);
            }
        }
        tool.params.values().for_each(|param| self.param(param));
        self.rules();
        self.exceptions();
        if tool.matching.passes_through() {
            self.unseen();
        }
    }

    /// What cannot be said of a tunnel that nobody looks into.
    fn unseen(&mut self) {
        let tool = self.tool;
        if tool.class == CallKind::Read {
            let message = "an unopened tunnel may change anything, so its class is `write`";
            self.found.report(&tool.at, message, None);
        }
        if !tool.params.is_empty() {
            self.found.report(&tool.at, "an unopened tunnel has no parameters", None);
        }
        for rule in tool.rules.iter().filter(|rule| rule.level() == Effect::Sanitize) {
            self.found.report(&rule.at, "nothing can be taken out of an unopened tunnel", None);
        }
    }

    fn exceptions(&mut self) {
        let tool = self.tool;
        let known: BTreeSet<&str> = tool.rules.iter().map(|rule| rule.id.as_str()).collect();
        for exception in &tool.exceptions {
            liftable(exception, &known, self.found);
        }
        for exception in self.set.exceptions_of(tool) {
            let named = tool.rules.iter().filter(|rule| exception.rules.contains(&rule.id));
            for rule in named {
                if matches!(rule.effect, RuleEffect::Sanitize { .. }) {
                    let message = format!("`{}` sanitizes; an exception cannot lift that", rule.id);
                    self.found.report(&exception.at, message, None);
                }
            }
            self.conditions(&exception.when, &exception.at);
        }
    }

    fn conditions(&mut self, whole: &Condition, at: &Location) {
        if whole.depth() > DEPTH_MAX {
            let message = format!("conditions stand in each other at most {DEPTH_MAX} deep");
            self.found.report(at, message, None);
        }
        let mut parts = Vec::new();
        whole.walk(&mut |condition| parts.push(condition));
        parts.into_iter().for_each(|condition| self.condition(condition));
    }

    fn list(&mut self, list: &ListRef) {
        let ListRef::Named { name, at } = list else { return };
        members(&self.set.lists, name, at, self.found);
    }

    fn param(&mut self, param: &Param) {
        let numeric = matches!(param.kind, ParamKind::Integer | ParamKind::Number);
        let text = param.kind == ParamKind::String;
        let misplaced = [
            ("min", !numeric && param.min.is_some()),
            ("max", !numeric && param.max.is_some()),
            ("in", !text && param.one_of.is_some()),
            ("pattern", !text && param.pattern.is_some()),
            ("max_length", !text && param.max_length.is_some()),
        ];
        for (bound, _) in misplaced.iter().filter(|(_, misplaced)| *misplaced) {
            self.found.report(&param.at, format!("`{bound}` does not fit this type"), None);
        }
        param.one_of.iter().for_each(|list| self.list(list));
    }

    fn rules(&mut self) {
        let mut seen: BTreeSet<&RuleId> = BTreeSet::new();
        for rule in &self.tool.rules {
            if !seen.insert(&rule.id) {
                self.found.report(
                    &rule.at,
                    format!("a second rule `{}` in this tool", rule.id),
                    None,
                );
            }
            if RESERVED.iter().any(|prefix| rule.id.as_str().starts_with(prefix)) {
                let message = format!("`{}` begins like the name of a built-in check", rule.id);
                self.found.report(&rule.at, message, None);
            }
            match &rule.effect {
                RuleEffect::Deny { .. } => {}
                RuleEffect::ApprovalNeeded { approval } => {
                    self.declared("approval", approval, &self.set.approvals, &rule.at);
                }
                RuleEffect::Sanitize { obligation } => {
                    self.declared("obligation", obligation, &self.set.obligations, &rule.at);
                    self.keeps_envelope(obligation, &rule.at);
                }
            }
            self.conditions(&rule.when, &rule.at);
        }
    }

    /// The fields of an MCP call's body are those of its envelope, not the arguments that policy sees.
    fn keeps_envelope(&mut self, obligation: &Name, at: &Location) {
        let parts = self.set.obligations.get(obligation).map(Vec::as_slice).unwrap_or_default();
        let drops = parts.iter().any(|part| matches!(part, Obligation::KeepFields { .. }));
        if drops && self.tool.matching.mcp.is_some() {
            let message = format!("`{obligation}` would drop the envelope of an MCP call");
            let help = "`keep_fields` counts the outermost fields of the body only";
            self.found.report(at, message, Some(help.to_owned()));
        }
    }

    fn declared<V>(&mut self, what: &str, name: &Name, known: &BTreeMap<Name, V>, at: &Location) {
        if !known.contains_key(name) {
            undeclared(what, name.as_str(), known.keys().map(Name::as_str), at, self.found);
        }
    }

    fn condition(&mut self, condition: &Condition) {
        match condition {
            Condition::Calendar { name, at } => {
                self.declared("calendar", name, &self.set.calendars, at);
            }
            Condition::Leaf { subject, test, at } => {
                if let Test::In(list) = test {
                    self.list(list);
                }
                match subject {
                    Subject::Param(name) => {
                        self.declared("parameter", name, &self.tool.params, at);
                    }
                    Subject::Context(ContextFact::Calendar(name)) => {
                        self.declared("calendar", name, &self.set.calendars, at);
                    }
                    Subject::Agent(_)
                    | Subject::Request(_)
                    | Subject::Fact(_)
                    | Subject::Context(ContextFact::Money(_)) => {}
                }
                if let Some(kind) = self.kind_of(subject)
                    && !fits(test, kind)
                {
                    self.found.report(at, "the test does not fit the type of what it tests", None);
                }
            }
            Condition::Always
            | Condition::All(_)
            | Condition::Any(_)
            | Condition::Not(_)
            | Condition::Dlp(_)
            | Condition::Money { .. } => {}
        }
    }

    /// The type of a subject; attributes of agents have none that is known here.
    fn kind_of(&self, subject: &Subject) -> Option<ParamKind> {
        match subject {
            Subject::Param(name) => self.tool.params.get(name).map(|param| param.kind),
            Subject::Request(_) => Some(ParamKind::String),
            Subject::Fact(_) | Subject::Context(ContextFact::Money(_)) => Some(ParamKind::Integer),
            Subject::Context(ContextFact::Calendar(_)) => Some(ParamKind::Boolean),
            Subject::Agent(_) => None,
        }
    }
}

fn fits(test: &Test, kind: ParamKind) -> bool {
    let wanted = match test {
        Test::Compare(..)
        | Test::Equals(Literal::Number(_))
        | Test::Differs(Literal::Number(_)) => {
            return matches!(kind, ParamKind::Integer | ParamKind::Number);
        }
        Test::Equals(Literal::Bool(_)) | Test::Differs(Literal::Bool(_)) => ParamKind::Boolean,
        Test::Equals(Literal::Text(_))
        | Test::Differs(Literal::Text(_))
        | Test::In(_)
        | Test::Prefix(_)
        | Test::Suffix(_)
        | Test::Contains(_) => ParamKind::String,
    };
    kind == wanted
}
