//! `aegisctl policy simulate`: what would a policy say to these calls, and what would another?
//!
//! Not here: calls that were recorded (`replay`). Invariant: nothing is sent and nothing is counted; a call that the
//! engine cannot answer is denied, as the gateway would.

use std::path::PathBuf;

use aegis_domain::{Effect, Obligation, RuleId};
use aegis_policy::Snapshot;
use aegis_policy::cases::Scene;
use aegis_policy::replay::{Before, Impact};
use clap::Args;
use serde_json::Value;

use super::call::{self, CallArgs};
use super::load::Policy;
use crate::failure::{Exit, Failure};
use crate::home::Home;
use crate::screen::{Screen, counted};
use aegis_cli_sheet::{Mood, Sheet};

/// Ask a policy, or two, about calls without sending any.
#[derive(Debug, Args)]
#[command(after_help = "\
A call is written like a test without `expect`; a file holds one, or one JSON object a line.
Without --calls and --tool the calls are those of the policy's own tests.

Examples:
  aegisctl policy simulate
  aegisctl policy simulate --calls calls.jsonl --policy policies/acme.yaml
  aegisctl policy simulate --candidate policies/acme-next.yaml -o json | jq '.[] | select(.change)'
  aegisctl policy simulate --tool example.read --group eng")]
pub(super) struct SimulateArgs {
    /// The policy file; the only one that aegis.yaml enforces unless given.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Another policy to compare with.
    #[arg(long, value_name = "FILE")]
    candidate: Option<PathBuf>,
    /// Calls; - is stdin.
    #[arg(long, value_name = "FILE", conflicts_with = "tool")]
    calls: Option<PathBuf>,
    #[command(flatten)]
    options: CallArgs,
}

pub(super) fn run(args: &SimulateArgs, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    let policy = Policy::one(args.policy.as_deref(), home)?;
    let candidate = args.candidate.as_deref().map(Policy::load).transpose()?;
    let calls = match &args.calls {
        Some(path) => call::from_lines(path, &policy)?,
        None if args.options.is_given() => {
            let scene = args.options.scene(&policy)?;
            vec![call::Named { name: "the command line".to_owned(), scene }]
        }
        None => call::from_tests(&policy)?,
    };
    let mut columns = vec!["effect", "tool", "rules", "call"];
    if candidate.is_some() {
        columns.extend(["candidate", "candidate_rules", "change"]);
    }
    let mut sheet = Sheet::new(&columns);
    let mut changed = 0_usize;
    for call in &calls {
        let now = answer(&policy.snapshot, &call.scene);
        let mut cells = vec![
            now.effect.as_str().into(),
            call.scene.tool().as_str().into(),
            now.rules,
            call.name.clone().into(),
        ];
        if let Some(candidate) = &candidate {
            let then = answer(&candidate.snapshot, &call.scene);
            let before = Before { effect: now.effect, obligations: Some(&now.obligations) };
            let impact = Impact::between(before, then.effect, &then.obligations);
            changed = changed.saturating_add(usize::from(impact.is_some()));
            let impact = impact.map(Impact::as_str);
            cells.extend([then.effect.as_str().into(), then.rules, impact.into()]);
        }
        sheet.row_in(mood(now.effect), cells);
    }
    screen.sheet(&sheet)?;
    let calls = counted(calls.len(), "call");
    match candidate {
        Some(_) => screen.say(&format!("{calls}, {changed} would fare otherwise")),
        None => screen.say(&calls),
    }
    Ok(Exit::Ok)
}

/// What of an outcome is shown and compared.
struct Answer {
    effect: Effect,
    rules: Value,
    obligations: Vec<Obligation>,
}

fn answer(snapshot: &Snapshot, scene: &Scene) -> Answer {
    match snapshot.evaluate(&scene.input()) {
        Ok(outcome) => Answer {
            effect: outcome.effect,
            rules: outcome.rules.iter().map(RuleId::as_str).collect(),
            obligations: outcome.obligations,
        },
        Err(error) => Answer {
            effect: Effect::Deny,
            rules: error.to_string().into(),
            obligations: Vec::new(),
        },
    }
}

fn mood(effect: Effect) -> Mood {
    match effect {
        Effect::Allow => Mood::Good,
        Effect::Sanitize | Effect::ApprovalNeeded => Mood::Doubtful,
        Effect::Deny => Mood::Bad,
    }
}
