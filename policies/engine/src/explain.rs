//! Why the policy says what it says to one call: each check, each rule, each part of its condition.
//!
//! Not here: how it is shown (`cli`). Invariant: the effect comes from the module that decides calls, on the interpreter,
//! and every truth from a probe with the same lines, so an explanation cannot disagree with the decision.

use std::collections::BTreeSet;

use aegis_document::{Diagnostics, Location};
use aegis_domain::{Effect, RuleId, ToolName};
use aegis_policy_language::{Condition, Exception, Mode, PolicySet, Rule, Tool};
use serde_json::{Map, Value};

use crate::evaluation::{EngineError, PolicyInput, PolicyOutcome};
use crate::lower::{CheckProbe, ExceptionProbe, Inspection, Probe, UNKNOWN_PARAM, inspect, parts};
use crate::projection::{Projection, Reads};
use crate::rego::{Data, document, interpret};
use crate::snapshot::Snapshot;
use crate::wording;

/// One call, explained.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    pub outcome: PolicyOutcome,
    /// Where the tool stands; `None` for a call of no tool of the policy, or too large to be looked at: both are denied.
    pub tool: Option<Location>,
    pub checks: Vec<CheckFinding>,
    /// In the order of the file.
    pub rules: Vec<RuleFinding>,
    pub exceptions: Vec<ExceptionFinding>,
}

/// A check of `match`, `allow` or `params`.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckFinding {
    pub id: String,
    pub at: Location,
    /// What it asks for, as far as its name does not say.
    pub asks: String,
    /// What it does to a call that is not in order.
    pub effect: Effect,
    pub standing: Standing,
    /// The bound that the value does not keep.
    pub broken: Option<String>,
    pub readings: Vec<Reading>,
}

/// What a check or rule does to the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A check in order, or a rule that does not fire.
    Quiet,
    /// It fires and is among those that decide.
    Decides,
    /// It fires, and something stronger decides.
    Outranked,
    /// It fires, and its approval has been granted.
    Approved,
    /// It fires, and an exception lifts it.
    Excepted,
    /// It fires without effect, being in shadow.
    Shadow,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RuleFinding {
    pub id: RuleId,
    pub at: Location,
    pub effect: Effect,
    pub standing: Standing,
    pub condition: Finding,
}

/// An exception from rules of the tool.
#[derive(Clone, Debug, PartialEq)]
pub struct ExceptionFinding {
    pub id: RuleId,
    pub at: Location,
    pub rules: Vec<RuleId>,
    /// It has not expired and its condition holds.
    pub holds: bool,
    pub condition: Finding,
}

/// A condition or a part of one.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    pub text: String,
    pub at: Location,
    pub truth: Truth,
    /// Whether the whole would be open to another answer without this part.
    pub decisive: bool,
    /// What a part without parts looks at.
    pub readings: Vec<Reading>,
    pub parts: Vec<Finding>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    True,
    False,
    /// False, because something it looks at is not there.
    Missing,
}

/// A place in the policy's input and what stands there.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Such as `params.amount`.
    pub path: String,
    /// How closely it is looked at: where only the type counts, a text stands here empty.
    pub reads: Reads,
    pub value: Option<Value>,
}

#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    #[error("the tool cannot be taken apart")]
    Source(#[source] Diagnostics),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Explains one call; `snapshot` was compiled from `set`.
pub fn explain(
    set: &PolicySet,
    snapshot: &Snapshot,
    input: &PolicyInput<'_>,
) -> Result<Explanation, ExplainError> {
    explain_projected(set, snapshot, input.tool, &snapshot.projected_input(input))
}

/// Explains a call of which a record kept what the policy saw.
pub fn explain_projected(
    set: &PolicySet,
    snapshot: &Snapshot,
    name: &ToolName,
    input: &Value,
) -> Result<Explanation, ExplainError> {
    let (told, tool) = (snapshot.told(name, input), set.tools.get(name));
    let (Some(told), Some(tool)) = (told, tool) else {
        let outcome = snapshot.evaluate_projected(name, input)?;
        return Ok(Explanation {
            outcome,
            tool: None,
            checks: Vec::new(),
            rules: Vec::new(),
            exceptions: Vec::new(),
        });
    };
    let inspection = inspect(set, name).map_err(ExplainError::Source)?;
    let inspection = inspection.ok_or(EngineError::Undefined)?;
    let Inspection { tool: module, probes, .. } = &inspection;
    let data = Data::new(&inspection.data);
    let raw = interpret(module, &data, &told)?;
    let ctx = Context {
        probed: document(probes, &data, &told)?,
        sets: Fired::of(&document(module, &data, &told)?),
        effect: raw.effect,
        input: told.to_json(),
        projection: snapshot.projection(name),
    };
    let exceptions: Vec<ExceptionFinding> = set
        .exceptions_of(tool)
        .zip(&inspection.exceptions)
        .map(|(exception, probe)| ctx.exception(exception, probe))
        .collect();
    let rules = tool.rules.iter().zip(&inspection.rules);
    let checks = inspection.checks.iter().map(|check| ctx.check(tool, check));
    let stripped = inspection.stripped.iter().map(|probe| ctx.stripped(tool, probe));
    Ok(Explanation {
        outcome: snapshot.outcome_of(name, raw)?,
        tool: Some(tool.at.clone()),
        checks: checks.chain(stripped).collect(),
        rules: rules.map(|(rule, probe)| ctx.rule(rule, probe, &exceptions)).collect(),
        exceptions,
    })
}

/// The detail sets of the module: what fired, whether or not it decides.
struct Fired(BTreeSet<String>);

impl Fired {
    fn of(document: &Map<String, Value>) -> Self {
        let sets = ["deny", "approval", "sanitize", "would"];
        let members = sets.iter().filter_map(|set| document.get(*set)?.as_array());
        Self(members.flatten().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    fn has(&self, id: &str) -> bool {
        self.0.contains(id)
    }
}

/// What was found out about one call.
struct Context<'p> {
    probed: Map<String, Value>,
    sets: Fired,
    effect: Effect,
    input: Value,
    projection: Option<&'p Projection>,
}

impl Context<'_> {
    fn holds(&self, probe: &Probe) -> bool {
        self.probed.get(&probe.name) == Some(&Value::Bool(true))
    }

    fn check(&self, tool: &Tool, check: &CheckProbe) -> CheckFinding {
        let broken = check.bounds.iter().find(|(_, probe)| !self.holds(probe));
        let in_order = self.holds(&check.probe);
        CheckFinding {
            asks: wording::check(tool, &check.reason),
            id: check.reason.clone(),
            at: check.at.clone(),
            effect: Effect::Deny,
            standing: if in_order { Standing::Quiet } else { Standing::Decides },
            broken: broken.filter(|_| !in_order).map(|(text, _)| text.clone()),
            readings: self.readings(&check.probe.reads),
        }
    }

    fn stripped(&self, tool: &Tool, probe: &Probe) -> CheckFinding {
        let standing = match self.holds(probe) {
            false => Standing::Quiet,
            true if self.effect == Effect::Sanitize => Standing::Decides,
            true => Standing::Outranked,
        };
        CheckFinding {
            id: UNKNOWN_PARAM.to_owned(),
            at: tool.at.clone(),
            asks: "undeclared parameters are stripped".to_owned(),
            effect: Effect::Sanitize,
            standing,
            broken: None,
            readings: self.readings(&probe.reads),
        }
    }

    fn exception(&self, exception: &Exception, probe: &ExceptionProbe) -> ExceptionFinding {
        ExceptionFinding {
            id: exception.id.clone(),
            at: exception.at.clone(),
            rules: exception.rules.clone(),
            holds: self.holds(&probe.in_effect) && self.holds(&probe.when),
            condition: self.finding(&exception.when, &probe.when, &exception.at, true),
        }
    }

    fn rule(&self, rule: &Rule, probe: &Probe, exceptions: &[ExceptionFinding]) -> RuleFinding {
        let fires = self.holds(probe);
        let lifted = exceptions.iter().any(|it| it.holds && it.rules.contains(&rule.id));
        let standing = match rule.mode {
            _ if !fires => Standing::Quiet,
            _ if lifted => Standing::Excepted,
            Mode::Shadow => Standing::Shadow,
            Mode::Enforce if !self.sets.has(rule.id.as_str()) => Standing::Approved,
            Mode::Enforce if rule.level() == self.effect => Standing::Decides,
            Mode::Enforce => Standing::Outranked,
        };
        RuleFinding {
            id: rule.id.clone(),
            at: rule.at.clone(),
            effect: rule.level(),
            standing,
            condition: self.finding(&rule.when, probe, &rule.at, true),
        }
    }

    fn finding(
        &self,
        condition: &Condition,
        probe: &Probe,
        above: &Location,
        decisive: bool,
    ) -> Finding {
        let holds = self.holds(probe);
        let at = place(condition).unwrap_or(above);
        // `all` fails by its parts that fail, `any` holds by its parts that hold; otherwise all parts count.
        let counts = |part: &Probe| match condition {
            Condition::All(_) | Condition::Any(_) => self.holds(part) == holds,
            Condition::Not(_)
            | Condition::Always
            | Condition::Dlp(_)
            | Condition::Calendar { .. }
            | Condition::Money { .. }
            | Condition::Leaf { .. } => true,
        };
        let inside = parts(condition)
            .into_iter()
            .zip(&probe.parts)
            .map(|(part, inner)| self.finding(part, inner, at, decisive && counts(inner)));
        let inside: Vec<Finding> = inside.collect();
        let readings = if inside.is_empty() { self.readings(&probe.reads) } else { Vec::new() };
        let missing = readings.iter().any(|reading| reading.value.is_none());
        let truth = match (holds, missing) {
            (true, _) => Truth::True,
            (false, true) => Truth::Missing,
            (false, false) => Truth::False,
        };
        let text = wording::condition(condition);
        Finding { text, at: at.clone(), truth, decisive, readings, parts: inside }
    }

    fn readings(&self, reads: &[String]) -> Vec<Reading> {
        reads.iter().filter_map(|reference| self.reading(reference)).collect()
    }

    fn reading(&self, reference: &str) -> Option<Reading> {
        let steps = steps(reference.strip_prefix("input")?)?;
        let value = steps.iter().try_fold(&self.input, |value, step| match value {
            Value::Array(items) => items.get(step.parse::<usize>().ok()?),
            _ => value.get(step),
        });
        let pointer = format!("/{}", steps.join("/"));
        let mut kept = self.projection.into_iter().flat_map(Projection::paths);
        let reads = kept.find(|(path, _)| *path == pointer).map_or(Reads::Value, |(_, it)| it);
        Some(Reading { path: steps.join("."), reads, value: value.cloned() })
    }
}

/// Where a condition itself stands, if it knows.
fn place(condition: &Condition) -> Option<&Location> {
    match condition {
        Condition::Calendar { at, .. } | Condition::Leaf { at, .. } => Some(at),
        Condition::Always
        | Condition::All(_)
        | Condition::Any(_)
        | Condition::Not(_)
        | Condition::Dlp(_)
        | Condition::Money { .. } => None,
    }
}

/// `.params["in"][0]` as `params`, `in`, `0`.
fn steps(mut rest: &str) -> Option<Vec<String>> {
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(name) = rest.strip_prefix('.') {
            let (name, after) = name.split_at(name.find(['.', '[']).unwrap_or(name.len()));
            steps.push(name.to_owned());
            rest = after;
        } else {
            let inside = rest.strip_prefix('[')?;
            let mut values = serde_json::Deserializer::from_str(inside).into_iter::<Value>();
            let value = values.next()?.ok()?;
            steps.push(value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            rest = inside.get(values.byte_offset()..)?.strip_prefix(']')?;
        }
    }
    Some(steps)
}
