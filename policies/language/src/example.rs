//! `tests:`: example calls and what the policy must say to them.
//!
//! Not here: how they are run (`cases`). Invariant: an example is complete; what the file leaves out has been
//! taken from its group, and what neither says is decided by `cases` in one place.

use std::collections::{BTreeMap, BTreeSet};

use aegis_domain::{
    Detector, DlpFacts, Effect, Host, McpCall, Method, MicroUsd, Params, Region, RuleId, Timestamp,
    ToolName,
};
use serde_json::Value;

use crate::name::Name;
use aegis_document::{Diagnostics, Document, Location, Mapping, Node, Problems};

/// One call and the expected answer.
#[derive(Clone, Debug)]
pub struct Example {
    pub at: Location,
    pub name: String,
    pub tool: ToolName,
    pub scenario: Scenario,
    pub params: Params,
    pub effect: Effect,
    pub rules: ExpectedRules,
    /// Shadow rules that must fire, if the example says.
    pub would: Option<BTreeSet<RuleId>>,
    /// Exceptions that must be used, if the example says.
    pub exceptions: Option<BTreeSet<RuleId>>,
}

#[derive(Clone, Debug)]
pub enum ExpectedRules {
    Any,
    Exactly(BTreeSet<RuleId>),
}

/// A call as a person describes it, of which nothing is expected.
#[derive(Clone, Debug)]
pub struct DescribedCall {
    pub tool: ToolName,
    pub scenario: Scenario,
    pub params: Params,
}

impl DescribedCall {
    /// Reads the keys of a test, without `expect`, from a file of their own.
    pub fn parse(document: &Document) -> Result<Self, Diagnostics> {
        document.decode(|node, problems| {
            let mut map = node.mapping(problems)?;
            let tool = map.required("tool", problems, Node::parsed);
            let scenario = scenario(Scenario::default(), &mut map, problems);
            let params = map.optional("params", problems, params);
            map.finish(problems);
            Some(Self { tool: tool?, scenario, params: params.unwrap_or_default() })
        })
    }
}

/// The circumstances of a call; `None` leaves the choice to `cases`.
#[derive(Clone, Debug, Default)]
pub struct Scenario {
    pub agent: Option<ExampleAgent>,
    pub now: Option<Timestamp>,
    pub host: Option<Host>,
    pub method: Option<Method>,
    pub path: Option<String>,
    pub region: Option<Region>,
    pub mcp: Option<McpCall>,
    pub dlp: Option<DlpFacts>,
    pub budget_remaining: Option<MicroUsd>,
    pub estimated_cost: Option<MicroUsd>,
    pub approved: Option<BTreeSet<RuleId>>,
}

#[derive(Clone, Debug, Default)]
pub struct ExampleAgent {
    pub groups: BTreeSet<String>,
    pub scopes: BTreeSet<String>,
    pub attributes: BTreeMap<String, Value>,
}

/// What the examples of a group share; what could not be read is `None`, so that the examples are read all the same.
struct Group {
    name: Option<String>,
    tool: Option<ToolName>,
    scenario: Scenario,
}

/// Reads one group of examples.
pub(crate) fn examples(node: &Node, problems: &mut Problems) -> Option<Vec<Example>> {
    let mut map = node.mapping(problems)?;
    let group = Group {
        name: map.required("name", problems, Node::text),
        tool: map.required("tool", problems, Node::parsed),
        scenario: scenario(Scenario::default(), &mut map, problems),
    };
    let cases = map.required("cases", problems, |cases, p| {
        let mut number = 0_usize;
        cases.list(p, |node, p| {
            number = number.saturating_add(1);
            case(node, p, (&group, number))
        })
    });
    map.finish(problems);
    cases
}

/// What the mapping says, and what `shared` says where the mapping is silent.
fn scenario(shared: Scenario, map: &mut Mapping<'_>, problems: &mut Problems) -> Scenario {
    let money = |node: &Node, p: &mut Problems| {
        node.integer(p, 0..=MicroUsd::MAX.micro_usd()).map(MicroUsd::new)
    };
    Scenario {
        agent: map.optional("agent", problems, agent).or(shared.agent),
        now: map.optional("at", problems, instant).or(shared.now),
        host: map.optional("host", problems, Node::parsed).or(shared.host),
        method: map.optional("method", problems, crate::tool::method).or(shared.method),
        path: map.optional("path", problems, Node::text).or(shared.path),
        region: map.optional("region", problems, Node::parsed).or(shared.region),
        mcp: map.optional("mcp", problems, crate::tool::mcp).or(shared.mcp),
        dlp: map.optional("dlp", problems, dlp).or(shared.dlp),
        budget_remaining: map
            .optional("budget_remaining", problems, money)
            .or(shared.budget_remaining),
        estimated_cost: map.optional("estimated_cost", problems, money).or(shared.estimated_cost),
        approved: map.optional("approved", problems, rule_ids).or(shared.approved),
    }
}

fn case(node: &Node, problems: &mut Problems, (group, number): (&Group, usize)) -> Option<Example> {
    let mut map = node.mapping(problems)?;
    let name = map.optional("name", problems, Node::text);
    let scenario = scenario(group.scenario.clone(), &mut map, problems);
    let params = map.optional("params", problems, params);
    let expect = map.required("expect", problems, expectation);
    let would = map.optional("would", problems, rule_ids);
    let exceptions = map.optional("exceptions", problems, rule_ids);
    map.finish(problems);
    let (effect, rules) = expect?;
    let name = name.unwrap_or_else(|| number.to_string());
    Some(Example {
        at: problems.locate(node.position()),
        name: format!("{}: {name}", group.name.as_ref()?),
        tool: group.tool.clone()?,
        scenario,
        params: params.unwrap_or_default(),
        effect,
        rules,
        would,
        exceptions,
    })
}

fn params(node: &Node, problems: &mut Problems) -> Option<Params> {
    match node.json(problems)? {
        Value::Object(params) => Some(params),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            problems.report(node.position(), "expected a mapping of parameters");
            None
        }
    }
}

/// Reads `allow`, `deny` or `deny: [rule, ..]`.
fn expectation(node: &Node, problems: &mut Problems) -> Option<(Effect, ExpectedRules)> {
    let effects = [Effect::Allow, Effect::Sanitize, Effect::ApprovalNeeded, Effect::Deny];
    let named = effects.map(|effect| (effect.as_str(), effect));
    if !node.is_mapping() {
        return Some((node.choice(problems, &named)?, ExpectedRules::Any));
    }
    let mut map = node.mapping(problems)?;
    if map.is_empty() {
        problems.report(node.position(), "expected an effect and the ids of its rules");
    }
    let strong = [Effect::Sanitize, Effect::ApprovalNeeded, Effect::Deny];
    let mut found = strong
        .iter()
        .filter_map(|effect| {
            map.optional(effect.as_str(), problems, rule_ids).map(|ids| (*effect, ids))
        })
        .collect::<Vec<_>>();
    map.finish(problems);
    let (effect, ids) = found.pop()?;
    if !found.is_empty() {
        problems.report(node.position(), "a call has one effect");
    }
    Some((effect, ExpectedRules::Exactly(ids)))
}

fn rule_ids(node: &Node, problems: &mut Problems) -> Option<BTreeSet<RuleId>> {
    node.list(problems, Node::parsed).map(|ids| ids.into_iter().collect())
}

fn agent(node: &Node, problems: &mut Problems) -> Option<ExampleAgent> {
    let texts = |node: &Node, p: &mut Problems| {
        let texts = node.list(p, Node::text)?;
        Some(texts.into_iter().collect::<BTreeSet<String>>())
    };
    let mut map = node.mapping(problems)?;
    let groups = map.optional("groups", problems, texts);
    let scopes = map.optional("scopes", problems, texts);
    let attributes =
        map.optional("attributes", problems, |n, p| n.map(p, Node::parsed::<Name>, Node::json));
    map.finish(problems);
    let attributes = attributes.unwrap_or_default().into_iter();
    Some(ExampleAgent {
        groups: groups.unwrap_or_default(),
        scopes: scopes.unwrap_or_default(),
        attributes: attributes.map(|(name, value)| (name.to_string(), value)).collect(),
    })
}

pub(crate) fn instant(node: &Node, problems: &mut Problems) -> Option<Timestamp> {
    let parsed: Option<jiff::Timestamp> = node.text(problems)?.parse().ok();
    let second = parsed.and_then(|instant| u64::try_from(instant.as_second()).ok());
    if second.is_none() {
        problems.report(node.position(), "an instant is written like 2026-11-20T10:00:00Z");
    }
    second.map(Timestamp::from_unix_s)
}

/// Reads `not_scanned` or how often each detector found something.
fn dlp(node: &Node, problems: &mut Problems) -> Option<DlpFacts> {
    if node.as_text() == Some("not_scanned") {
        return Some(DlpFacts::NotScanned);
    }
    let named = Detector::ALL.map(|detector| (detector.as_str(), detector));
    let counts = node.map(
        problems,
        |key, p| key.choice(p, &named),
        |count, p| count.integer(p, 0..=u32::MAX),
    )?;
    Some(DlpFacts::Scanned(counts))
}
