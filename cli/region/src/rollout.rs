//! `aegisctl policy rollout`: lets a version decide for more and more agents, and shows how far it has come.
//!
//! Not here: what moves it on (`control`). Invariant: a rollout that was begun from the command line has a guard.

use std::path::Path;

use aegis_control_client::Conditions;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::region::RegionError;
use crate::release::{LineArgs, told};
use crate::{Told, files};

/// Let a version decide for more and more agents, stage by stage; show how far it has come.
#[derive(Debug, Args)]
pub struct RolloutArgs {
    #[command(subcommand)]
    command: RolloutCommand,
}

#[derive(Debug, Subcommand)]
enum RolloutCommand {
    Start(StartArgs),
    Status(StatusArgs),
}

/// Begin a rollout.
#[derive(Debug, Args)]
#[command(after_help = "\
A stage is the share of agents that the candidate serves, and how long at least: 5%@10m. An agent that it serves stays with it
in every later stage. A guard is errors, deny-rate=2%, approval-rate=2% or p99=20ms (rates may differ so much from the active
version's, either way), with :hold or :rollback behind it; :rollback unless given. Without any, errors guards.
A file holds the stages as the API takes them, in JSON: regions, tenants and guards can differ from stage to stage there.

Examples:
  aegisctl policy rollout start 7 --stages 5%@10m,50%@10m,100% --tenant acme --env prod
  aegisctl policy rollout start 7 --stages 1%@1h,100%@1h --calls-min 200 --guard errors --guard deny-rate=2%:hold \\
    --tenant acme --env prod
  aegisctl policy rollout start 7 --stages stages.json --tenant acme --env prod")]
struct StartArgs {
    /// The candidate.
    version: u32,
    /// Shares and times, or a file.
    #[arg(long, value_name = "SHARE@TIME,..|FILE")]
    stages: String,
    /// What must not happen in any stage.
    #[arg(long = "guard", value_name = "GUARD", value_parser = guard)]
    guards: Vec<Value>,
    /// Calls each version must have decided before rates are compared and before the next stage.
    #[arg(long, value_name = "N", default_value_t = 0)]
    calls_min: u32,
    #[command(flatten)]
    line: LineArgs,
}

/// Show how far a rollout has come, and what both versions did.
#[derive(Debug, Args)]
#[command(after_help = "\
With --watch it ends with the rollout: with 0 where the candidate became the active version, with 1 where it was taken back.
Where nobody looks on, each change is a line.

Example:
  aegisctl policy rollout status --watch --tenant acme --env prod")]
struct StatusArgs {
    /// Show it again every two seconds until it has ended.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    line: LineArgs,
}

impl RolloutArgs {
    pub(crate) fn run(&self, data: &Path) -> Result<Told, RegionError> {
        match &self.command {
            RolloutCommand::Start(args) => start(args, data),
            RolloutCommand::Status(args) => {
                let answer = args.line.client(data)?.get(&args.line.path("pointer"))?;
                Ok(status(&answer.body).read_as(answer.read.as_deref()))
            }
        }
    }

    pub(crate) fn is_watching(&self) -> bool {
        matches!(&self.command, RolloutCommand::Status(args) if args.watch)
    }
}

fn start(args: &StartArgs, data: &Path) -> Result<Told, RegionError> {
    let errors = json!({ "limit": "engine_errors", "then": "roll_back" });
    let guards = if args.guards.is_empty() { vec![errors] } else { args.guards.clone() };
    let stages = if args.stages.contains('%') {
        let written = args.stages.split(',').map(|text| stage(text, args.calls_min, &guards));
        let stages: Option<Vec<Value>> = written.collect();
        stages.map(Value::Array)
    } else {
        serde_json::from_str(&files::read(Path::new(&args.stages))?).ok()
    };
    let stages = stages.ok_or(RegionError::Input { what: "--stages" })?;
    let client = args.line.client(data)?;
    let seen = client.get(&args.line.path("pointer"))?.etag;
    let wish = json!({ "candidate": args.version, "stages": stages });
    let conditions = Conditions { version: seen.as_deref(), once: None };
    told(client.post(&args.line.path("rollout"), &wish, &conditions))
}

/// `5%@10m`, or `100%`.
fn stage(text: &str, calls_min: u32, guards: &[Value]) -> Option<Value> {
    let (share, time) = match text.trim().split_once('@') {
        Some((share, time)) => (share, seconds(time)?),
        None => (text.trim(), 0),
    };
    share.strip_suffix('%')?;
    Some(json!({
        "share": share,
        "min_duration_s": time,
        "calls_min": calls_min,
        "guards": guards,
    }))
}

fn seconds(text: &str) -> Option<u64> {
    let split = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (digits, unit) = text.split_at(split);
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// `errors`, `deny-rate=2%:hold`, `approval-rate=2%` or `p99=20ms:rollback`.
fn guard(text: &str) -> Result<Value, &'static str> {
    const WANTED: &str = "expected errors, deny-rate=2%, approval-rate=2% or p99=20ms, with :hold or :rollback behind it";
    let (limit, then) = match text.split_once(':') {
        None => (text, "roll_back"),
        Some((limit, "rollback")) => (limit, "roll_back"),
        Some((limit, "hold")) => (limit, "hold"),
        Some(_) => return Err(WANTED),
    };
    let limit = match limit.split_once('=') {
        None if limit == "errors" => json!("engine_errors"),
        Some(("deny-rate", share)) if share.ends_with('%') => json!({ "deny_rate_delta": share }),
        Some(("approval-rate", share)) if share.ends_with('%') => {
            json!({ "approval_rate_delta": share })
        }
        Some(("p99", time)) => {
            let ms = time.strip_suffix("ms").and_then(|ms| ms.parse::<u64>().ok());
            let us = ms.and_then(|ms| ms.checked_mul(1_000)).ok_or(WANTED)?;
            json!({ "p99": { "us_max": us } })
        }
        None | Some(_) => return Err(WANTED),
    };
    Ok(json!({ "limit": limit, "then": then }))
}

/// A row for each stage, the one under way with what both versions did.
fn status(pointer: &Value) -> Told {
    let rollout = pointer.get("rollout").unwrap_or(&Value::Null);
    let stages = rollout.get("stages").and_then(Value::as_array).into_iter().flatten();
    let reached = rollout.get("stage").and_then(Value::as_u64);
    let state = rollout.get("state").and_then(Value::as_str).unwrap_or_default();
    let row = |(index, stage): (usize, &Value)| {
        let index = u64::try_from(index).unwrap_or(u64::MAX);
        let (here, seen) = match reached {
            Some(reached) if index == reached => (state, both(rollout)),
            Some(reached) if index < reached => ("done", Default::default()),
            None if state == "complete" => ("done", Default::default()),
            Some(_) | None => ("", Default::default()),
        };
        let member = |name: &str| stage.get(name).cloned().unwrap_or_default();
        let mut row =
            vec![index.saturating_add(1).into(), member("share"), member("min_duration_s")];
        row.push(here.into());
        row.extend(seen);
        row
    };
    let told = Told {
        value: pointer.clone(),
        columns: vec![
            "stage",
            "share",
            "min_s",
            "state",
            "calls",
            "denied",
            "approvals",
            "errors",
            "p99_us",
        ],
        rows: stages.enumerate().map(row).collect(),
        ..Told::default()
    };
    told.saying(line(pointer))
}

/// What the candidate did, beside the stable version.
fn both(rollout: &Value) -> [Value; 5] {
    ["calls", "denied", "approvals", "engine_errors", "p99_us"].map(|name| {
        let of = |side: &str| rollout.get("observed")?.get(side)?.get(name)?.as_u64();
        match (of("candidate"), of("stable")) {
            (Some(candidate), Some(stable)) => format!("{candidate} beside {stable}").into(),
            (Some(_) | None, Some(_) | None) => Value::Null,
        }
    })
}

/// What decides, a member a row, without the parts that have a view of their own.
pub(crate) fn pointer(pointer: &Value) -> Told {
    let mut told = Told::thing(pointer);
    told.rows.retain(|row| row.first().is_none_or(|name| name != "rollout" && name != "author"));
    told
}

/// How it stands, in one line.
pub fn line(pointer: &Value) -> String {
    let text = |of: &Value, name: &str| match of.get(name) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => "none".to_owned(),
        Some(other) => other.to_string(),
    };
    let (epoch, active) = (text(pointer, "epoch"), text(pointer, "active"));
    let mut line = format!("epoch {epoch}: version {active} decides");
    let rollout = pointer.get("rollout").unwrap_or(&Value::Null);
    if rollout.is_object() {
        let (candidate, state) = (text(rollout, "candidate"), text(rollout, "state"));
        line.push_str(&format!("; the rollout of {candidate} is {}", state.replace('_', " ")));
        let stages = rollout.get("stages").and_then(Value::as_array).map_or(0, Vec::len);
        if let Some(stage) = rollout.get("stage").and_then(Value::as_u64) {
            line.push_str(&format!(" in stage {} of {stages}", stage.saturating_add(1)));
        }
        if rollout.get("paused") == Some(&Value::Bool(true)) {
            line.push_str(", paused");
        }
        if rollout.get("limit").is_some_and(|limit| !limit.is_null()) {
            line.push_str(&format!(" by {}", text(rollout, "limit")));
        }
    }
    if pointer.get("pinned") == Some(&Value::Bool(true)) {
        line.push_str("; pinned");
    }
    let author = pointer.get("author").unwrap_or(&Value::Null);
    if author.is_object() {
        line.push_str(&format!("; {}", origin(author)));
    }
    line
}

/// Where a line comes from, which epoch of its author is held, and when that was last heard.
pub(crate) fn origin(author: &Value) -> String {
    let text = |name: &str| match author.get(name) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => "unknown".to_owned(),
        Some(other) => other.to_string(),
    };
    let mut line = format!("from {} at its epoch {}", text("region"), text("epoch"));
    if author.get("withdrawn") == Some(&Value::Bool(true)) {
        line.push_str(", which releases it here no more");
    }
    if author.get("heard_at").is_some_and(Value::is_string) {
        line.push_str(&format!(", heard at {}", text("heard_at")));
    }
    let back = author.get("taken_back").and_then(Value::as_array).into_iter().flatten();
    let back: Vec<_> = back.map(ToString::to_string).collect();
    if !back.is_empty() {
        line.push_str(&format!(", of which {} is taken back here", back.join(", ")));
    }
    if let Some(why) = author.pointer("/refused/why").and_then(Value::as_str) {
        line.push_str(&format!("; its latest is refused: {why}"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_and_guards_are_read_as_they_are_documented() {
        let read = stage("5%@10m", 7, &[]).unwrap();
        assert_eq!((&read["share"], &read["min_duration_s"]), (&json!("5%"), &json!(600)));
        assert_eq!(stage("100%", 0, &[]).unwrap()["min_duration_s"], 0);
        for bad in ["5", "5%@", "5%@10", "5%@10w", "@10m", ""] {
            assert_eq!(stage(bad, 0, &[]), None, "{bad}");
        }
        let limit = |text: &str| guard(text).unwrap()["limit"].clone();
        assert_eq!(limit("errors:hold"), json!("engine_errors"));
        assert_eq!(limit("p99=20ms"), json!({ "p99": { "us_max": 20_000 } }));
        assert_eq!(guard("deny-rate=2%:hold").unwrap()["then"], "hold");
        for bad in ["", "errors=1", "deny-rate", "deny-rate=2", "p99=20s", "errors:stop", "p99=ms"]
        {
            assert!(guard(bad).is_err(), "{bad}");
        }
    }
}
