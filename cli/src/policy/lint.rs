//! `aegisctl policy lint`: what is legal but unwise.
//!
//! Not here: how it is found (`policies/review`). Invariant: a finding never changes what a policy does, only how the
//! command ends, and only when asked to.

use std::path::PathBuf;

use aegis_policy_review::lint::{self, Finding};
use clap::Args;
use serde_json::{Value, json};

use super::load;
use crate::failure::{Exit, Failure};
use crate::home::Home;
use crate::screen::{Screen, counted};

/// Find rules that never or always fire, tools that answer the same requests, and the like.
#[derive(Debug, Args)]
#[command(after_help = "\
Findings are no errors; with --deny-findings any of them ends the command with 1.

Examples:
  aegisctl policy lint
  aegisctl policy lint policies/acme.yaml --deny-findings
  aegisctl policy lint -o json | jq '.findings[] | .message'")]
pub(super) struct LintArgs {
    /// Policy files; those that aegis.yaml names unless given.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// End with 1 if anything is found.
    #[arg(long)]
    deny_findings: bool,
}

pub(super) fn run(args: &LintArgs, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    let loaded = load::all(&args.files, home)?;
    let found: Vec<Finding> = loaded
        .policies
        .iter()
        .flat_map(|policy| lint::findings(&policy.set).iter().cloned().collect::<Vec<_>>())
        .collect();
    if screen.is_json() {
        let mistakes = load::to_json(&loaded.mistakes);
        let findings: Vec<Value> = found.iter().map(to_json).collect();
        screen.json(&json!({ "findings": findings, "mistakes": mistakes }))?;
    } else {
        load::tell(&loaded.mistakes, screen)?;
        for finding in &found {
            screen.raw(format!("{finding}\n"))?;
        }
    }
    screen.say(&counted(found.len(), "finding"));
    let denied = args.deny_findings && !found.is_empty();
    Ok(loaded.ended(if denied { Exit::CheckFailed } else { Exit::Ok }, screen))
}

fn to_json(finding: &Finding) -> Value {
    let position = finding.at.position;
    json!({
        "code": finding.code.as_str(),
        "file": &*finding.at.file,
        "line": position.line,
        "column": position.column,
        "message": finding.message,
        "help": finding.help,
    })
}
