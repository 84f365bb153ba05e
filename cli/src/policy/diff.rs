//! `aegisctl policy diff`: what changes between two versions, and whether it lets more through or less.
//!
//! Not here: how that is told (`policies/review`). Invariant: a rule that stops being enforced is always marked, however
//! small the change looks in the file.

use std::path::PathBuf;

use aegis_cli_region::{LineArgs, MaybeLineArgs, changes};
use aegis_document::Location;
use aegis_policy_review::diff::{self, Direction};
use clap::Args;
use serde_json::{Value, json};

use super::load::Policy;
use crate::failure::{Exit, Failure};
use crate::home::Home;
use crate::screen::{Screen, counted};

/// Show what changes from one version of a policy to another.
#[derive(Debug, Args)]
#[command(after_help = "\
Each change is marked stricter, looser, neutral or unclear; [downgrade] is a rule that stops being enforced.
Rules are compared by what they mean: writing one differently is no change.

Examples:
  aegisctl policy diff policies/acme.yaml policies/acme-next.yaml
  aegisctl policy diff old.yaml new.yaml --fail-on-looser
  aegisctl policy diff 6 7 --tenant acme --env prod
  aegisctl policy diff old.yaml new.yaml -o json | jq '.[] | select(.downgrade)'")]
pub(super) struct DiffArgs {
    /// The policy as it is: a file or, with --tenant and --env, a version in the region.
    old: PathBuf,
    /// The policy as it is to be.
    new: PathBuf,
    /// End with 1 if anything becomes looser, or cannot be told.
    #[arg(long)]
    fail_on_looser: bool,
    #[command(flatten)]
    region: MaybeLineArgs,
}

pub(super) fn run(args: &DiffArgs, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    if let Some(line) = args.region.line() {
        return released(args, &line, home, screen);
    }
    let (old, new) = (Policy::load(&args.old)?, Policy::load(&args.new)?);
    let changes = diff::between(&old.set, &new.set);
    if screen.is_json() {
        let place = |at: &Option<Location>| at.as_ref().map(ToString::to_string);
        let changes = changes.iter().map(|change| {
            json!({
                "path": change.path,
                "message": change.message,
                "direction": change.direction.as_str(),
                "downgrade": change.downgrade,
                "old": place(&change.old),
                "new": place(&change.new),
            })
        });
        screen.json(&Value::Array(changes.collect()))?;
    } else {
        for change in &changes {
            screen.raw(format!("{change}\n"))?;
        }
    }
    screen.say(&counted(changes.len(), "change"));
    let is_loose = changes.iter().any(|change| match change.direction {
        Direction::Looser | Direction::Unclear => true,
        Direction::Neutral | Direction::Stricter => change.downgrade,
    });
    Ok(if args.fail_on_looser && is_loose { Exit::CheckFailed } else { Exit::Ok })
}

/// The same of two versions in the region, which compares them.
fn released(
    args: &DiffArgs,
    line: &LineArgs,
    home: &Home,
    screen: &Screen,
) -> Result<Exit, Failure> {
    let number = |path: &PathBuf| {
        let message = "with --tenant and --env, versions are compared: name two numbers";
        let number = path.to_str().and_then(|text| text.parse::<u32>().ok());
        number.ok_or_else(|| Failure::Usage { message: message.to_owned() })
    };
    let changes = changes(line, (number(&args.old)?, number(&args.new)?), home.root())?;
    let text = |change: &Value, name: &str| {
        change.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let is_downgrade = |change: &Value| change.get("downgrade") == Some(&Value::Bool(true));
    if screen.is_json() {
        screen.json(&Value::Array(changes.clone()))?;
    } else {
        for change in &changes {
            let [new, old, path, message, direction] =
                ["new", "old", "path", "message", "direction"].map(|name| text(change, name));
            let at = if new.is_empty() { old } else { new };
            let mark = if is_downgrade(change) { " [downgrade]" } else { "" };
            screen.raw(format!("{at}: {path}: {message} [{direction}]{mark}\n"))?;
        }
    }
    screen.say(&counted(changes.len(), "change"));
    let is_loose = |change: &Value| {
        matches!(text(change, "direction").as_str(), "looser" | "unclear") || is_downgrade(change)
    };
    let is_loose = changes.iter().any(is_loose);
    Ok(if args.fail_on_looser && is_loose { Exit::CheckFailed } else { Exit::Ok })
}
