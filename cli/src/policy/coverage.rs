//! `aegisctl policy coverage`: which rules did tests see fire, and which hold still?
//!
//! Not here: running the tests (`policies/engine`). Invariant: a rule is covered by half for each of the two; a rule that
//! is always true need not hold still.

use std::path::PathBuf;

use aegis_policy::cases::{self, RuleCoverage};
use clap::Args;
use serde_json::{Value, json};

use super::load;
use crate::failure::{Exit, Failure};
use crate::home::Home;
use crate::screen::Screen;
use aegis_cli_sheet::{Mood, Sheet};

/// Show, rule by rule, whether tests saw it fire and hold still.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aegisctl policy coverage
  aegisctl policy coverage policies/acme.yaml --min 100
  aegisctl policy coverage -o json | jq .percent")]
pub(super) struct CoverageArgs {
    /// Policy files; those that aegis.yaml names unless given.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// End with 1 if less than so many percent are covered.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    min: Option<u8>,
}

/// How much of some rules the tests saw.
pub(super) struct Coverage<'r> {
    rules: Vec<&'r RuleCoverage>,
}

impl<'r> Coverage<'r> {
    pub(super) fn of(rules: impl Iterator<Item = &'r RuleCoverage>) -> Self {
        Self { rules: rules.collect() }
    }

    /// Rounded down, so that 100 means all.
    pub(super) fn percent(&self) -> usize {
        let seen = |rule: &&RuleCoverage| {
            usize::from(rule.fired).saturating_add(usize::from(rule.not_fired))
        };
        let seen: usize = self.rules.iter().map(seen).sum();
        let wanted = self.rules.len().saturating_mul(2);
        seen.saturating_mul(100).checked_div(wanted).unwrap_or(100)
    }

    pub(super) fn sheet(&self) -> Sheet {
        let mut sheet = Sheet::new(&["covered", "tool", "rule", "fired", "not_fired", "at"]);
        for rule in &self.rules {
            let (mood, word) = match (rule.fired, rule.not_fired) {
                (true, true) => (Mood::Good, "both ways"),
                (true, false) | (false, true) => (Mood::Doubtful, "one way"),
                (false, false) => (Mood::Bad, "never"),
            };
            let cells = vec![
                word.into(),
                rule.tool.as_str().into(),
                rule.rule.as_str().into(),
                rule.fired.into(),
                rule.not_fired.into(),
                rule.at.to_string().into(),
            ];
            sheet.row_in(mood, cells);
        }
        sheet
    }

    pub(super) fn to_json(&self) -> Value {
        json!({ "percent": self.percent(), "rules": self.sheet().to_json() })
    }
}

pub(super) fn run(args: &CoverageArgs, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    let loaded = load::all(&args.files, home)?;
    let reports: Vec<_> =
        loaded.policies.iter().map(|policy| cases::run(&policy.snapshot, &policy.set)).collect();
    let coverage = Coverage::of(reports.iter().flat_map(|report| &report.coverage));
    if screen.is_json() {
        screen.json(&coverage.to_json())?;
    } else {
        load::tell(&loaded.mistakes, screen)?;
        if !coverage.rules.is_empty() {
            screen.sheet(&coverage.sheet())?;
        }
    }
    let percent = coverage.percent();
    screen.say(&format!("{percent} % of {} rules, both ways", coverage.rules.len()));
    let short = args.min.is_some_and(|min| percent < usize::from(min));
    Ok(loaded.ended(if short { Exit::CheckFailed } else { Exit::Ok }, screen))
}
