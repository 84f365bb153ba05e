//! `aegisctl policy test`: does a policy do what its tests say?
//!
//! Not here: running them (`policies/engine`). Invariant: a test that was filtered out counts neither as passed nor as
//! coverage.

use std::path::PathBuf;

use aegis_policy::cases::{self, CaseReport, CaseResult, RuleCoverage};
use clap::Args;
use serde_json::{Value, json};

use super::coverage::Coverage;
use super::load::{self, Policy};
use crate::failure::{Exit, Failure};
use crate::home::Home;
use crate::screen::{Screen, counted};
use aegis_cli_sheet::{Mood, Sheet};

/// Run the tests that policy files bring along.
#[derive(Debug, Args)]
#[command(after_help = "\
Ends with 4 if a test failed, and with 3 if a policy does not compile. Rules that no test saw fire, or that no test saw
hold still, are named on stderr; they are no failure.

Examples:
  aegisctl policy test
  aegisctl policy test --filter payouts --coverage
  aegisctl policy test policies/acme.yaml -o json | jq '.cases[] | select(.passed | not)'")]
pub(super) struct TestArgs {
    /// Policy files; those that aegis.yaml names unless given.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only tests whose name holds this text.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Show each rule with whether tests saw it fire and hold still.
    #[arg(long)]
    coverage: bool,
}

pub(super) fn run(args: &TestArgs, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    let mut loaded = load::all(&args.files, home)?;
    if let Some(wanted) = &args.filter {
        let keep = |policy: &mut Policy| policy.set.examples.retain(|it| it.name.contains(wanted));
        loaded.policies.iter_mut().for_each(keep);
    }
    let reports: Vec<CaseReport> =
        loaded.policies.iter().map(|policy| cases::run(&policy.snapshot, &policy.set)).collect();
    let cases: Vec<&CaseResult> = reports.iter().flat_map(|report| &report.cases).collect();
    let uncovered: Vec<&RuleCoverage> = reports.iter().flat_map(CaseReport::uncovered).collect();
    let coverage = Coverage::of(reports.iter().flat_map(|report| &report.coverage));
    if screen.is_json() {
        let mut report = json!({
            "cases": cases.iter().map(|case| case_json(case)).collect::<Vec<_>>(),
            "uncovered": Coverage::of(uncovered.iter().copied()).sheet().to_json(),
            "mistakes": load::to_json(&loaded.mistakes),
        });
        if let Some(members) = report.as_object_mut().filter(|_| args.coverage) {
            members.insert("coverage".to_owned(), coverage.to_json());
        }
        screen.json(&report)?;
    } else {
        load::tell(&loaded.mistakes, screen)?;
        if !cases.is_empty() {
            screen.sheet(&results(&cases))?;
        }
        if args.coverage {
            screen.raw("\n")?;
            screen.sheet(&coverage.sheet())?;
        }
    }
    // Of a part of the tests nobody expects coverage.
    for rule in uncovered.iter().filter(|_| args.filter.is_none()) {
        let unseen = if rule.fired { "hold still" } else { "fire" };
        screen.say(&format!("{}: no test saw rule {} {unseen}", rule.at, rule.rule));
    }
    let failed = cases.iter().filter(|case| case.failure.is_some()).count();
    screen.say(&format!("{}, {failed} failed", counted(cases.len(), "test")));
    Ok(loaded.ended(if failed > 0 { Exit::TestFailed } else { Exit::Ok }, screen))
}

fn results(cases: &[&CaseResult]) -> Sheet {
    let mut sheet = Sheet::new(&["result", "test", "at", "failure"]);
    for case in cases {
        let (mood, result) = match case.failure {
            None => (Mood::Good, "ok"),
            Some(_) => (Mood::Bad, "FAILED"),
        };
        let at = case.at.to_string();
        let cells =
            [result.into(), case.name.clone().into(), at.into(), case.failure.clone().into()];
        sheet.row_in(mood, cells.to_vec());
    }
    sheet
}

fn case_json(case: &CaseResult) -> Value {
    json!({
        "name": case.name,
        "at": case.at.to_string(),
        "passed": case.failure.is_none(),
        "failure": case.failure,
    })
}
