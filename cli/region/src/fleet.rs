//! `aegisctl fleet`: which gateway decides by which release, since when, and who does not.
//!
//! Not here: what gateways report (`policies/follow`). Invariant: what is shown is what gateways said of themselves to any
//! voter; one that does not tell what it heard is named, and a gateway that says nothing any more is shown as silent, not left out.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::Told;
use crate::region::{Access, RegionError};

const COLUMNS: [&str; 9] =
    ["gateway", "tenant", "env", "state", "version", "released", "since", "build", "why"];

/// See what the gateways of a region run.
#[derive(Debug, Args)]
pub struct FleetArgs {
    #[command(subcommand)]
    command: FleetCommand,
}

/// What is said in place of an empty table.
const NOBODY: &str = "no gateway has reported to this region within a day: gateways report that take \
their policies (`policy: { release: .. }`) or definitions (`definitions: { from: region }`) from it";

#[derive(Debug, Subcommand)]
enum FleetCommand {
    Status(StatusArgs),
}

/// Show who decides by which version and since when, who is behind, and who refused a release and why.
#[derive(Debug, Args)]
#[command(after_help = "\
A line is `current`, `behind` (a later release has not decided yet), `refused` (it never will, and why), `ahead` (it decides by
another release than the region knows, as after a restore, and takes none until `aegisctl policy overtake` was run), or `silent`:
nothing was heard of that gateway for 15 seconds. `unusable` is a tool, or a tenant's limits, that the region defines and that gateway
may not or cannot use: calls for it are refused. Ask any voter: each tells the others what gateways report to it.

Examples:
  aegisctl fleet status
  aegisctl fleet status --watch       # again whenever something changes, until interrupted
  aegisctl -o json fleet status | jq '.[] | select(.state != \"current\")'")]
struct StatusArgs {
    /// Go on, and show it again whenever it changes.
    #[arg(long)]
    watch: bool,
    /// How often is looked, in seconds.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    every_s: u64,
    #[command(flatten)]
    access: Access,
}

impl FleetArgs {
    /// Tells once, or again and again where that is wanted.
    pub fn run<T, E: From<RegionError>>(
        &self,
        data: &Path,
        mut tell: impl FnMut(Told) -> Result<T, E>,
    ) -> Result<T, E> {
        let FleetCommand::Status(args) = &self.command;
        let client = args.access.admin(data)?;
        let mut before = None;
        loop {
            let body = client.get("/v1/fleet").map_err(RegionError::from)?.body;
            let lines = lines(&body)?;
            if before.as_ref() != Some(&lines) {
                let mut list =
                    unheard(&body).into_iter().fold(Told::list(&lines, &COLUMNS), Told::saying);
                list = author(&body).into_iter().fold(list, Told::saying);
                list = ahead(&lines).into_iter().fold(list, Told::saying);
                if lines.is_empty() {
                    list = list.saying(NOBODY.to_owned());
                }
                let told = tell(list)?;
                if !args.watch {
                    return Ok(told);
                }
                before = Some(lines);
            }
            std::thread::sleep(Duration::from_secs(args.every_s));
        }
    }
}

/// One for each line of each gateway; a gateway without lines has one all the same.
fn lines(told: &Value) -> Result<Vec<Value>, RegionError> {
    let gateways = told.get("gateways").and_then(Value::as_array);
    let gateways = gateways.ok_or(RegionError::Answer { what: "the gateways" })?;
    let mut lines = Vec::new();
    for gateway in gateways {
        let of = gateway.get("lines").and_then(Value::as_array).into_iter().flatten();
        let before = lines.len();
        lines.extend(of.map(|line| row(gateway, line)));
        let unusable = gateway.get("unusable").and_then(Value::as_array).into_iter().flatten();
        lines.extend(unusable.map(|it| unusable_row(gateway, it)));
        if lines.len() == before {
            lines.push(row(gateway, &Value::Null));
        }
    }
    Ok(lines)
}

/// What to do where the region was set back, a line of a tenant's each.
fn ahead(lines: &[Value]) -> BTreeSet<String> {
    let text = |line: &Value, name| line.get(name).and_then(Value::as_str).map(str::to_owned);
    let ahead = lines.iter().filter(|line| line.get("state") == Some(&json!("ahead")));
    let words = ahead.filter_map(|line| {
        let (tenant, env) = (text(line, "tenant")?, text(line, "env")?);
        Some(format!(
            "gateways hold another release of {tenant}/{env} than the region knows, which was set back; to have them follow it: \
             aegisctl policy overtake --tenant {tenant} --env {env}"
        ))
    });
    words.collect()
}

/// How the region is heard that authors releases here.
fn author(told: &Value) -> Option<String> {
    let author = told.get("author").filter(|author| author.is_object())?;
    let text = |name: &str| author.get(name).and_then(Value::as_str);
    let region = text("region").unwrap_or_default();
    let heard = match (text("heard_at"), author.get("asked_by").and_then(Value::as_u64)) {
        (Some(at), _) => format!("last heard at {at}"),
        (None, Some(voter)) => format!("not heard by this voter; voter {voter} asks it"),
        (None, None) => "not heard: nobody leads".to_owned(),
    };
    let mut words = format!("releases come from {region}, {heard}");
    if let (Some(since), Some(why)) = (text("failing_since"), text("why")) {
        words.push_str(&format!("; since {since} it is not: {why}"));
    }
    for refused in author.get("refused").and_then(Value::as_array).into_iter().flatten() {
        let part = |name: &str| refused.get(name).and_then(Value::as_str).unwrap_or_default();
        let line = format!("{}/{}", part("tenant"), part("environment"));
        words.push_str(&format!("; {line} is refused: {}", part("why")));
    }
    Some(words)
}

/// The voters whose gateways may be missing, or shown as they were.
fn unheard(told: &Value) -> Vec<String> {
    let voters = told.get("voters").and_then(Value::as_array).into_iter().flatten();
    let silent =
        voters.filter(|voter| voter.get("is_silent").and_then(Value::as_bool) == Some(true));
    silent
        .map(|voter| {
            let node = voter.get("node").and_then(Value::as_u64).unwrap_or_default();
            format!("voter {node} does not tell what it heard; gateways that report to it may be missing")
        })
        .collect()
}

fn part(value: &Value, pointer: &str) -> Value {
    value.pointer(pointer).cloned().unwrap_or_default()
}

fn state(gateway: &Value, state: Value) -> Value {
    let is_silent = gateway.get("is_silent").and_then(Value::as_bool).unwrap_or(true);
    if is_silent { json!("silent") } else { state }
}

/// A tool, or a tenant's limits, that this gateway refuses calls for.
fn unusable_row(gateway: &Value, unusable: &Value) -> Value {
    let text = |name: &str| unusable.get(name).and_then(Value::as_str);
    let what = text("tool").map_or_else(|| "limits".to_owned(), |tool| format!("tool {tool}"));
    json!({
        "gateway": part(gateway, "/gateway"),
        "tenant": part(unusable, "/tenant"),
        "env": null,
        "state": state(gateway, json!("unusable")),
        "version": null,
        "released": null,
        "since": null,
        "build": part(gateway, "/build"),
        "why": format!("{what}: {}", text("why").unwrap_or_default()),
    })
}

fn row(gateway: &Value, line: &Value) -> Value {
    json!({
        "gateway": part(gateway, "/gateway"),
        "tenant": part(line, "/tenant"),
        "env": part(line, "/environment"),
        "state": state(gateway, part(line, "/state")),
        "version": part(line, "/version"),
        "released": part(line, "/released/version"),
        "since": part(line, "/since"),
        "build": part(gateway, "/build"),
        "why": part(line, "/refused/why"),
    })
}
