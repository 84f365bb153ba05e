//! What is legal but unwise: rules that can never fire or always do, tools that answer the same requests.
//!
//! Not here: errors (`source::check`). Invariant: findings are exact for conjunctions of comparisons with numbers on
//! one parameter; anything else counts as unknown and is not reported.

use std::collections::BTreeMap;

use aegis_domain::ToolName;
use serde_json::Number;

use crate::host::host_candidates;
use crate::{
    Condition, Literal, Name, Order, Param, PathPattern, PolicySet, Presence, Rule, RuleEffect,
    Segment, Subject, Test, Tool,
};
use aegis_document::Diagnostics;

/// Everything that is worth a second look, by position.
pub fn findings(set: &PolicySet) -> Diagnostics {
    let mut found = Diagnostics::default();
    for tool in set.tools.values() {
        tool.rules.iter().for_each(|rule| reach(tool, rule, &mut found));
    }
    overlaps(set, &mut found);
    found.sorted()
}

fn reach(tool: &Tool, rule: &Rule, found: &mut Diagnostics) {
    match truth(&rule.when, &tool.params) {
        Truth::Never => {
            let message = format!("the rule `{}` can never fire", rule.id);
            let help = "its condition contradicts itself or the bounds of its parameters";
            found.report(&rule.at, message, Some(help.to_owned()));
        }
        Truth::Always if matches!(rule.effect, RuleEffect::Deny { .. }) => {
            let message = format!("the rule `{}` denies every call of the tool", rule.id);
            found.report(&rule.at, message, None);
        }
        Truth::Always | Truth::Unknown => {}
    }
}

/// Whether a condition holds, for every call that the checks let through; the weakest of several is what all of them
/// have together, the strongest what any of them has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Truth {
    Never,
    Unknown,
    Always,
}

impl Truth {
    fn not(self) -> Self {
        match self {
            Truth::Never => Truth::Always,
            Truth::Always => Truth::Never,
            Truth::Unknown => Truth::Unknown,
        }
    }
}

fn truth(condition: &Condition, params: &BTreeMap<Name, Param>) -> Truth {
    match condition {
        Condition::Always => Truth::Always,
        Condition::Not(inner) => truth(inner, params).not(),
        Condition::All(parts) if contradiction(parts, params) => Truth::Never,
        Condition::All(parts) => {
            parts.iter().map(|part| truth(part, params)).min().unwrap_or(Truth::Always)
        }
        Condition::Any(parts) => {
            parts.iter().map(|part| truth(part, params)).max().unwrap_or(Truth::Never)
        }
        Condition::Leaf { subject: Subject::Param(name), test, .. } => {
            let Some(param) = params.get(name) else { return Truth::Unknown };
            leaf_truth(test, param)
        }
        Condition::Leaf { .. }
        | Condition::Dlp(_)
        | Condition::Calendar { .. }
        | Condition::Money { .. } => Truth::Unknown,
    }
}

/// Against the declared bounds of its parameter.
fn leaf_truth(test: &Test, param: &Param) -> Truth {
    let Some(tested) = Interval::of(test) else { return Truth::Unknown };
    let declared = Interval::declared(param);
    if declared.and(tested).is_empty() {
        Truth::Never
    } else if param.required == Presence::Required && declared.is_within(tested) {
        Truth::Always
    } else {
        Truth::Unknown
    }
}

/// Whether the comparisons on one parameter leave no value.
fn contradiction(parts: &[Condition], params: &BTreeMap<Name, Param>) -> bool {
    let mut left: BTreeMap<&Name, Interval> = BTreeMap::new();
    for part in parts {
        if let Condition::Leaf { subject: Subject::Param(name), test, .. } = part
            && let (Some(interval), Some(param)) = (Interval::of(test), params.get(name))
        {
            let before = left.entry(name).or_insert_with(|| Interval::declared(param));
            *before = before.and(interval);
        }
    }
    left.values().any(|interval| interval.is_empty())
}

/// An end of an interval and whether it belongs to it.
type End = (f64, bool);

/// The numbers between two ends.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Interval {
    low: End,
    high: End,
}

impl Interval {
    const ALL: Interval = Interval { low: (f64::NEG_INFINITY, true), high: (f64::INFINITY, true) };

    /// What a test lets through; `None` for tests that are no comparison with a number.
    fn of(test: &Test) -> Option<Self> {
        let value = |number: &Number| number.as_f64();
        Some(match test {
            Test::Compare(Order::Gt, bound) => Self { low: (value(bound)?, false), ..Self::ALL },
            Test::Compare(Order::Gte, bound) => Self { low: (value(bound)?, true), ..Self::ALL },
            Test::Compare(Order::Lt, bound) => Self { high: (value(bound)?, false), ..Self::ALL },
            Test::Compare(Order::Lte, bound) => Self { high: (value(bound)?, true), ..Self::ALL },
            Test::Equals(Literal::Number(number)) => {
                let end = (value(number)?, true);
                Self { low: end, high: end }
            }
            Test::Equals(Literal::Bool(_) | Literal::Text(_))
            | Test::Differs(_)
            | Test::In(_)
            | Test::Prefix(_)
            | Test::Suffix(_)
            | Test::Contains(_) => return None,
        })
    }

    fn declared(param: &Param) -> Self {
        let end = |bound: &Option<Number>| bound.as_ref().and_then(Number::as_f64);
        Self {
            low: end(&param.min).map_or(Self::ALL.low, |min| (min, true)),
            high: end(&param.max).map_or(Self::ALL.high, |max| (max, true)),
        }
    }

    fn and(self, other: Self) -> Self {
        let low = if (other.low.0, !other.low.1) > (self.low.0, !self.low.1) {
            other.low
        } else {
            self.low
        };
        let high = if other.high < self.high { other.high } else { self.high };
        Self { low, high }
    }

    fn is_empty(self) -> bool {
        self.low.0 > self.high.0 || (self.low.0 == self.high.0 && !(self.low.1 && self.high.1))
    }

    fn is_within(self, other: Self) -> bool {
        self.and(other) == self
    }
}

/// Pairs of tools that one request could belong to equally well.
fn overlaps(set: &PolicySet, found: &mut Diagnostics) {
    let tools: Vec<(&ToolName, &Tool)> = set.tools.iter().collect();
    for (index, (name, tool)) in tools.iter().enumerate() {
        for (other_name, other) in tools.iter().take(index) {
            if overlap(set, tool, other) {
                let message = format!("`{other_name}` and `{name}` match the same requests");
                let help = "the longer path wins, then the name that sorts first";
                found.report(&tool.at, message, Some(help.to_owned()));
            }
        }
    }
}

fn overlap(set: &PolicySet, one: &Tool, other: &Tool) -> bool {
    let (a, b) = (&one.matching, &other.matching);
    let (a_hosts, b_hosts) = (set.members(&a.hosts), set.members(&b.hosts));
    // Some name that the second pattern matches is also matched by the first.
    let covers = |pattern: &str, host: &str| {
        host_candidates(&host.replacen('*', "any", 1)).any(|name| name == pattern)
    };
    let hosts = a_hosts.iter().any(|x| {
        b_hosts.iter().any(|y| covers(x.as_str(), y.as_str()) || covers(y.as_str(), x.as_str()))
    });
    let methods = a.methods.iter().any(|method| b.methods.contains(method));
    let paths = a.paths.iter().any(|x| b.paths.iter().any(|y| paths_overlap(x, y)));
    hosts && methods && paths
}

fn paths_overlap(a: &PathPattern, b: &PathPattern) -> bool {
    let agree = |pair: (&Segment, &Segment)| match pair {
        (Segment::Param(_), Segment::Empty) | (Segment::Empty, Segment::Param(_)) => false,
        (Segment::Param(_), _) | (_, Segment::Param(_)) => true,
        (a, b) => a == b,
    };
    let (a_len, b_len) = (a.segments().len(), b.segments().len());
    let lengths = match (a.is_open(), b.is_open()) {
        (false, false) => a_len == b_len,
        (true, false) => a_len < b_len,
        (false, true) => b_len < a_len,
        (true, true) => true,
    };
    lengths && a.segments().iter().zip(b.segments()).all(agree)
}
