//! The module of one tool: three clean rules, the decision ladder, the detail sets, the named conditions.
//!
//! Not here: what the conditions are made of. Invariant: order in the policy file does not matter; the ladder is
//! deny, approval_needed, sanitize, allow, and each step depends on rule names only.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use aegis_domain::ToolName;
use sha2::{Digest as _, Sha256};

use super::Module;
use super::conditions::{Lines, Lowering};
use super::data::Sets;
use aegis_document::Location;
use aegis_policy_language::canonical;
use aegis_policy_language::{Mode, PolicySet, Rule, RuleEffect, Tool};

/// What the rules of a tool become, by effect.
#[derive(Debug, Default)]
struct Details {
    deny_clean: Lines,
    approval_clean: Lines,
    sanitize_clean: Lines,
    /// `<set> contains "<member>" if <lines>`, in the order of the file.
    members: Vec<(&'static str, String, String, Location)>,
}

/// The detail sets, in the order in which they are written.
const DETAILS: [&str; 6] = [DENY, APPROVAL, SANITIZE, OBLIGATIONS, APPROVALS, WOULD];
const DENY: &str = "deny";
const APPROVAL: &str = "approval";
const SANITIZE: &str = "sanitize";
const OBLIGATIONS: &str = "obligations";
const APPROVALS: &str = "approvals";
const WOULD: &str = "would";

pub(super) fn tool_module(
    set: &PolicySet,
    (name, tool): (&ToolName, &Tool),
    sets: &mut Sets,
) -> Module {
    let mut lowering = Lowering { set, name, tool, sets, named: Vec::new() };
    let mut details = Details::default();
    for check in lowering.checks() {
        let condition = lowering.name_of(&check.at, check.lines.clone());
        details.deny_clean.extend(check.lines);
        details.add(DENY, &check.reason, &format!("not {condition}"), &check.at);
    }
    for rule in &tool.rules {
        details.rule(rule, &mut lowering);
    }
    let declared = lowering.declared_params();
    let package = format!("aegis.tool.{}", aegis_policy_language::package_of(name));
    let mut writer = Writer::default();
    writer.line(&format!(
        "# Compiled by Aegis from the tool {name}. Change the policy, not this file."
    ));
    writer.line(&format!("package {package}"));
    writer.clean("deny_clean", &details.deny_clean);
    writer.clean("approval_clean", &details.approval_clean);
    writer.clean("sanitize_clean", &details.sanitize_clean);
    writer.line(DECISION);
    writer.details(&details);
    writer.line(&format!("\ndeclared(k) if {declared}[k]\n\nnot_declared(k) if not declared(k)"));
    for named in &lowering.named {
        for body in &named.bodies {
            writer.origin(&named.at);
            writer.rule(&named.name, body);
        }
    }
    Module {
        path: file_of(&aegis_policy_language::package_of(name)),
        package,
        source: writer.text,
        source_map: writer.source_map,
    }
}

/// The file of a tool's module. A tar header has room for 100 bytes, so a long name is cut and told apart by a digest;
/// no package has a dash.
fn file_of(package: &str) -> String {
    let digest = canonical::hex(&Sha256::digest(package));
    match (package.get(..PACKAGE_BYTES_MAX), digest.get(..16)) {
        (Some(begin), Some(digest)) => format!("aegis/tool/{begin}-{digest}.rego"),
        (None, _) | (_, None) => format!("aegis/tool/{package}.rego"),
    }
}

const PACKAGE_BYTES_MAX: usize = 60;

impl Details {
    fn add(&mut self, detail: &'static str, member: &str, when: &str, at: &Location) {
        self.members.push((detail, member.to_owned(), when.to_owned(), at.clone()));
    }

    fn rule(&mut self, rule: &Rule, lowering: &mut Lowering<'_>) {
        let lines = lowering.condition(&rule.when, &rule.at);
        let fires = lowering.name_of(&rule.at, lines);
        let (id, at) = (rule.id.as_str(), &rule.at);
        match (rule.mode, &rule.effect) {
            (Mode::Shadow, _) => self.add(WOULD, id, &fires, at),
            (Mode::Enforce, RuleEffect::Deny { .. }) => {
                self.deny_clean.push(format!("not {fires}"));
                self.add(DENY, id, &fires, at);
            }
            (Mode::Enforce, RuleEffect::ApprovalNeeded { approval }) => {
                let granted = format!("input.context.approved[{}] == true", canonical::string(id));
                let granted = lowering.name(at, vec![vec![granted]]);
                let pending = lowering.name(at, vec![vec![fires, format!("not {granted}")]]);
                self.approval_clean.push(format!("not {pending}"));
                self.add(APPROVAL, id, &pending, at);
                self.add(APPROVALS, approval.as_str(), &pending, at);
            }
            (Mode::Enforce, RuleEffect::Sanitize { obligation }) => {
                self.sanitize_clean.push(format!("not {fires}"));
                self.add(SANITIZE, id, &fires, at);
                self.add(OBLIGATIONS, obligation.as_str(), &fires, at);
            }
        }
    }
}

/// The same for every tool; `linter` knows it by heart.
pub(super) const DECISION: &str = r#"
decision := {"effect": "deny", "rules": deny, "obligations": [], "approvals": [], "would": would} if {
	not deny_clean
} else := {"effect": "approval_needed", "rules": approval, "obligations": obligations, "approvals": approvals, "would": would} if {
	not approval_clean
} else := {"effect": "sanitize", "rules": sanitize, "obligations": obligations, "approvals": [], "would": would} if {
	not sanitize_clean
} else := {"effect": "allow", "rules": [], "obligations": [], "approvals": [], "would": would} if {
	true
}"#;

/// Rego text in the making.
#[derive(Debug, Default)]
struct Writer {
    text: String,
    lines: usize,
    source_map: Vec<(usize, Location)>,
}

impl Writer {
    fn line(&mut self, line: &str) {
        // Writing to a string cannot fail.
        let _infallible = writeln!(self.text, "{line}");
        self.lines = self.lines.saturating_add(line.split('\n').count());
    }

    /// Says where the next rule comes from, in a comment and in the source map. Folders are left out, so that the
    /// bundle does not depend on where the policy lay.
    fn origin(&mut self, at: &Location) {
        let file = at.file.rsplit(['/', '\\']).next().unwrap_or_default();
        let file: String = file.chars().filter(|c| !c.is_control()).take(80).collect();
        self.line(&format!("\n# {file}:{}", at.position.line));
        self.source_map.push((self.lines.saturating_add(1), at.clone()));
    }

    fn rule(&mut self, head: &str, body: &Lines) {
        self.line(&format!("{head} if {{"));
        for line in body {
            self.line(&format!("\t{line}"));
        }
        self.line("}");
    }

    fn clean(&mut self, head: &str, body: &Lines) {
        self.line("");
        let mut body = body.clone();
        if body.is_empty() {
            body.push("true".to_owned());
        }
        self.rule(head, &body);
    }

    fn details(&mut self, details: &Details) {
        for set in DETAILS {
            let mut written = BTreeSet::new();
            for (_, member, when, at) in details.members.iter().filter(|(of, ..)| *of == set) {
                if !written.insert((member, when)) {
                    continue;
                }
                self.origin(at);
                self.line(&format!("{set} contains {} if {when}", canonical::string(member)));
            }
            if written.is_empty() {
                self.line(&format!("\n{set} := set()"));
            }
        }
    }
}
