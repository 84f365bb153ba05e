//! `when:`: the conditions of rules, as typed trees.
//!
//! Not here: whether the names in them exist (`check`) and what they become (`lower::conditions`).
//! Invariant: every leaf tests exactly one subject with exactly one operator.

use aegis_domain::Detector;
use serde_json::{Number, Value};

use crate::name::{Name, Text};
use crate::{ListRef, text_list};
use aegis_document::{Location, Mapping, Node, Problems};

#[derive(Clone, Debug)]
pub enum Condition {
    Always,
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    /// Any of these detectors found something.
    Dlp(Vec<Detector>),
    /// The calendar is open now.
    Calendar {
        name: Name,
        at: Location,
    },
    Money {
        fact: MoneyFact,
        order: Order,
        bound: MoneyBound,
    },
    Leaf {
        subject: Subject,
        test: Test,
        at: Location,
    },
}

#[derive(Clone, Debug)]
pub enum Subject {
    Param(Name),
    Agent(Name),
    /// `host`, `method`, `path` or `region`.
    Request(&'static str),
    /// How often a detector found something.
    Fact(Detector),
    Context(ContextFact),
}

/// What the gateway supplies under `context`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContextFact {
    Money(MoneyFact),
    /// Whether the calendar is open.
    Calendar(Name),
}

/// An amount that the gateway supplies, in micro-USD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MoneyFact {
    BudgetRemaining,
    EstimatedCost,
}

impl MoneyFact {
    /// The key under `context`.
    pub fn as_str(self) -> &'static str {
        match self {
            MoneyFact::BudgetRemaining => "budget_remaining",
            MoneyFact::EstimatedCost => "estimated_cost",
        }
    }
}

#[derive(Clone, Debug)]
pub enum MoneyBound {
    Fact(MoneyFact),
    MicroUsd(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Gt,
    Gte,
    Lt,
    Lte,
}

#[derive(Clone, Debug)]
pub enum Test {
    Compare(Order, Number),
    Equals(Literal),
    Differs(Literal),
    In(ListRef),
    Prefix(Text),
    Suffix(Text),
    Contains(Text),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    Bool(bool),
    Number(Number),
    Text(Text),
}

const SUBJECTS: [&str; 12] = [
    "all",
    "any",
    "not",
    "param",
    "agent",
    "request",
    "fact",
    "context",
    "dlp",
    "calendar",
    "budget_remaining",
    "estimated_cost",
];
const ORDERS: [(&str, Order); 4] =
    [("gt", Order::Gt), ("gte", Order::Gte), ("lt", Order::Lt), ("lte", Order::Lte)];
const MONEY: [(&str, MoneyFact); 2] = [
    ("budget_remaining", MoneyFact::BudgetRemaining),
    ("estimated_cost", MoneyFact::EstimatedCost),
];
const OPERATORS: [&str; 10] =
    ["gt", "gte", "lt", "lte", "eq", "neq", "in", "prefix", "suffix", "contains"];

/// Reads `always` or one of the mappings.
pub(crate) fn condition(node: &Node, problems: &mut Problems) -> Option<Condition> {
    if node.as_text() == Some("always") {
        return Some(Condition::Always);
    }
    let mut map = node.mapping(problems)?;
    let found = exactly_one(&mut map, &SUBJECTS, "a condition", problems);
    let condition = found.and_then(|(subject, value)| {
        let at = problems.locate(value.position());
        match subject {
            "all" => branches(value, problems).map(Condition::All),
            "any" => branches(value, problems).map(Condition::Any),
            "not" => condition(value, problems).map(|inner| Condition::Not(Box::new(inner))),
            "dlp" => detectors(value, problems).map(Condition::Dlp),
            "calendar" => value.parsed(problems).map(|name| Condition::Calendar { name, at }),
            "budget_remaining" => money(MoneyFact::BudgetRemaining, value, problems),
            "estimated_cost" => money(MoneyFact::EstimatedCost, value, problems),
            _ => {
                let subject = self::subject(subject, value, problems);
                let test = test(&mut map, problems);
                Some(Condition::Leaf { subject: subject?, test: test?, at })
            }
        }
    });
    map.finish(problems);
    condition
}

/// The one key of `names` that is there; reports none and several.
fn exactly_one<'n>(
    map: &mut Mapping<'n>,
    names: &[&'static str],
    what: &str,
    problems: &mut Problems,
) -> Option<(&'static str, &'n Node)> {
    let mut present = names.iter().filter_map(|name| map.get(name).map(|node| (*name, node)));
    let (first, second) = (present.next(), present.next());
    let rest = present.count();
    if first.is_some() && second.is_none() && rest == 0 {
        return first;
    }
    let message = format!("{what} has exactly one of `{}`", names.join("`, `"));
    problems.report(map.position(), message);
    None
}

fn branches(node: &Node, problems: &mut Problems) -> Option<Vec<Condition>> {
    let branches = node.list(problems, condition)?;
    if branches.is_empty() {
        problems.report(node.position(), "the list of conditions is empty");
        return None;
    }
    Some(branches)
}

/// Reads a list of detector names that is not empty.
pub(crate) fn detectors(node: &Node, problems: &mut Problems) -> Option<Vec<Detector>> {
    let named = Detector::ALL.map(|detector| (detector.as_str(), detector));
    let mut detectors = node.list(problems, |item, p| item.choice(p, &named))?;
    if detectors.is_empty() {
        problems.report(node.position(), "the list of detectors is empty");
        return None;
    }
    detectors.sort();
    detectors.dedup();
    Some(detectors)
}

fn money(fact: MoneyFact, node: &Node, problems: &mut Problems) -> Option<Condition> {
    let mut map = node.mapping(problems)?;
    let names = ORDERS.map(|(name, _)| name);
    let found = exactly_one(&mut map, &names, "an amount's test", problems);
    map.finish(problems);
    let (name, value) = found?;
    let bound = if value.as_text().is_some() {
        MoneyBound::Fact(value.choice(problems, &MONEY)?)
    } else {
        MoneyBound::MicroUsd(value.integer(problems, 0..=aegis_domain::MicroUsd::MAX.micro_usd())?)
    };
    let order = ORDERS.iter().find(|(order, _)| *order == name).map(|(_, order)| *order)?;
    Some(Condition::Money { fact, order, bound })
}

fn subject(kind: &str, value: &Node, problems: &mut Problems) -> Option<Subject> {
    match kind {
        "param" => value.parsed(problems).map(Subject::Param),
        "request" => {
            let parts = ["host", "method", "path", "region"].map(|part| (part, part));
            value.choice(problems, &parts).map(Subject::Request)
        }
        "fact" => {
            let names =
                Detector::ALL.map(|detector| (format!("dlp.{}", detector.as_str()), detector));
            let named: Vec<(&str, Detector)> =
                names.iter().map(|(name, detector)| (name.as_str(), *detector)).collect();
            value.choice(problems, &named).map(Subject::Fact)
        }
        "context" => context(value, problems).map(Subject::Context),
        _ => {
            let name: Name = value.parsed(problems)?;
            if matches!(name.as_str(), "scopes" | "groups") {
                let message =
                    format!("`{name}` of the agent is a list; only `allow` can ask for it");
                problems.report(value.position(), message);
                return None;
            }
            Some(Subject::Agent(name))
        }
    }
}

/// Reads `budget_remaining`, `estimated_cost` or `calendar.<name>`.
fn context(value: &Node, problems: &mut Problems) -> Option<ContextFact> {
    let Some(name) = value.as_text().and_then(|text| text.strip_prefix("calendar.")) else {
        let found = MONEY.iter().find(|(name, _)| value.as_text() == Some(*name));
        if found.is_none() {
            let mut known = MONEY.map(|(name, _)| (name, ())).to_vec();
            known.push(("calendar.<name>", ()));
            value.choice(problems, &known);
        }
        return found.map(|(_, fact)| ContextFact::Money(*fact));
    };
    match name.parse() {
        Ok(name) => Some(ContextFact::Calendar(name)),
        Err(error) => {
            problems.report(value.position(), format!("after `calendar.`: {error}"));
            None
        }
    }
}

fn test(map: &mut Mapping<'_>, problems: &mut Problems) -> Option<Test> {
    let (operator, value) = exactly_one(map, &OPERATORS, "a test", problems)?;
    if let Some((_, order)) = ORDERS.iter().find(|(name, _)| *name == operator) {
        return number(value, problems).map(|bound| Test::Compare(*order, bound));
    }
    match operator {
        "eq" => literal(value, problems).map(Test::Equals),
        "neq" => literal(value, problems).map(Test::Differs),
        "in" => text_list(value, problems).map(Test::In),
        "prefix" => value.parsed(problems).map(Test::Prefix),
        "suffix" => value.parsed(problems).map(Test::Suffix),
        _ => value.parsed(problems).map(Test::Contains),
    }
}

/// Reads a number that is exact.
pub(crate) fn number(node: &Node, problems: &mut Problems) -> Option<Number> {
    match node.json(problems)? {
        Value::Number(number) => Some(number),
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            problems.report(node.position(), "expected a number");
            None
        }
    }
}

fn literal(node: &Node, problems: &mut Problems) -> Option<Literal> {
    match node.json(problems)? {
        Value::Bool(value) => Some(Literal::Bool(value)),
        Value::Number(number) => Some(Literal::Number(number)),
        Value::String(_) => node.parsed(problems).map(Literal::Text),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            problems.report(node.position(), "expected text, a number, `true` or `false`");
            None
        }
    }
}

impl Condition {
    /// Calls `visit` for this condition and all inside it.
    pub fn walk<'c>(&'c self, visit: &mut impl FnMut(&'c Condition)) {
        visit(self);
        match self {
            Condition::All(inner) | Condition::Any(inner) => {
                inner.iter().for_each(|condition| condition.walk(visit));
            }
            Condition::Not(inner) => inner.walk(visit),
            Condition::Always
            | Condition::Dlp(_)
            | Condition::Calendar { .. }
            | Condition::Money { .. }
            | Condition::Leaf { .. } => {}
        }
    }
}
