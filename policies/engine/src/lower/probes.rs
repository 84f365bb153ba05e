//! Probes: every check, bound and part of a condition of one tool under a name of its own, for `explain`.
//!
//! Not here: what decides calls (`module`) and what probes are told as (`explain`). Invariant: a probe has the lines that
//! the tool's own module has for the same part, from the same lowering, so it cannot mean anything else.

use std::collections::BTreeMap;

use aegis_domain::ToolName;
use serde_json::Value;

use super::conditions::{Lines, Lowering, in_effect, is_condition_name, param_reference};
use super::data::{self, Sets};
use super::shape::Shape;
use super::{Module, lint, module};
use crate::wording;
use aegis_document::{Diagnostics, Location};
use aegis_policy_language::{
    Condition, Exception, Name, Param, PolicySet, Presence, UnknownParams,
};

/// One tool, ready to be looked into.
#[derive(Debug)]
pub(crate) struct Inspection {
    /// What decides, byte for byte as in the bundle.
    pub(crate) tool: Module,
    /// The probes, in a package of the same name.
    pub(crate) probes: Module,
    pub(crate) data: Value,
    pub(crate) checks: Vec<CheckProbe>,
    /// There are undeclared parameters, and the tool has them stripped.
    pub(crate) stripped: Option<Probe>,
    /// One for each rule of the tool, in the order of the file.
    pub(crate) rules: Vec<Probe>,
    /// One for each exception from rules of the tool, as `PolicySet::exceptions_of` gives them.
    pub(crate) exceptions: Vec<ExceptionProbe>,
}

/// An exception holds when both are true.
#[derive(Debug)]
pub(crate) struct ExceptionProbe {
    pub(crate) in_effect: Probe,
    pub(crate) when: Probe,
}

/// A part of a condition: true exactly when the rule of this name is.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) name: String,
    /// The references to the input that decide it, in the order in which they are looked at.
    pub(crate) reads: Vec<String>,
    /// As `parts` gives them.
    pub(crate) parts: Vec<Probe>,
}

/// A check: in order when its probe is true.
#[derive(Debug)]
pub(crate) struct CheckProbe {
    pub(crate) reason: String,
    pub(crate) at: Location,
    pub(crate) probe: Probe,
    /// What a parameter must be, one bound more each time; the first that is false says what is wrong.
    pub(crate) bounds: Vec<(String, Probe)>,
}

/// The conditions right inside a condition.
pub(crate) fn parts(condition: &Condition) -> Vec<&Condition> {
    match condition {
        Condition::All(parts) | Condition::Any(parts) => parts.iter().collect(),
        Condition::Not(inner) => vec![inner],
        Condition::Always
        | Condition::Dlp(_)
        | Condition::Calendar { .. }
        | Condition::Money { .. }
        | Condition::Leaf { .. } => Vec::new(),
    }
}

/// The probes of one tool; `None` when the set has no such tool.
pub(crate) fn inspect(set: &PolicySet, name: &ToolName) -> Result<Option<Inspection>, Diagnostics> {
    // All tools are lowered, so that sets get the names they have in the bundle.
    let mut sets = Sets::new(set);
    let mut modules =
        set.tools.iter().map(|(of, tool)| (of, module::tool_module(set, (of, tool), &mut sets)));
    let found = modules.by_ref().collect::<Vec<_>>().into_iter().find(|(of, _)| *of == name);
    let (Some((_, decides)), Some(tool)) = (found, set.tools.get(name)) else { return Ok(None) };
    let (named, exceptions) = (Vec::new(), BTreeMap::new());
    let mut lowering = Lowering { set, name, tool, sets: &mut sets, named, exceptions };
    let checks = lowering.check_probes();
    let stripped = (tool.unknown_params == UnknownParams::Strip).then(|| {
        let unknown = lowering.unknown_params();
        lowering.probe_of(&tool.at, vec![unknown], Vec::new())
    });
    let rules = tool.rules.iter().map(|rule| lowering.probe(&rule.when, &rule.at)).collect();
    let exceptions = set.exceptions_of(tool);
    let exceptions = exceptions.map(|exception| lowering.exception_probe(exception)).collect();
    let probes = module::conditions_module(&mut lowering);
    let mut refused = Diagnostics::default();
    lint(&decides, &mut refused);
    lint(&probes, &mut refused);
    let data = data::document(set, &sets);
    refused.or(Some(Inspection {
        tool: decides,
        probes,
        data,
        checks,
        stripped,
        rules,
        exceptions,
    }))
}

impl Lowering<'_> {
    fn probe(&mut self, condition: &Condition, at: &Location) -> Probe {
        let lines = self.condition(condition, at);
        let inside = parts(condition).into_iter().map(|part| self.probe(part, at)).collect();
        self.probe_of(at, lines, inside)
    }

    fn exception_probe(&mut self, exception: &Exception) -> ExceptionProbe {
        let lines = vec![in_effect(exception)];
        ExceptionProbe {
            in_effect: self.probe_of(&exception.at, lines, Vec::new()),
            when: self.probe(&exception.when, &exception.at),
        }
    }

    fn probe_of(&mut self, at: &Location, lines: Lines, parts: Vec<Probe>) -> Probe {
        let mut reads = Vec::new();
        self.add_reads(&lines, &mut reads);
        Probe { name: self.name(at, vec![lines]), reads, parts }
    }

    /// What the lines look at, also by way of named conditions.
    fn add_reads(&self, lines: &[String], reads: &mut Vec<String>) {
        for line in lines {
            let positive = line.strip_prefix("not ").unwrap_or(line);
            if is_condition_name(positive) {
                let named = self.named.iter().find(|named| named.name == positive);
                let bodies = named.map(|named| named.bodies.as_slice()).unwrap_or_default();
                bodies.iter().for_each(|body| self.add_reads(body, reads));
            }
            for reference in Shape::of(line).into_iter().flat_map(|shape| shape.references) {
                if !reads.contains(&reference) {
                    reads.push(reference);
                }
            }
        }
    }

    fn check_probes(&mut self) -> Vec<CheckProbe> {
        let checks = self.checks();
        let tool = self.tool;
        let probes = checks.into_iter().map(|check| {
            let name = check.reason.strip_prefix("schema.");
            let param =
                name.and_then(|name| tool.params.iter().find(|(it, _)| it.as_str() == name));
            let mut probe = self.probe_of(&check.at, check.lines, Vec::new());
            let bounds = match param {
                Some((name, param)) => {
                    probe.reads = vec![param_reference(name)];
                    self.bounds(name, param)
                }
                None => Vec::new(),
            };
            CheckProbe { reason: check.reason, at: check.at, probe, bounds }
        });
        probes.collect()
    }

    fn bounds(&mut self, name: &Name, param: &Param) -> Vec<(String, Probe)> {
        let value = param_reference(name);
        let mut so_far = Param {
            required: Presence::Required,
            min: None,
            max: None,
            one_of: None,
            pattern: None,
            max_length: None,
            ..param.clone()
        };
        let mut bounds = Vec::new();
        let mut add = |lowering: &mut Self, text: String, so_far: &Param| {
            let lines = lowering.typed(&value, so_far);
            bounds.push((text, lowering.probe_of(&param.at, lines, Vec::new())));
        };
        add(self, format!("type {}", wording::kind(param.kind)), &so_far);
        if let Some(min) = &param.min {
            so_far.min = Some(min.clone());
            add(self, format!("min {min}"), &so_far);
        }
        if let Some(max) = &param.max {
            so_far.max = Some(max.clone());
            add(self, format!("max {max}"), &so_far);
        }
        if let Some(max) = param.max_length {
            so_far.max_length = Some(max);
            add(self, format!("max_length {max}"), &so_far);
        }
        if let Some(list) = &param.one_of {
            so_far.one_of = Some(list.clone());
            add(self, format!("in {}", wording::list(list)), &so_far);
        }
        if let Some(pattern) = &param.pattern {
            so_far.pattern = Some(pattern.clone());
            add(self, format!("pattern {pattern}"), &so_far);
        }
        bounds
    }
}
