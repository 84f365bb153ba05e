//! The input document, built as values without JSON text in between.
//!
//! Not here: what the program makes of it. Invariant: what the host does not know is absent, never a default, so
//! that the presence checks of the tool see it.

use std::collections::BTreeMap;

use aegis_domain::{Detector, DlpFacts, EgressCall, RuleId};
use regorus::Value;

use super::Input;
use crate::evaluation::PolicyInput;
use aegis_policy_language::{Calendar, Name, host_candidates};

/// What a tool's program reads beside the call and the agent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Needs {
    pub(crate) calendars: Vec<(Name, Calendar)>,
    /// Some path pattern has braces, so the path is also needed in segments.
    pub(crate) segments: bool,
}

macro_rules! vocabulary {
    ($($key:ident),+ $(,)?) => {
        /// The keys of the input document, made once and shared by every call.
        #[derive(Clone, Debug)]
        pub(crate) struct Vocabulary {
            $($key: Value,)+
            detectors: [(Detector, Value); 5],
        }

        impl Vocabulary {
            pub(crate) fn new() -> Self {
                Self {
                    $($key: Value::from(stringify!($key)),)+
                    detectors: Detector::ALL.map(|detector| (detector, Value::from(detector.as_str()))),
                }
            }
        }
    };
}

vocabulary!(
    tenant,
    tool,
    params,
    agent,
    request,
    facts,
    context,
    id,
    org,
    scopes,
    groups,
    method,
    path,
    segments,
    region,
    host_candidates,
    dlp,
    calendar,
    budget_remaining,
    estimated_cost,
    approved,
);

impl Vocabulary {
    pub(crate) fn input(&self, input: &PolicyInput<'_>, needs: &Needs) -> Input {
        let PolicyInput { tool, call, agent, .. } = input;
        Input(object([
            (&self.tenant, Value::from(agent.tenant.as_str())),
            (&self.tool, Value::from(tool.as_str())),
            (&self.params, params(call)),
            (&self.agent, self.agent(input)),
            (&self.request, self.request(input, needs)),
            (&self.facts, self.facts(input.dlp)),
            (&self.context, self.context(input, needs)),
        ]))
    }

    /// The agent's attributes first, so that none of them can pass for its name, scopes or groups.
    fn agent(&self, input: &PolicyInput<'_>) -> Value {
        let agent = input.agent;
        let attributes = agent.attributes.iter();
        let mut map: BTreeMap<Value, Value> =
            attributes.map(|(name, value)| (Value::from(name.as_str()), json(value))).collect();
        map.insert(self.id.clone(), Value::from(agent.agent.as_str()));
        map.insert(self.org.clone(), Value::from(agent.org.as_str()));
        map.insert(self.scopes.clone(), texts(agent.scopes.iter().map(String::as_str)));
        map.insert(self.groups.clone(), texts(agent.groups.iter().map(String::as_str)));
        Value::from(map)
    }

    fn request(&self, input: &PolicyInput<'_>, needs: &Needs) -> Value {
        let call = input.call;
        let segments = needs.segments.then(|| {
            let path = call.path.strip_prefix('/').unwrap_or(&call.path);
            (&self.segments, texts(path.split('/')))
        });
        let candidates: Vec<Value> = host_candidates(call.host.as_str()).map(Value::from).collect();
        let fixed = [
            (&self.method, Value::from(call.method.as_str())),
            (&self.path, Value::from(call.path.as_str())),
            (&self.region, Value::from(input.region.as_str())),
            (&self.host_candidates, Value::from(candidates)),
        ];
        object(fixed.into_iter().chain(segments))
    }

    fn facts(&self, dlp: &DlpFacts) -> Value {
        match dlp {
            DlpFacts::Scanned(counts) => {
                let counts = self.detectors.iter().map(|(detector, key)| {
                    (key, Value::from(counts.get(detector).copied().unwrap_or(0)))
                });
                object([(&self.dlp, object(counts))])
            }
            DlpFacts::NotScanned => object([]),
        }
    }

    fn context(&self, input: &PolicyInput<'_>, needs: &Needs) -> Value {
        let open = needs.calendars.iter().filter_map(|(name, calendar)| {
            Some((Value::from(name.as_str()), Value::from(calendar.is_open(input.now)?)))
        });
        let approved =
            input.approved.iter().map(|id: &RuleId| (Value::from(id.as_str()), Value::from(true)));
        let budget =
            input.budget_left.map(|left| (&self.budget_remaining, Value::from(left.micro_usd())));
        let fixed = [
            (&self.calendar, Value::from(open.collect::<BTreeMap<_, _>>())),
            (&self.approved, Value::from(approved.collect::<BTreeMap<_, _>>())),
            (&self.estimated_cost, Value::from(input.call.estimated_cost.micro_usd())),
        ];
        object(fixed.into_iter().chain(budget))
    }
}

fn object<'k>(members: impl IntoIterator<Item = (&'k Value, Value)>) -> Value {
    let members = members.into_iter().map(|(key, value)| (key.clone(), value));
    Value::from(members.collect::<BTreeMap<_, _>>())
}

fn texts<'t>(texts: impl Iterator<Item = &'t str>) -> Value {
    Value::from(texts.map(Value::from).collect::<Vec<_>>())
}

fn params(call: &EgressCall) -> Value {
    let members = call.params.iter().map(|(name, value)| (Value::from(name.as_str()), json(value)));
    Value::from(members.collect::<BTreeMap<_, _>>())
}

/// A JSON value; numbers keep their exact integer where they are one. No condition looks inside lists and objects,
/// so they are passed empty: a conversation of a megabyte costs nothing here.
fn json(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::from(*value),
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(_) => Value::new_array(),
        serde_json::Value::Object(_) => Value::new_object(),
        serde_json::Value::Number(number) => {
            if let Some(unsigned) = number.as_u64() {
                Value::from(unsigned)
            } else if let Some(signed) = number.as_i64() {
                Value::from(signed)
            } else {
                number.as_f64().map_or(Value::Null, Value::from)
            }
        }
    }
}
