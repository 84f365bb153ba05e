//! `aegisctl fleet`: which gateway decides by which release, since when, and who does not.
//!
//! Not here: what gateways report (`policies/follow`). Invariant: what is shown is what gateways said of themselves to the node
//! that is asked, and a gateway that says nothing any more is shown as silent, not left out.

use std::path::Path;
use std::time::Duration;

use aegis_control_client::Client;
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

#[derive(Debug, Subcommand)]
enum FleetCommand {
    Status(StatusArgs),
}

/// Show who decides by which version and since when, who is behind, and who refused a release and why.
#[derive(Debug, Args)]
#[command(after_help = "\
A line is `current`, `behind` (a later release has not decided yet), `refused` (it never will, and why), or `silent`: nothing
was heard of that gateway for 15 seconds. Gateways report to the node they follow, so ask that one.

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
            let (lines, author) = asked(&client)?;
            if before.as_ref() != Some(&lines) {
                let mut list = Told::list(&lines, &COLUMNS);
                list.words.extend(author);
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

/// One for each line of each gateway, and words about the region that authors. A gateway without lines has one all the same.
fn asked(client: &Client) -> Result<(Vec<Value>, Option<String>), RegionError> {
    let told = client.get("/v1/fleet").map_err(RegionError::from)?.body;
    let gateways = told.get("gateways").and_then(Value::as_array);
    let gateways = gateways.ok_or(RegionError::Answer { what: "the gateways" })?;
    let mut lines = Vec::new();
    for gateway in gateways {
        let of = gateway.get("lines").and_then(Value::as_array).into_iter().flatten();
        let before = lines.len();
        lines.extend(of.map(|line| row(gateway, line)));
        if lines.len() == before {
            lines.push(row(gateway, &Value::Null));
        }
    }
    let author = told.get("author").filter(|author| author.is_object()).map(author);
    Ok((lines, author))
}

/// How the region is heard that authors releases here.
fn author(author: &Value) -> String {
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
    words
}

fn row(gateway: &Value, line: &Value) -> Value {
    let part = |value: &Value, pointer| value.pointer(pointer).cloned().unwrap_or_default();
    let is_silent = gateway.get("is_silent").and_then(Value::as_bool).unwrap_or(true);
    let state = if is_silent { json!("silent") } else { part(line, "/state") };
    json!({
        "gateway": part(gateway, "/gateway"),
        "tenant": part(line, "/tenant"),
        "env": part(line, "/environment"),
        "state": state,
        "version": part(line, "/version"),
        "released": part(line, "/released/version"),
        "since": part(line, "/since"),
        "build": part(gateway, "/build"),
        "why": part(line, "/refused/why"),
    })
}
