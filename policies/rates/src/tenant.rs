//! A pack as one tenant runs it against one suite: its lists filled in, and each of the suite's functions as the request it is.
//!
//! Not here: judging the requests (`measure`). Invariant: a tenant changes what an administrator changes first (lists and
//! names of its own) and nothing else of the pack; a function without a request is an error, never a silent refusal.

use std::collections::{BTreeMap, BTreeSet};

use aegis_document::{Document, Problems};
use aegis_domain::{
    CallKind, EgressCall, Host, McpCall, Method, MicroUsd, Params, ParamsHash, Region, Scheme,
    Timestamp,
};
use aegis_policy_language::{Name, PolicySet, Text};
use anyhow::{Context as _, anyhow, bail};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::corpus::{Call, Suite};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tenant {
    pub(crate) suite: Suite,
    /// The name of a file in `policies/packs`.
    pub(crate) pack: String,
    /// When the calls are made, such as `2026-11-20T10:00:00Z`.
    at: String,
    #[serde(default = "anywhere")]
    region: String,
    pub(crate) agent: Agent,
    /// Attributes of an agent that none of the suite's calls is for; every call it repeats is an attack.
    pub(crate) stranger: Option<BTreeMap<String, Value>>,
    /// The lists of the pack that the tenant fills in.
    #[serde(default)]
    lists: BTreeMap<String, Vec<String>>,
    /// Names of its own, for those that stand in the pack.
    #[serde(default)]
    names: BTreeMap<String, String>,
    /// Functions that the agent's own process computes: nothing leaves, so no gateway sees them.
    #[serde(default)]
    local: BTreeSet<String>,
    calls: BTreeMap<String, Shape>,
    /// What is behind the work that is not let through and the attacks that are, by the rule that fired.
    #[serde(default)]
    pub(crate) why: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Agent {
    pub(crate) groups: BTreeSet<String>,
    pub(crate) scopes: BTreeSet<String>,
    #[serde(default)]
    pub(crate) attributes: BTreeMap<String, Value>,
}

/// What a function of the suite is at the gateway.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    /// `POST https://api.example/v1/things/{thing}`, or `mcp server tool`.
    request: String,
    /// By the suite's name of an argument: the pack's name, with a form in front where the two are written differently.
    #[serde(default)]
    args: BTreeMap<String, String>,
    /// What the suite leaves unsaid.
    #[serde(default)]
    add: Map<String, Value>,
}

fn anywhere() -> String {
    "test".to_owned()
}

impl Tenant {
    pub(crate) fn parse(file: &str, text: &str) -> anyhow::Result<Self> {
        let document = Document::parse(file, text).map_err(|found| anyhow!("{found}"))?;
        let json = document
            .decode(|root, problems: &mut Problems| root.json(problems))
            .map_err(|found| anyhow!("{found}"))?;
        serde_json::from_value(json).with_context(|| file.to_owned())
    }

    /// The pack's policy set with this tenant's names and lists in it.
    pub(crate) fn set(&self, pack: &str) -> anyhow::Result<PolicySet> {
        let mut text = pack.to_owned();
        for (theirs, ours) in &self.names {
            if !text.contains(theirs.as_str()) {
                bail!("the pack {} does not say `{theirs}`", self.pack);
            }
            text = text.replace(theirs.as_str(), ours);
        }
        let document = Document::parse(&self.pack, &text).map_err(|found| anyhow!("{found}"))?;
        let mut set = PolicySet::parse(&[document]).map_err(|found| anyhow!("{found}"))?;
        for (name, members) in &self.lists {
            let key: Name = name.parse()?;
            let list = set.lists.get_mut(&key).with_context(|| format!("no list `{name}`"))?;
            *list =
                members.iter().map(|member| member.parse()).collect::<Result<Vec<Text>, _>>()?;
        }
        Ok(set)
    }

    pub(crate) fn region(&self) -> anyhow::Result<Region> {
        Ok(Region::parse(&self.region)?)
    }

    pub(crate) fn now(&self) -> anyhow::Result<Timestamp> {
        let at: jiff::Timestamp = self.at.parse().with_context(|| self.at.clone())?;
        Ok(Timestamp::from_unix_s(u64::try_from(at.as_second())?))
    }

    /// The requests that a call becomes: none for a local one, several where it is sent once for each of several people.
    pub(crate) fn requests(&self, call: &Call) -> anyhow::Result<Vec<EgressCall>> {
        if self.local.contains(&call.function) {
            return Ok(Vec::new());
        }
        let shape = self.calls.get(&call.function);
        let shape = shape.with_context(|| format!("no request for `{}`", call.function))?;
        let mut all = vec![shape.add.clone()];
        for (name, value) in &call.args {
            let target = shape.args.get(name);
            let target =
                target.with_context(|| format!("`{}`: no name for `{name}`", call.function))?;
            let (form, target) = target.split_once(' ').unwrap_or(("as-is", target));
            let values = formed(form, value)?;
            all = all
                .into_iter()
                .flat_map(|params| {
                    values.iter().map(move |value| with(params.clone(), target, value.clone()))
                })
                .collect();
        }
        all.into_iter().map(|params| shape.request(params)).collect()
    }
}

fn with(mut params: Params, name: &str, value: Option<Value>) -> Params {
    if let Some(value) = value {
        params.insert(name.to_owned(), value);
    }
    params
}

/// The value as the pack's interface writes it; several where each goes in a request of its own.
fn formed(form: &str, value: &Value) -> anyhow::Result<Vec<Option<Value>>> {
    let formed = match form {
        "as-is" => value.clone(),
        "text" => json!(value.as_str().map_or_else(|| value.to_string(), str::to_owned)),
        // 98.7 becomes 9870: the interface counts in cents.
        "minor" => {
            let cents = (value.as_f64().context("an amount is a number")? * 100.0).round();
            json!(format!("{cents}").parse::<i64>()?)
        }
        // `#W123` becomes `W123`: a path has no `#`.
        "bare" => json!(value.as_str().context("text")?.trim_start_matches('#')),
        "prompt" => json!([{ "role": "user", "content": value }]),
        "each" => {
            let members = value.as_array().context("a list")?.iter().cloned().map(Some);
            let members: Vec<_> = members.collect();
            return Ok(if members.is_empty() { vec![None] } else { members });
        }
        other => bail!("there is no form `{other}`"),
    };
    Ok(vec![Some(formed)])
}

impl Shape {
    fn request(&self, mut params: Params) -> anyhow::Result<EgressCall> {
        let words: Vec<&str> = self.request.split(' ').collect();
        let (method, host, path, mcp) = match words.as_slice() {
            ["mcp", server, tool] => {
                let mcp = McpCall { server: server.parse()?, tool: tool.parse()? };
                ("POST", format!("{server}.test"), "/".to_owned(), Some(mcp))
            }
            [method, url] => {
                let address = url.strip_prefix("https://").context("an address is https")?;
                let (host, path) = address.split_once('/').context("an address has a path")?;
                (*method, host.to_owned(), filled(&format!("/{path}"), &mut params)?, None)
            }
            _ => bail!("`{}` is no request", self.request),
        };
        let body = Value::Object(params.clone()).to_string();
        Ok(EgressCall {
            route: "any".parse()?,
            scheme: Scheme::Https,
            host: Host::parse(&host)?,
            port: 443,
            method: Method::parse(method).context("a method")?,
            path,
            query: None,
            kind: CallKind::Write,
            mcp,
            params,
            params_hash: ParamsHash::of(body.as_bytes()),
            body_bytes: u64::try_from(body.len())?,
            estimated_cost: MicroUsd::ZERO,
        })
    }
}

/// The path with its `{names}` taken out of the parameters.
fn filled(path: &str, params: &mut Params) -> anyhow::Result<String> {
    let segments = path.split('/').map(|segment| {
        let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let Some(name) = name else { return Ok(segment.to_owned()) };
        let value = params.remove(name).with_context(|| format!("no `{name}` for the path"))?;
        Ok(value.as_str().context("a segment is text")?.to_owned())
    });
    Ok(segments.collect::<anyhow::Result<Vec<_>>>()?.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = r#"
suite: { set: tau-bench, part: retail }
pack: p
at: 2026-11-20T10:00:00Z
agent: { groups: [g], scopes: [] }
names: { home.example: ours.test }
lists: { known: [a, b] }
local: [add]
calls:
  pay: { request: "POST https://api.test/v1/{id}/pay", args: { order: bare id, sum: minor amount }, add: { currency: USD } }
  mail: { request: mcp office send, args: { to: each to } }
"#;
    const PACK: &str = r#"
apiVersion: aegis.dev/v1
kind: PolicySet
metadata: { tenant: a, env: prod }
lists: { known: [x] }
tools:
  t.read:
    class: read
    match: { hosts: [home.example], methods: [GET], paths: [/] }
    allow: { groups: $known }
"#;

    fn call(function: &str, args: Value) -> Call {
        let Value::Object(args) = args else { panic!("an object") };
        Call { function: function.to_owned(), args }
    }

    fn tenant() -> Tenant {
        Tenant::parse("t", TENANT).unwrap()
    }

    #[test]
    fn a_call_becomes_the_request_that_its_pack_reads() {
        let calls =
            tenant().requests(&call("pay", json!({ "order": "#W1", "sum": 98.7 }))).unwrap();
        assert_eq!(calls.len(), 1);
        assert_eq!((calls[0].host.as_str(), &*calls[0].path), ("api.test", "/v1/W1/pay"));
        assert_eq!(
            Value::Object(calls[0].params.clone()),
            json!({ "amount": 9870, "currency": "USD" })
        );
    }

    #[test]
    fn a_call_to_several_people_is_one_request_for_each() {
        let tenant = tenant();
        let receivers = |to: Value| {
            let calls = tenant.requests(&call("mail", json!({ "to": to }))).unwrap();
            calls.iter().map(|call| call.params.get("to").cloned()).collect::<Vec<_>>()
        };
        assert_eq!(receivers(json!(["a", "b"])), [Some(json!("a")), Some(json!("b"))]);
        assert_eq!(receivers(json!([])), [None]);
    }

    #[test]
    fn a_local_call_leaves_nothing_and_an_unknown_one_is_an_error() {
        assert!(tenant().requests(&call("add", json!({ "a": 1 }))).unwrap().is_empty());
        assert!(tenant().requests(&call("delete", json!({}))).is_err());
        assert!(tenant().requests(&call("mail", json!({ "bcc": ["x"] }))).is_err());
    }

    #[test]
    fn a_tenant_fills_in_lists_and_names_and_may_invent_neither() {
        let mut tenant = tenant();
        let set = tenant.set(PACK).unwrap();
        let known = set.lists.iter().next().unwrap().1;
        assert_eq!(known.iter().map(Text::as_str).collect::<Vec<_>>(), ["a", "b"]);
        let host = set.members(&set.tools.values().next().unwrap().matching.hosts);
        assert_eq!(host.iter().map(Text::as_str).collect::<Vec<_>>(), ["ours.test"]);
        assert!(tenant.set(&PACK.replace("home.example", "other.example")).is_err());
        tenant.lists.insert("unknown".to_owned(), Vec::new());
        assert!(tenant.set(PACK).is_err());
    }
}
