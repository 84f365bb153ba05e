//! `aegisctl agent amend`: changes what an agent may, from what it is, and shows both.
//!
//! Not here: what may be changed (`agents/registry`). Invariant: a change is made to the agent that was looked at, by its
//! version; where somebody else was faster, it is looked at again, or the command fails if it was told to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use aegis_control_client::{Answer, ClientError, Conditions};
use aegis_domain::MicroUsd;
use aegis_registry::AgentName;
use clap::Args;
use serde_json::{Map, Value, json};

use crate::Told;
use crate::agent::{ModeName, agent_name, path, spelt};
use crate::region::{Access, RegionError};

/// How often others may be faster before it is said.
const TRIES: usize = 5;
const MEMBERS: [&str; 5] = ["scopes", "groups", "attributes", "mode", "limits"];

/// Change what an agent may; shows what it was and what it is.
#[derive(Debug, Args)]
#[command(after_help = "\
What is not named stays. Tokens that were given before keep their scopes until they end, in minutes.

Examples:
  aegisctl agent amend acme/pay-bot --add-scope payments:refund --remove-scope payments:write
  aegisctl agent amend acme/pay-bot --mode proof --token-ttl-s 120 --attribute team=billing
  aegisctl agent amend acme/pay-bot --calls-per-minute none --if-unchanged=17")]
pub(crate) struct AmendArgs {
    #[arg(value_name = "TENANT/AGENT", value_parser = agent_name)]
    name: AgentName,
    /// A scope it may have from now on; may be given several times.
    #[arg(long = "add-scope", value_name = "SCOPE")]
    add_scopes: Vec<String>,
    /// A scope it may have no longer; may be given several times.
    #[arg(long = "remove-scope", value_name = "SCOPE")]
    remove_scopes: Vec<String>,
    /// A group it is in from now on; may be given several times.
    #[arg(long = "add-group", value_name = "GROUP")]
    add_groups: Vec<String>,
    /// A group it leaves; may be given several times.
    #[arg(long = "remove-group", value_name = "GROUP")]
    remove_groups: Vec<String>,
    /// A fact policies may ask for: true, false, an integer or a text; may be given several times.
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = attribute)]
    attributes: Vec<(String, Value)>,
    /// A fact to forget; may be given several times.
    #[arg(long = "remove-attribute", value_name = "NAME")]
    remove_attributes: Vec<String>,
    /// What keeps its tokens from being used by others.
    #[arg(long, value_enum)]
    mode: Option<ModeName>,
    /// How long its tokens live, 900 at most, or `none` for the usual 300.
    #[arg(long, value_name = "S|none", value_parser = whole)]
    token_ttl_s: Option<Value>,
    /// How many calls it may make in a minute, or `none` for as many as policy says.
    #[arg(long, value_name = "N|none", value_parser = whole)]
    calls_per_minute: Option<Value>,
    /// What it may spend in a day, in dollars such as 12.50, or `none` for as much as budgets say.
    #[arg(long, value_name = "USD|none", value_parser = dollars)]
    spend_per_day: Option<Value>,
    /// Fail if the agent changes meanwhile, or is not of the version that `agent show` told.
    #[arg(long, value_name = "VERSION", num_args = 0..=1, require_equals = true)]
    if_unchanged: Option<Option<u64>>,
    #[command(flatten)]
    access: Access,
}

pub(crate) fn amend(args: &AmendArgs, data: &Path) -> Result<Told, RegionError> {
    let client = args.access.admin(data)?;
    let path = path(&args.name);
    let mut tries = 0;
    loop {
        let Answer { etag, body, .. } = client.get(&path)?;
        let before = body.get("agent").ok_or(RegionError::Answer { what: "the agent" })?;
        let amendment = args.amendment(before);
        if amendment.is_empty() {
            let words = format!("{} is so already; nothing was changed", spelt(&args.name));
            return Ok(told(before, before).saying(words));
        }
        let told_version = args.if_unchanged.flatten().map(|version| format!("\"{version}\""));
        let version = told_version.or(etag);
        let conditions = Conditions { version: version.as_deref(), once: None };
        tries += 1;
        match client.patch(&path, &amendment.into(), &conditions) {
            Ok(answer) => {
                let after = answer.body.get("agent").unwrap_or(&Value::Null);
                return Ok(told(before, after));
            }
            Err(ClientError::Refused { status: 412, .. })
                if args.if_unchanged.is_none() && tries < TRIES => {}
            Err(error) => return Err(error.into()),
        }
    }
}

impl AmendArgs {
    /// What is to be another than it is.
    fn amendment(&self, before: &Value) -> Map<String, Value> {
        let labels = |name: &str, add: &[String], remove: &[String]| {
            let held = before.get(name).and_then(Value::as_array).into_iter().flatten();
            let held = held.filter_map(Value::as_str).map(str::to_owned);
            let all: BTreeSet<_> = held.chain(add.iter().cloned()).collect();
            json!(all.into_iter().filter(|label| !remove.contains(label)).collect::<Vec<_>>())
        };
        let mode = self.mode.map(ModeName::as_str).map(Value::from);
        let wanted = [
            labels("scopes", &self.add_scopes, &self.remove_scopes),
            labels("groups", &self.add_groups, &self.remove_groups),
            self.attributes(before),
            mode.unwrap_or_else(|| before.get("mode").cloned().unwrap_or_default()),
            self.limits(before),
        ];
        let wanted = MEMBERS.into_iter().zip(wanted);
        let changed = wanted.filter(|(name, wanted)| before.get(name) != Some(wanted));
        changed.map(|(name, wanted)| (name.to_owned(), wanted)).collect()
    }

    fn attributes(&self, before: &Value) -> Value {
        let mut all =
            before.get("attributes").and_then(Value::as_object).cloned().unwrap_or_default();
        all.extend(self.attributes.iter().cloned());
        all.retain(|name, _| !self.remove_attributes.contains(name));
        all.into()
    }

    fn limits(&self, before: &Value) -> Value {
        let mut all = before.get("limits").and_then(Value::as_object).cloned().unwrap_or_default();
        for (name, limit) in [
            ("token_ttl_s", &self.token_ttl_s),
            ("calls_per_minute", &self.calls_per_minute),
            ("spend_per_day_microusd", &self.spend_per_day),
        ] {
            all.extend(limit.clone().map(|limit| (name.to_owned(), limit)));
        }
        all.into()
    }
}

/// Both, and a row for each member that differs; limits and attributes by their own names.
fn told(before: &Value, after: &Value) -> Told {
    let (was, is) = (flat(before), flat(after));
    let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let of =
        |all: &BTreeMap<String, Value>, name: &String| all.get(name).cloned().unwrap_or_default();
    let rows =
        names.into_iter().map(|name| vec![name.clone().into(), of(&was, name), of(&is, name)]);
    Told {
        value: json!({ "before": before, "after": after }),
        columns: vec!["name", "before", "after"],
        rows: rows.filter(|row| row.get(1) != row.get(2)).collect(),
        ..Told::default()
    }
}

fn flat(agent: &Value) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for name in MEMBERS {
        match agent.get(name) {
            Some(Value::Object(members)) => {
                all.extend(
                    members.iter().map(|(inner, value)| (format!("{name}.{inner}"), value.clone())),
                );
            }
            Some(value) => {
                all.insert(name.to_owned(), value.clone());
            }
            None => {}
        }
    }
    all
}

/// `NAME=VALUE`; a text that would be read as something else is put in quotation marks.
fn attribute(text: &str) -> Result<(String, Value), String> {
    let (name, value) =
        text.split_once('=').ok_or("expected <name>=<value>, such as team=billing")?;
    let value = match serde_json::from_str(value) {
        Ok(value @ (Value::Bool(_) | Value::String(_))) => value,
        Ok(Value::Number(number)) if number.is_i64() => number.into(),
        Ok(_) | Err(_) => value.into(),
    };
    Ok((name.to_owned(), value))
}

fn whole(text: &str) -> Result<Value, String> {
    match text {
        "none" => Ok(Value::Null),
        _ => {
            text.parse::<u32>().map(Value::from).map_err(|_| "expected a number or none".to_owned())
        }
    }
}

fn dollars(text: &str) -> Result<Value, String> {
    match text {
        "none" => Ok(Value::Null),
        _ => MicroUsd::parse_usd(text)
            .map(|amount| amount.micro_usd().into())
            .map_err(|error| error.to_string()),
    }
}
