//! `aegisctl policy check`: does it compile?
//!
//! Not here: what is legal but unwise (`lint`). Invariant: every mistake of every file is shown.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::load;
use crate::failure::{Exit, Failure};
use crate::home::Home;
use crate::screen::Screen;
use aegis_cli_sheet::Sheet;

/// Compile policy files and show every mistake with its line.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aegisctl policy check
  aegisctl policy check policies/acme.yaml
  aegisctl policy check -o json | jq '.mistakes[] | .message'")]
pub(super) struct CheckArgs {
    /// Policy files; those that aegis.yaml names unless given.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(super) fn run(args: &CheckArgs, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    let loaded = load::all(&args.files, home)?;
    let mut sheet = Sheet::new(&["file", "tenant", "tools", "bundle_sha256"]);
    for policy in &loaded.policies {
        sheet.row(vec![
            policy.file.display().to_string().into(),
            policy.snapshot.tenant().as_str().into(),
            policy.snapshot.tools().count().into(),
            policy.snapshot.policy_ref().bundle_sha256.clone().into(),
        ]);
    }
    if screen.is_json() {
        let mistakes = load::to_json(&loaded.mistakes);
        screen.json(&json!({ "files": sheet.to_json(), "mistakes": mistakes }))?;
    } else {
        load::tell(&loaded.mistakes, screen)?;
        if !loaded.policies.is_empty() {
            screen.sheet(&sheet)?;
        }
    }
    Ok(loaded.ended(Exit::Ok, screen))
}
