//! Runs the tests that a policy brings along, and says which rules they reached.
//!
//! Not here: how tests are written (`source::example`), how the report is shown. Invariant: a test runs through
//! `Snapshot::evaluate` like any call; what it leaves unsaid is filled in here and nowhere else.

use std::collections::{BTreeMap, BTreeSet};

use aegis_domain::{
    AgentId, AgentIdentity, DlpFacts, Effect, EgressCall, Host, Jti, KeyId, Method, MicroUsd,
    OrgId, Params, ParamsHash, Region, RuleId, Scheme, Timestamp, TokenUse, ToolName,
};
use serde_json::Value;

use crate::evaluation::{EngineError, PolicyInput, PolicyOutcome};
use crate::snapshot::Snapshot;
use aegis_document::Location;
use aegis_policy_language::{
    Example, ExpectedRules, Mode, PathPattern, PolicySet, Rule, Segment, Tool,
};

/// What came of the tests of one set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseReport {
    /// In the order of the files.
    pub cases: Vec<CaseResult>,
    /// For every rule of every tool.
    pub coverage: Vec<RuleCoverage>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseResult {
    pub name: String,
    pub at: Location,
    /// What went wrong; `None` when the test passed.
    pub failure: Option<String>,
}

/// Whether any test saw a rule fire, and any test of its tool saw it not fire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleCoverage {
    pub tool: ToolName,
    pub rule: RuleId,
    pub at: Location,
    pub fired: bool,
    pub not_fired: bool,
}

impl CaseReport {
    pub fn passed(&self) -> bool {
        self.cases.iter().all(|case| case.failure.is_none())
    }

    /// The rules that were not seen both ways.
    pub fn uncovered(&self) -> impl Iterator<Item = &RuleCoverage> {
        self.coverage.iter().filter(|rule| !(rule.fired && rule.not_fired))
    }
}

/// Runs every test of the set against its snapshot.
pub fn run(snapshot: &Snapshot, set: &PolicySet) -> CaseReport {
    let mut outcomes: BTreeMap<&ToolName, Vec<PolicyOutcome>> = BTreeMap::new();
    let mut cases = Vec::new();
    for example in &set.examples {
        let failure = match evaluate(snapshot, set, example) {
            Ok(outcome) => {
                let failure = mismatch(example, &outcome);
                outcomes.entry(&example.tool).or_default().push(outcome);
                failure
            }
            Err(error) => Some(error),
        };
        let (name, at) = (example.name.clone(), example.at.clone());
        cases.push(CaseResult { name, at, failure });
    }
    CaseReport { cases, coverage: coverage(set, &outcomes) }
}

fn coverage(
    set: &PolicySet,
    outcomes: &BTreeMap<&ToolName, Vec<PolicyOutcome>>,
) -> Vec<RuleCoverage> {
    let tools = set.tools.iter();
    tools
        .flat_map(|(tool, definition)| definition.rules.iter().map(move |rule| (tool, rule)))
        .map(|(tool, rule)| {
            let outcomes = outcomes.get(tool).map(Vec::as_slice).unwrap_or_default();
            let seen =
                |wanted| outcomes.iter().any(|outcome| has_fired(rule, outcome) == Some(wanted));
            RuleCoverage {
                tool: tool.clone(),
                rule: rule.id.clone(),
                at: rule.at.clone(),
                fired: seen(true),
                not_fired: seen(false),
            }
        })
        .collect()
}

/// Whether the rule fired, as far as the outcome tells: it lists what fired at the winning level only.
fn has_fired(rule: &Rule, outcome: &PolicyOutcome) -> Option<bool> {
    if rule.mode == Mode::Shadow {
        return Some(outcome.would.contains(&rule.id));
    }
    (outcome.effect <= rule.level()).then(|| outcome.rules.contains(&rule.id))
}

fn mismatch(example: &Example, outcome: &PolicyOutcome) -> Option<String> {
    let found: BTreeSet<RuleId> = outcome.rules.iter().cloned().collect();
    let rules_fit = match &example.rules {
        ExpectedRules::Any => true,
        ExpectedRules::Exactly(ids) => *ids == found,
    };
    if example.effect != outcome.effect || !rules_fit {
        let expected = match &example.rules {
            ExpectedRules::Any => example.effect.as_str().to_owned(),
            ExpectedRules::Exactly(ids) => described(example.effect, ids),
        };
        return Some(format!("expected {expected}, got {}", described(outcome.effect, &found)));
    }
    let would: BTreeSet<RuleId> = outcome.would.iter().cloned().collect();
    match &example.would {
        Some(ids) if *ids != would => {
            Some(format!("expected shadow rules [{}], got [{}]", listed(ids), listed(&would)))
        }
        Some(_) | None => None,
    }
}

fn described(effect: Effect, ids: &BTreeSet<RuleId>) -> String {
    format!("{} [{}]", effect.as_str(), listed(ids))
}

fn listed(ids: &BTreeSet<RuleId>) -> String {
    ids.iter().map(RuleId::as_str).collect::<Vec<_>>().join(", ")
}

fn evaluate(
    snapshot: &Snapshot,
    set: &PolicySet,
    example: &Example,
) -> Result<PolicyOutcome, String> {
    asked(set, example, |input| snapshot.evaluate(input))
}

/// The input document of an example, as every engine reads it.
pub fn document(snapshot: &Snapshot, set: &PolicySet, example: &Example) -> Result<Value, String> {
    asked(set, example, |input| snapshot.input_document(input))
}

fn asked<T>(
    set: &PolicySet,
    example: &Example,
    ask: impl FnOnce(&PolicyInput<'_>) -> Result<T, EngineError>,
) -> Result<T, String> {
    let unfit = |error: aegis_domain::IdError| error.to_string();
    let tool = set.tools.get(&example.tool).ok_or("the tool is not in the set")?;
    let call = call(set, tool, example).map_err(unfit)?;
    let agent = agent(set, example).map_err(unfit)?;
    let scenario = &example.scenario;
    let first_region = tool.allow.regions.as_ref().and_then(|regions| regions.first());
    let region = match scenario.region.as_ref().or(first_region) {
        Some(region) => region.clone(),
        None => Region::parse("test").map_err(unfit)?,
    };
    let nothing_found = DlpFacts::Scanned(BTreeMap::new());
    let input = PolicyInput {
        tool: &example.tool,
        call: &call,
        agent: &agent,
        region: &region,
        dlp: scenario.dlp.as_ref().unwrap_or(&nothing_found),
        now: scenario.now.unwrap_or(NOON),
        budget_left: Some(scenario.budget_remaining.unwrap_or(MicroUsd::MAX)),
        approved: &scenario.approved.clone().unwrap_or_default(),
    };
    ask(&input).map_err(|error| error.to_string())
}

/// 2000-01-03T12:00:00Z, a Monday, for tests that do not say when.
const NOON: Timestamp = Timestamp::from_unix_s(946_900_800);

/// A call that matches its tool where the example does not say otherwise.
fn call(
    set: &PolicySet,
    tool: &Tool,
    example: &Example,
) -> Result<EgressCall, aegis_domain::IdError> {
    let scenario = &example.scenario;
    let host = match &scenario.host {
        Some(host) => host.clone(),
        None => {
            let first = set.members(&tool.matching.hosts).first().map(|host| host.as_str());
            Host::parse(&first.unwrap_or_default().replacen('*', "any", 1))?
        }
    };
    let first_path = tool.matching.paths.first().map(|path| path_for(path, &example.params));
    let method: Option<&Method> = scenario.method.as_ref().or(tool.matching.methods.first());
    let body = Value::Object(example.params.clone()).to_string();
    Ok(EgressCall {
        route: example.tool.clone(),
        scheme: Scheme::Https,
        host,
        port: 443,
        method: method.cloned().ok_or(aegis_domain::IdError::Empty { what: "a method" })?,
        path: scenario.path.clone().or(first_path).unwrap_or_default(),
        query: None,
        kind: tool.class,
        params: example.params.clone(),
        params_hash: ParamsHash::of(body.as_bytes()),
        body_bytes: u64::try_from(body.len()).unwrap_or(u64::MAX),
        estimated_cost: scenario.estimated_cost.unwrap_or(MicroUsd::ZERO),
    })
}

/// The pattern with its names filled in from the parameters.
fn path_for(path: &PathPattern, params: &Params) -> String {
    let mut text = String::new();
    for segment in path.segments() {
        text.push('/');
        match segment {
            Segment::Literal(literal) => text.push_str(literal.as_str()),
            Segment::Empty => {}
            Segment::Param(name) => {
                let value = params.get(name.as_str()).and_then(Value::as_str);
                text.push_str(value.filter(|value| !value.is_empty()).unwrap_or("any"));
            }
        }
    }
    if path.is_open() {
        text.push_str("/any");
    }
    text
}

fn agent(set: &PolicySet, example: &Example) -> Result<AgentIdentity, aegis_domain::IdError> {
    let said = example.scenario.agent.clone().unwrap_or_default();
    Ok(AgentIdentity {
        org: OrgId::parse("test")?,
        tenant: set.tenant.clone(),
        agent: AgentId::parse("test-agent")?,
        parent_agent: None,
        scopes: said.scopes,
        groups: said.groups,
        attributes: said.attributes,
        jti: Jti::parse("test")?,
        key_id: KeyId::parse("test")?,
        token_use: TokenUse::Bound,
        expires_at: Timestamp::from_unix_ns(u64::MAX),
    })
}
