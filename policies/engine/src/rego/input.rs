//! The input document of one tool: exactly what its program reads, built as values without JSON text in between.
//!
//! Not here: what the program makes of it, and which paths it reads (`Projection`). Invariant: what the host does not
//! know is absent, never a default, so that the presence checks of the tool see it; what the program does not read is
//! never built.

use std::cell::Cell;
use std::collections::BTreeMap;

use aegis_domain::{Detector, DlpFacts, RuleId, Timestamp};
use regorus::Value;
use serde_json::Value as Json;

use super::Input;
use crate::evaluation::PolicyInput;
use crate::projection::{Branches, Projection, Reads};
use aegis_policy_language::{Calendar, MoneyFact, PolicySet, host_candidates};

/// How to build the input document of one tool.
#[derive(Clone, Debug)]
pub(crate) struct Plan(Vec<Member>);

#[derive(Clone, Debug)]
struct Member {
    name: Box<str>,
    /// The name as a value, made once and shared by every call.
    key: Value,
    part: Part,
}

#[derive(Clone, Debug)]
enum Part {
    Supplied(Source),
    Object(Vec<Member>),
    /// The parameters: declared ones as closely as they are read, of the others the names.
    Params(BTreeMap<Box<str>, (Value, Reads)>),
}

/// Where the host finds a value.
#[derive(Clone, Debug)]
enum Source {
    Tenant,
    Tool,
    AgentId,
    AgentOrg,
    Scopes,
    Groups,
    Attribute(Box<str>),
    Method,
    Path,
    Segments,
    Region,
    HostCandidates,
    Host,
    Mcp,
    McpServer,
    McpTool,
    Findings(Detector),
    Calendar(Calendar),
    /// When the exception ends.
    Exception(Timestamp),
    Approved(RuleId),
    Money(MoneyFact),
}

/// A program reads a path that no host supplies; it would be undefined for ever.
#[derive(Debug, thiserror::Error)]
#[error("the program reads `{0}`, which nothing supplies")]
pub(crate) struct UnknownPath(String);

/// The call holds more text than a policy may look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// The texts of one input document, together.
const TEXT_BYTES_MAX: usize = 64 * 1024;

impl Plan {
    pub(crate) fn new(projection: &Projection, set: &PolicySet) -> Result<Self, UnknownPath> {
        let members = projection.tree().below.into_iter();
        let members = members.map(|(name, branch)| member(&mut Vec::new(), name, branch, set));
        members.collect::<Result<_, _>>().map(Self)
    }

    /// What the program sees of a call.
    pub(crate) fn input(&self, input: &PolicyInput<'_>) -> Result<Input, TooLarge> {
        let text = Text::default();
        let document = object(self.0.iter().filter_map(|member| member.live(input, &text)));
        text.within_bounds(document)
    }

    /// What the program sees of an input that was recorded, whatever else the record holds.
    pub(crate) fn recorded(&self, document: &Json) -> Result<Input, TooLarge> {
        let text = Text::default();
        let document = object(self.0.iter().filter_map(|member| member.recorded(document, &text)));
        text.within_bounds(document)
    }
}

impl Input {
    pub(crate) fn to_json(&self) -> Json {
        // A document of texts, numbers and booleans under text keys is always JSON.
        serde_json::to_value(&self.0).unwrap_or_default()
    }
}

fn member(
    above: &mut Vec<String>,
    name: String,
    branch: Branches,
    set: &PolicySet,
) -> Result<Member, UnknownPath> {
    let (boxed, key) = (name.as_str().into(), Value::from(name.as_str()));
    above.push(name);
    let part = if above.as_slice() == ["params"] {
        let declared = branch.below.into_iter().map(|(name, branch)| {
            let key = Value::from(name.as_str());
            (name.into_boxed_str(), (key, branch.here.unwrap_or(Reads::Type)))
        });
        Part::Params(declared.collect())
    } else if branch.below.is_empty() {
        let path: Vec<&str> = above.iter().map(String::as_str).collect();
        let source = Source::of(&path, set).ok_or_else(|| UnknownPath(path.join(".")))?;
        Part::Supplied(source)
    } else {
        let members = branch.below.into_iter();
        let members = members.map(|(name, branch)| member(above, name, branch, set));
        Part::Object(members.collect::<Result<_, _>>()?)
    };
    above.pop();
    Ok(Member { name: boxed, key, part })
}

impl Source {
    fn of(path: &[&str], set: &PolicySet) -> Option<Self> {
        Some(match *path {
            ["tenant"] => Source::Tenant,
            ["tool"] => Source::Tool,
            ["agent", "id"] => Source::AgentId,
            ["agent", "org"] => Source::AgentOrg,
            ["agent", "scopes"] => Source::Scopes,
            ["agent", "groups"] => Source::Groups,
            ["agent", attribute] => Source::Attribute(attribute.into()),
            ["request", "method"] => Source::Method,
            ["request", "path"] => Source::Path,
            ["request", "segments"] => Source::Segments,
            ["request", "region"] => Source::Region,
            ["request", "host_candidates"] => Source::HostCandidates,
            ["request", "host"] => Source::Host,
            ["request", "mcp"] => Source::Mcp,
            ["request", "mcp", "server"] => Source::McpServer,
            ["request", "mcp", "tool"] => Source::McpTool,
            ["facts", "dlp", detector] => Source::Findings(
                Detector::ALL.into_iter().find(|known| known.as_str() == detector)?,
            ),
            ["context", "calendar", name] => {
                Source::Calendar(set.calendars.get(&name.parse().ok()?)?.clone())
            }
            ["context", "exceptions", id] => {
                let found = set.all_exceptions().find(|exception| exception.id.as_str() == id)?;
                Source::Exception(found.expires)
            }
            ["context", "approved", rule] => Source::Approved(rule.parse().ok()?),
            ["context", "budget_remaining"] => Source::Money(MoneyFact::BudgetRemaining),
            ["context", "estimated_cost"] => Source::Money(MoneyFact::EstimatedCost),
            _ => return None,
        })
    }

    /// The value, if the host knows it. Attributes cannot pass for an agent's name, scopes or groups: those have
    /// sources of their own.
    fn value(&self, input: &PolicyInput<'_>, text: &Text) -> Option<Value> {
        let (call, agent) = (input.call, input.agent);
        Some(match self {
            Source::Tenant => text.value(agent.tenant.as_str()),
            Source::Tool => text.value(input.tool.as_str()),
            Source::AgentId => text.value(agent.agent.as_str()),
            Source::AgentOrg => text.value(agent.org.as_str()),
            Source::Scopes => text.list(agent.scopes.iter().map(String::as_str)),
            Source::Groups => text.list(agent.groups.iter().map(String::as_str)),
            Source::Attribute(name) => text.shallow(agent.attributes.get(&**name)?, Reads::Value),
            Source::Method => text.value(call.method.as_str()),
            Source::Path => text.value(&call.path),
            Source::Segments => {
                text.list(call.path.strip_prefix('/').unwrap_or(&call.path).split('/'))
            }
            Source::Region => text.value(input.region.as_str()),
            Source::HostCandidates => Value::from(
                host_candidates(call.host.as_str()).map(Value::from).collect::<Vec<_>>(),
            ),
            Source::Host => text.value(call.host.as_str()),
            Source::Mcp => call.mcp.as_ref().map(|_| Value::new_object())?,
            Source::McpServer => text.value(call.mcp.as_ref()?.server.as_str()),
            Source::McpTool => text.value(call.mcp.as_ref()?.tool.as_str()),
            Source::Findings(detector) => match input.dlp {
                DlpFacts::Scanned(counts) => {
                    Value::from(counts.get(detector).copied().unwrap_or(0))
                }
                DlpFacts::NotScanned => return None,
            },
            Source::Calendar(calendar) => Value::from(calendar.is_open(input.now)?),
            Source::Exception(expires) => Value::from(input.now < *expires),
            Source::Approved(rule) => input.approved.contains(rule).then(|| Value::from(true))?,
            Source::Money(MoneyFact::BudgetRemaining) => {
                Value::from(input.budget_left?.micro_usd())
            }
            Source::Money(MoneyFact::EstimatedCost) => Value::from(call.estimated_cost.micro_usd()),
        })
    }
}

impl Member {
    /// An object of which nothing is known is absent as well.
    fn live(&self, input: &PolicyInput<'_>, text: &Text) -> Option<(Value, Value)> {
        let value = match &self.part {
            Part::Supplied(source) => source.value(input, text)?,
            Part::Object(members) => {
                filled(members.iter().filter_map(|member| member.live(input, text)))?
            }
            Part::Params(declared) => params(&input.call.params, declared, text),
        };
        Some((self.key.clone(), value))
    }

    fn recorded(&self, document: &Json, text: &Text) -> Option<(Value, Value)> {
        let document = document.get(&*self.name)?;
        let value = match &self.part {
            Part::Supplied(_) => text.nested(document),
            Part::Object(members) => {
                filled(members.iter().filter_map(|member| member.recorded(document, text)))?
            }
            Part::Params(declared) => match document.as_object() {
                Some(map) => params(map, declared, text),
                None => text.shallow(document, Reads::Type),
            },
        };
        Some((self.key.clone(), value))
    }
}

fn params(
    params: &aegis_domain::Params,
    declared: &BTreeMap<Box<str>, (Value, Reads)>,
    text: &Text,
) -> Value {
    object(params.iter().map(|(name, value)| match declared.get(name.as_str()) {
        Some((key, reads)) => (key.clone(), text.shallow(value, *reads)),
        None => (text.value(name), Value::Null),
    }))
}

fn filled(members: impl Iterator<Item = (Value, Value)>) -> Option<Value> {
    let members: BTreeMap<Value, Value> = members.collect();
    (!members.is_empty()).then(|| Value::from(members))
}

fn object(members: impl Iterator<Item = (Value, Value)>) -> Value {
    Value::from(members.collect::<BTreeMap<_, _>>())
}

/// Makes values and counts the bytes of their texts.
#[derive(Debug, Default)]
struct Text(Cell<usize>);

impl Text {
    fn within_bounds(&self, document: Value) -> Result<Input, TooLarge> {
        if self.0.get() > TEXT_BYTES_MAX { Err(TooLarge) } else { Ok(Input(document)) }
    }

    fn value(&self, text: &str) -> Value {
        self.0.set(self.0.get().saturating_add(text.len()));
        Value::from(text)
    }

    fn list<'t>(&self, texts: impl Iterator<Item = &'t str>) -> Value {
        Value::from(texts.map(|text| self.value(text)).collect::<Vec<_>>())
    }

    /// A value as closely as it is read. No condition looks inside lists and objects, so they are passed empty, as are
    /// texts that are only tested for being one: a conversation of a megabyte costs nothing here.
    fn shallow(&self, value: &Json, reads: Reads) -> Value {
        match value {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::from(*value),
            Json::String(_) if reads == Reads::Type => Value::from(""),
            Json::String(text) => self.value(text),
            Json::Array(_) => Value::new_array(),
            Json::Object(_) => Value::new_object(),
            Json::Number(number) => exact(number),
        }
    }

    /// A value of a record: lists are those the host made, of texts.
    fn nested(&self, value: &Json) -> Value {
        match value {
            Json::Array(items) => {
                let items = items.iter().map(|item| self.shallow(item, Reads::Value));
                Value::from(items.collect::<Vec<_>>())
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Object(_) => {
                self.shallow(value, Reads::Value)
            }
        }
    }
}

/// A number; integers stay exact.
fn exact(number: &serde_json::Number) -> Value {
    if let Some(unsigned) = number.as_u64() {
        Value::from(unsigned)
    } else if let Some(signed) = number.as_i64() {
        Value::from(signed)
    } else {
        number.as_f64().map_or(Value::Null, Value::from)
    }
}
