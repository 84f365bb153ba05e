//! `aegisctl policy explain`: why does the policy say that to this call?
//!
//! Not here: finding out (`policies/engine`). Invariant: values of the call are shown: whoever asks brought them, or may
//! read the disclosures.

use std::path::PathBuf;

use aegis_document::Location;
use aegis_domain::{DecisionId, Effect, RuleId};
use aegis_policy::Reads;
use aegis_policy::cases::Scene;
use aegis_policy::explain::{
    CheckFinding, ExceptionFinding, Explanation, Finding, Reading, RuleFinding, Standing, Truth,
    explain, explain_projected,
};
use clap::{ArgGroup, Args};
use serde_json::{Value, json};

use super::call::{self, CallArgs};
use super::load::Policy;
use super::replay::recorded;
use crate::failure::{Exit, Failure};
use crate::home::Home;
use crate::screen::Screen;
use aegis_cli_sheet::Mood;

/// Say why: each check, each rule, each part of its condition, for one call.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("source").required(true).args(["tool", "call", "test", "decision"])))]
#[command(after_help = "\
Examples:
  aegisctl policy explain --test 'payouts: 4'
  aegisctl policy explain --tool example.read --group eng --dlp secret=1
  aegisctl policy explain --call call.yaml --policy policies/acme.yaml
  aegisctl policy explain --decision 01K9ZQ4T3X8E5R6Y7W2V1BNM0C
  aegisctl policy explain --test secrets -o json | jq '.rules[] | select(.standing == \"decides\")'")]
pub(super) struct ExplainArgs {
    /// The policy file; the only one that aegis.yaml enforces unless given.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// A call as in a test, without `expect`, in YAML or JSON; - is stdin.
    #[arg(long, value_name = "FILE")]
    call: Option<PathBuf>,
    /// A test of the policy, by its name or a part of it.
    #[arg(long, value_name = "NAME")]
    test: Option<String>,
    /// A decision of the audit log, while what the policy saw is still kept.
    #[arg(long, value_name = "ID", value_parser = DecisionId::parse)]
    decision: Option<DecisionId>,
    #[command(flatten)]
    options: CallArgs,
}

pub(super) fn run(args: &ExplainArgs, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    let policy = Policy::one(args.policy.as_deref(), home)?;
    let explained = match args.decision {
        Some(id) => {
            let (tool, input) = recorded::find(id, home, screen)?;
            explain_projected(&policy.set, &policy.snapshot, &tool, &input)
        }
        None => {
            let scene = scene(args, &policy)?;
            explain(&policy.set, &policy.snapshot, &scene.input())
        }
    };
    let explained = explained.map_err(|error| Failure::invalid("the explanation", error))?;
    if screen.is_json() {
        screen.json(&to_json(&explained))?;
    } else {
        let page = Page { policy: &policy, screen };
        screen.raw(page.text(&explained))?;
    }
    Ok(Exit::Ok)
}

fn scene(args: &ExplainArgs, policy: &Policy) -> Result<Scene, Failure> {
    match (&args.call, &args.test) {
        (Some(path), _) => call::from_file(path, policy),
        (None, Some(name)) => call::from_test(call::test_named(name, policy)?, policy),
        (None, None) => args.options.scene(policy),
    }
}

fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Quiet => "quiet",
        Standing::Decides => "decides",
        Standing::Outranked => "outranked",
        Standing::Approved => "approved",
        Standing::Excepted => "excepted",
        Standing::Shadow => "shadow",
    }
}

fn truth_word(truth: Truth) -> &'static str {
    match truth {
        Truth::True => "true",
        Truth::False => "false",
        Truth::Missing => "missing",
    }
}

/// What stands there, as far as the policy looked.
fn value_text(reading: &Reading) -> String {
    const SHOWN_MAX: usize = 80;
    match (&reading.value, reading.reads) {
        (None, _) => "is not there".to_owned(),
        (Some(Value::String(text)), Reads::Type) if text.is_empty() => "is a text".to_owned(),
        (Some(value), _) => {
            let text = value.to_string();
            let cut: String = text.chars().take(SHOWN_MAX).collect();
            let rest = if cut.len() < text.len() { ".." } else { "" };
            format!("= {cut}{rest}")
        }
    }
}

fn listed(ids: &[RuleId]) -> String {
    ids.iter().map(RuleId::as_str).collect::<Vec<_>>().join(", ")
}

/// The explanation for people.
struct Page<'a> {
    policy: &'a Policy,
    screen: &'a Screen,
}

impl Page<'_> {
    fn text(&self, explained: &Explanation) -> String {
        let mut lines = self.verdict(explained);
        if !explained.checks.is_empty() {
            lines.push("\nchecks".to_owned());
        }
        explained.checks.iter().for_each(|check| lines.extend(self.check(check)));
        if !explained.rules.is_empty() {
            lines.push("\nrules".to_owned());
        }
        explained.rules.iter().for_each(|rule| lines.extend(self.rule(rule)));
        if !explained.exceptions.is_empty() {
            lines.push("\nexceptions".to_owned());
        }
        explained.exceptions.iter().for_each(|it| lines.extend(self.exception(it)));
        lines.push(String::new());
        lines.join("\n")
    }

    fn verdict(&self, explained: &Explanation) -> Vec<String> {
        let outcome = &explained.outcome;
        let mood = match outcome.effect {
            Effect::Allow => Mood::Good,
            Effect::Sanitize | Effect::ApprovalNeeded => Mood::Doubtful,
            Effect::Deny => Mood::Bad,
        };
        let effect = self.screen.paint(mood, outcome.effect.as_str());
        let mut lines = vec![format!("{effect}  {}", listed(&outcome.rules)).trim_end().to_owned()];
        lines.extend(explained.tool.as_ref().map(|at| format!("  tool         {at}")));
        lines.extend(outcome.detail.iter().map(|detail| format!("  reason       {detail}")));
        lines.extend(outcome.obligations.iter().map(|it| format!("  obligation   {it:?}")));
        let approvals = &outcome.approval_routes;
        lines.extend(approvals.iter().map(|name| format!("  approval     {name}")));
        for (name, ids) in [("would", &outcome.would), ("exceptions", &outcome.exceptions)] {
            if !ids.is_empty() {
                lines.push(format!("  {name:<12} {}", listed(ids)));
            }
        }
        lines
    }

    fn check(&self, check: &CheckFinding) -> Vec<String> {
        let in_order = check.standing == Standing::Quiet;
        let (mood, state) = match (in_order, check.effect) {
            (true, _) => (Mood::Good, "ok"),
            (false, Effect::Deny) => (Mood::Bad, "DENIES"),
            (false, Effect::Allow | Effect::Sanitize | Effect::ApprovalNeeded) => {
                (Mood::Doubtful, "strips")
            }
        };
        let asks = check.broken.as_deref().unwrap_or(&check.asks);
        let readings = check.readings.iter();
        let readings: Vec<String> =
            readings.map(|it| format!("{} {}", it.path, value_text(it))).collect();
        let padded = format!("{state:<6}");
        let line = format!(
            "  {}  {:<24} {asks}  {}",
            self.screen.paint(mood, &padded),
            check.id,
            readings.join(", ")
        );
        let mut lines = vec![line.trim_end().to_owned()];
        if !in_order {
            lines.push(self.source(&check.at));
        }
        lines
    }

    fn rule(&self, rule: &RuleFinding) -> Vec<String> {
        let mood = match rule.standing {
            Standing::Quiet => Mood::Plain,
            Standing::Decides => Mood::Bad,
            Standing::Outranked | Standing::Approved | Standing::Excepted | Standing::Shadow => {
                Mood::Doubtful
            }
        };
        let state = format!("{:<9}", word(rule.standing));
        let state = self.screen.paint(mood, &state);
        let mut lines = vec![
            format!("  {state}  {}  {}", rule.id, rule.effect.as_str()),
            self.source(&rule.at),
        ];
        self.finding(&rule.condition, 8, &mut lines);
        lines
    }

    fn exception(&self, exception: &ExceptionFinding) -> Vec<String> {
        let state = if exception.holds { "holds    " } else { "does not " };
        let mood = if exception.holds { Mood::Doubtful } else { Mood::Plain };
        let state = self.screen.paint(mood, state);
        let mut lines = vec![
            format!("  {state}  {}  from {}", exception.id, listed(&exception.rules)),
            self.source(&exception.at),
        ];
        self.finding(&exception.condition, 8, &mut lines);
        lines
    }

    fn source(&self, at: &Location) -> String {
        format!("        {at}: {}", self.policy.line(at.position.line))
    }

    fn finding(&self, finding: &Finding, indent: usize, lines: &mut Vec<String>) {
        let mood = match finding.truth {
            Truth::True => Mood::Good,
            Truth::False => Mood::Plain,
            Truth::Missing => Mood::Doubtful,
        };
        let truth = format!("{:<7}", truth_word(finding.truth));
        // What decided is marked, so that a long condition can be read at a glance.
        let mark = if finding.decisive && finding.parts.is_empty() { ">" } else { " " };
        let readings = finding.readings.iter();
        let readings: String =
            readings.map(|it| format!("  {} {}", it.path, value_text(it))).collect();
        let truth = self.screen.paint(mood, &truth);
        lines.push(format!("{:indent$}{mark} {truth} {}{readings}", "", finding.text));
        let deeper = indent.saturating_add(2);
        finding.parts.iter().for_each(|part| self.finding(part, deeper, lines));
    }
}

fn to_json(explained: &Explanation) -> Value {
    let outcome = &explained.outcome;
    let ids = |ids: &[RuleId]| -> Value { ids.iter().map(|id| id.as_str()).collect() };
    let obligations = outcome.obligations.iter().map(|it| format!("{it:?}"));
    let checks = explained.checks.iter().map(|check| {
        json!({
            "id": check.id,
            "at": check.at.to_string(),
            "effect": check.effect.as_str(),
            "in_order": check.standing == Standing::Quiet,
            "asks": check.asks,
            "broken": check.broken,
            "readings": readings_json(&check.readings),
        })
    });
    let rules = explained.rules.iter().map(|rule| {
        json!({
            "id": rule.id.as_str(),
            "at": rule.at.to_string(),
            "effect": rule.effect.as_str(),
            "fired": rule.standing != Standing::Quiet,
            "standing": word(rule.standing),
            "condition": finding_json(&rule.condition),
        })
    });
    let exceptions = explained.exceptions.iter().map(|exception| {
        json!({
            "id": exception.id.as_str(),
            "at": exception.at.to_string(),
            "from": ids(&exception.rules),
            "holds": exception.holds,
            "condition": finding_json(&exception.condition),
        })
    });
    json!({
        "effect": outcome.effect.as_str(),
        "rules_fired": ids(&outcome.rules),
        "reason": outcome.detail,
        "obligations": obligations.collect::<Vec<_>>(),
        "approvals": outcome.approval_routes,
        "would": ids(&outcome.would),
        "exceptions_used": ids(&outcome.exceptions),
        "tool_at": explained.tool.as_ref().map(ToString::to_string),
        "checks": checks.collect::<Vec<_>>(),
        "rules": rules.collect::<Vec<_>>(),
        "exceptions": exceptions.collect::<Vec<_>>(),
    })
}

fn finding_json(finding: &Finding) -> Value {
    json!({
        "text": finding.text,
        "at": finding.at.to_string(),
        "truth": truth_word(finding.truth),
        "decisive": finding.decisive,
        "readings": readings_json(&finding.readings),
        "parts": finding.parts.iter().map(finding_json).collect::<Vec<_>>(),
    })
}

fn readings_json(readings: &[Reading]) -> Value {
    let readings = readings.iter().map(|reading| {
        json!({ "path": reading.path, "reads": reading.reads.as_str(), "value": reading.value })
    });
    readings.collect()
}
