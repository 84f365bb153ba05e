//! `aegisctl policy lint`: what is legal but unwise.
//!
//! Not here: how it is found (`policies/language`). Invariant: a finding never changes what a policy does, only how the
//! command ends, and only when asked to.

use std::path::PathBuf;

use aegis_document::Diagnostic;
use aegis_policy_language::lint;
use clap::Args;
use serde_json::json;

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
    let found: Vec<Diagnostic> = loaded
        .policies
        .iter()
        .flat_map(|policy| lint::findings(&policy.set).iter().cloned().collect::<Vec<_>>())
        .collect();
    if screen.is_json() {
        let mistakes = load::to_json(&loaded.mistakes);
        screen.json(&json!({ "findings": load::to_json(&found), "mistakes": mistakes }))?;
    } else {
        load::tell(&loaded.mistakes, screen)?;
        load::tell(&found, screen)?;
    }
    screen.say(&counted(found.len(), "finding"));
    let denied = args.deny_findings && !found.is_empty();
    Ok(loaded.ended(if denied { Exit::CheckFailed } else { Exit::Ok }, screen))
}
