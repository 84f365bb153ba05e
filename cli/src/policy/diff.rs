//! `aegisctl policy diff`: what changes between two versions, and whether it lets more through or less.
//!
//! Not here: how that is told (`policies/review`). Invariant: a rule that stops being enforced is always marked, however
//! small the change looks in the file.

use std::path::PathBuf;

use aegis_document::Location;
use aegis_policy_review::diff::{self, Direction};
use clap::Args;
use serde_json::{Value, json};

use super::load::Policy;
use crate::failure::{Exit, Failure};
use crate::screen::{Screen, counted};

/// Show what changes from one version of a policy to another.
#[derive(Debug, Args)]
#[command(after_help = "\
Each change is marked stricter, looser, neutral or unclear; [downgrade] is a rule that stops being enforced.
Rules are compared by what they mean: writing one differently is no change.

Examples:
  aegisctl policy diff policies/acme.yaml policies/acme-next.yaml
  aegisctl policy diff old.yaml new.yaml --fail-on-looser
  aegisctl policy diff old.yaml new.yaml -o json | jq '.[] | select(.downgrade)'")]
pub(super) struct DiffArgs {
    /// The policy as it is.
    old: PathBuf,
    /// The policy as it is to be.
    new: PathBuf,
    /// End with 1 if anything becomes looser, or cannot be told.
    #[arg(long)]
    fail_on_looser: bool,
}

pub(super) fn run(args: &DiffArgs, screen: &Screen) -> Result<Exit, Failure> {
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
