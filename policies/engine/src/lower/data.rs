//! `aegis_data/data.json`: the constants of the policy, out of the source so that the source stays flat.
//!
//! Not here: the rules that look them up. Invariant: sets and hosts are objects whose keys are the members, since
//! looking up an array differs between engines; equal sets are stored once.

use std::collections::BTreeMap;

use aegis_domain::{Obligation, RuleId, ToolName};
use serde_json::{Map, Value, json};

use aegis_policy_language::{Exception, PolicySet, Text, UnknownParams};

/// The sets that conditions look things up in, by content.
#[derive(Debug)]
pub(super) struct Sets {
    by_members: BTreeMap<Vec<Text>, String>,
    numbered: usize,
}

impl Sets {
    /// Begins with the named lists, so that readers find them under their names.
    pub(super) fn new(set: &PolicySet) -> Self {
        let mut by_members = BTreeMap::new();
        for (name, list) in &set.lists {
            by_members.entry(sorted(list)).or_insert_with(|| format!("l_{name}"));
        }
        Self { by_members, numbered: 0 }
    }

    /// The reference to the set with these members.
    pub(super) fn reference(&mut self, members: &[Text]) -> String {
        let numbered = &mut self.numbered;
        let name = self.by_members.entry(sorted(members)).or_insert_with(|| {
            *numbered = numbered.saturating_add(1);
            format!("s_{numbered}")
        });
        format!("data.aegis_data.sets.{name}")
    }
}

fn sorted(members: &[Text]) -> Vec<Text> {
    let mut members = members.to_vec();
    members.sort();
    members.dedup();
    members
}

fn keys<'t>(members: impl IntoIterator<Item = &'t Text>) -> Value {
    members
        .into_iter()
        .map(|member| (member.to_string(), Value::Bool(true)))
        .collect::<Map<_, _>>()
        .into()
}

/// The document under `data.aegis_data`.
pub(super) fn document(set: &PolicySet, sets: &Sets) -> Value {
    let sets = sets.by_members.iter().map(|(members, name)| (name.clone(), keys(members)));
    let hosts = set
        .tools
        .iter()
        .map(|(name, tool)| (name.to_string(), keys(set.members(&tool.matching.hosts))));
    let tools = set.tools.iter().map(|(name, tool)| {
        let package = aegis_policy_language::package_of(name);
        (name.to_string(), json!({ "class": tool.class.as_str(), "package": package }))
    });
    let calendars = set.calendars.iter().map(|(name, calendar)| {
        let text = &calendar.text;
        let value = json!({ "tz": text.tz, "weekly": text.weekly, "holidays": text.holidays });
        (name.to_string(), value)
    });
    let approvals = set.approvals.iter().map(|(name, approval)| {
        let bind: Vec<&str> = approval.bind.iter().map(|param| param.as_str()).collect();
        let value = json!({
            "route": approval.route.as_str(),
            "quorum": approval.quorum,
            "expires_ms": approval.expires.ms(),
            "bind": bind,
        });
        (name.to_string(), value)
    });
    let obligations = obligations(set);
    let obligations = obligations
        .iter()
        .map(|(name, parts)| (name.clone(), parts.iter().map(obligation).collect::<Value>()));
    json!({
        "sets": sets.collect::<Map<_, _>>(),
        "hosts": hosts.collect::<Map<_, _>>(),
        "tools": tools.collect::<Map<_, _>>(),
        "calendars": calendars.collect::<Map<_, _>>(),
        "approvals": approvals.collect::<Map<_, _>>(),
        "exceptions": set.all_exceptions().map(exception).collect::<Map<_, _>>(),
        "obligations": obligations.collect::<Map<_, _>>(),
        "reasons": reasons(set),
    })
}

/// Every obligation a decision can name: those of the set, and what strips undeclared parameters from a tool's calls.
pub(crate) fn obligations(set: &PolicySet) -> BTreeMap<String, Vec<Obligation>> {
    let named = set.obligations.iter().map(|(name, parts)| (name.to_string(), parts.clone()));
    let stripping =
        set.tools.iter().filter(|(_, tool)| tool.unknown_params == UnknownParams::Strip).map(
            |(name, tool)| {
                let fields = tool.params.keys().map(|param| param.to_string()).collect();
                (stripping(name), vec![Obligation::KeepFields { fields }])
            },
        );
    named.chain(stripping).collect()
}

/// What the obligation to strip a tool's calls is called; no obligation of the set can have this name.
pub(super) fn stripping(tool: &ToolName) -> String {
    format!("strip:{tool}")
}

/// For readers of the bundle, and for hosts that compute `input.context.exceptions`.
fn exception(exception: &Exception) -> (String, Value) {
    let rules: Vec<&str> = exception.rules.iter().map(RuleId::as_str).collect();
    let value = json!({
        "owner": exception.owner.as_str(),
        "reason": exception.reason.as_str(),
        "expires_unix_s": exception.expires.unix_s(),
        "rules": rules,
    });
    (exception.id.to_string(), value)
}

fn obligation(obligation: &Obligation) -> Value {
    match obligation {
        Obligation::Redact { detectors } => {
            let names: Vec<&str> = detectors.iter().map(|detector| detector.as_str()).collect();
            json!({ "kind": "redact", "detectors": names })
        }
        Obligation::RedactFields { fields } => json!({ "kind": "redact_fields", "fields": fields }),
        Obligation::KeepFields { fields } => json!({ "kind": "keep_fields", "fields": fields }),
        Obligation::StripAttachments => json!({ "kind": "strip_attachments" }),
    }
}

/// What people wrote beside deny rules, by tool and rule.
fn reasons(set: &PolicySet) -> Value {
    let tools = set.tools.iter().filter_map(|(name, tool)| {
        let texts = tool
            .rules
            .iter()
            .filter_map(|rule| Some((rule.id.to_string(), Value::from(rule.reason()?.as_str()))));
        let texts: Map<String, Value> = texts.collect();
        (!texts.is_empty()).then(|| (name.to_string(), Value::Object(texts)))
    });
    tools.collect::<Map<_, _>>().into()
}
