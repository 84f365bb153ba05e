//! Conditions as Rego bodies: positive lines only; what must be negated or has alternatives gets a name.
//!
//! Not here: the checks of a tool (`checks`) and the order of a module (`module`). Invariant: no line negates
//! anything but a name, and every typed use has its type guard before it in the same body. OPA drops a rule when a
//! negated expression looks at something missing, regorus fires it; a negated name means the same to both.

use std::collections::{BTreeMap, BTreeSet};

use aegis_domain::{Detector, RuleId, ToolName};

use super::data::Sets;
use super::member;
use aegis_document::Location;
use aegis_policy_language::canonical;
use aegis_policy_language::{
    Condition, ContextFact, Exception, Literal, MoneyBound, MoneyFact, Name, Order, PolicySet,
    Subject, Test, Tool,
};

pub(super) type Lines = Vec<String>;

/// A named condition: true when any of its bodies is.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) bodies: Vec<Lines>,
    pub(super) at: Location,
}

/// Lowers the conditions of one tool and keeps the ones that got a name.
#[derive(Debug)]
pub(super) struct Lowering<'s> {
    pub(super) set: &'s PolicySet,
    pub(super) name: &'s ToolName,
    pub(super) tool: &'s Tool,
    pub(super) sets: &'s mut Sets,
    pub(super) named: Vec<Named>,
    /// The names of exceptions, which several rules may share.
    pub(super) exceptions: BTreeMap<RuleId, String>,
}

impl Lowering<'_> {
    /// Gives bodies a name of their own.
    pub(super) fn name(&mut self, at: &Location, bodies: Vec<Lines>) -> String {
        let name = format!("c{}", self.named.len());
        self.named.push(Named { name: name.clone(), bodies, at: at.clone() });
        name
    }

    /// A name that is true exactly when the lines hold; reuses the name when that is all they are.
    pub(super) fn name_of(&mut self, at: &Location, lines: Lines) -> String {
        match lines.as_slice() {
            [only] if is_condition_name(only) => only.clone(),
            _ => self.name(at, vec![lines]),
        }
    }

    /// The lines that hold exactly when the condition does.
    pub(super) fn condition(&mut self, condition: &Condition, at: &Location) -> Lines {
        match condition {
            Condition::Always => vec!["true".to_owned()],
            Condition::All(parts) => {
                parts.iter().flat_map(|part| self.condition(part, at)).collect()
            }
            Condition::Any(parts) => {
                let bodies = parts.iter().map(|part| self.condition(part, at)).collect();
                vec![self.name(at, bodies)]
            }
            Condition::Not(inner) => {
                let lines = self.condition(inner, at);
                vec![format!("not {}", self.name_of(at, lines))]
            }
            Condition::Dlp(detectors) => {
                let found = |detector: &Detector| {
                    let count = dlp_reference(*detector);
                    vec![format!("is_number({count})"), format!("{count} > 0")]
                };
                match detectors.as_slice() {
                    [only] => found(only),
                    several => vec![self.name(at, several.iter().map(found).collect())],
                }
            }
            Condition::Calendar { name, .. } => {
                vec![format!("{} == true", calendar_reference(name))]
            }
            Condition::Money { fact, order, bound } => money(*fact, *order, bound),
            Condition::Leaf { subject, test, .. } => self.leaf(&reference(subject), test, at),
        }
    }

    /// The name that is true while an exception holds.
    pub(super) fn exception(&mut self, exception: &Exception) -> String {
        if let Some(name) = self.exceptions.get(&exception.id) {
            return name.clone();
        }
        let id = canonical::string(exception.id.as_str());
        let mut lines = vec![format!("input.context.exceptions[{id}] == true")];
        lines.extend(self.condition(&exception.when, &exception.at));
        let name = self.name(&exception.at, vec![lines]);
        self.exceptions.insert(exception.id.clone(), name.clone());
        name
    }

    fn leaf(&mut self, value: &str, test: &Test, at: &Location) -> Lines {
        let on_text = |function: &str, text: &str| {
            let call = format!("{function}({value}, {})", canonical::string(text));
            vec![format!("is_string({value})"), call]
        };
        match test {
            Test::Compare(order, bound) => vec![
                format!("is_number({value})"),
                format!("{value} {} {}", symbol(*order), canonical::number(bound)),
            ],
            Test::Equals(literal) => vec![format!("{value} == {}", rego_literal(literal))],
            Test::Differs(literal) => {
                let equal = vec![format!("{value} == {}", rego_literal(literal))];
                vec![format!("not {}", self.name(at, vec![equal]))]
            }
            Test::In(list) => {
                vec![format!("{}[{value}]", self.sets.reference(self.set.members(list)))]
            }
            Test::Prefix(text) => on_text("startswith", text.as_str()),
            Test::Suffix(text) => on_text("endswith", text.as_str()),
            Test::Contains(text) => on_text("contains", text.as_str()),
        }
    }
}

fn is_condition_name(line: &str) -> bool {
    line.strip_prefix('c').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

fn money(fact: MoneyFact, order: Order, bound: &MoneyBound) -> Lines {
    let amount = money_reference(fact);
    let mut lines = vec![format!("is_number({amount})")];
    let bound = match bound {
        MoneyBound::MicroUsd(bound) => bound.to_string(),
        MoneyBound::Fact(other) => {
            let other = money_reference(*other);
            lines.push(format!("is_number({other})"));
            other
        }
    };
    lines.push(format!("{amount} {} {bound}", symbol(order)));
    lines
}

fn rego_literal(literal: &Literal) -> String {
    match literal {
        Literal::Bool(value) => value.to_string(),
        Literal::Number(number) => canonical::number(number),
        Literal::Text(text) => canonical::string(text.as_str()),
    }
}

pub(super) fn param_reference(name: &Name) -> String {
    member("input.params", name.as_str())
}

fn dlp_reference(detector: Detector) -> String {
    member("input.facts.dlp", detector.as_str())
}

fn calendar_reference(name: &Name) -> String {
    member("input.context.calendar", name.as_str())
}

fn money_reference(fact: MoneyFact) -> String {
    member("input.context", fact.as_str())
}

fn reference(subject: &Subject) -> String {
    match subject {
        Subject::Param(name) => param_reference(name),
        Subject::Agent(name) => member("input.agent", name.as_str()),
        Subject::Request(part) => member("input.request", part),
        Subject::Fact(detector) => dlp_reference(*detector),
        Subject::Context(ContextFact::Money(fact)) => money_reference(*fact),
        Subject::Context(ContextFact::Calendar(name)) => calendar_reference(name),
    }
}

/// What the host must supply for these conditions, as the lines that say it is there.
pub(super) fn presence<'c>(conditions: impl Iterator<Item = &'c Condition>) -> Lines {
    let mut lines = BTreeSet::new();
    for condition in conditions {
        condition.walk(&mut |part| match part {
            Condition::Dlp(detectors) => {
                let counts = detectors.iter().map(|detector| dlp_reference(*detector));
                lines.extend(counts.map(|count| format!("is_number({count})")));
            }
            Condition::Calendar { name, .. } => {
                lines.insert(format!("is_boolean({})", calendar_reference(name)));
            }
            Condition::Money { fact, bound, .. } => {
                lines.insert(format!("is_number({})", money_reference(*fact)));
                if let MoneyBound::Fact(other) = bound {
                    lines.insert(format!("is_number({})", money_reference(*other)));
                }
            }
            Condition::Leaf { subject, .. } => match subject {
                Subject::Fact(_) | Subject::Context(ContextFact::Money(_)) => {
                    lines.insert(format!("is_number({})", reference(subject)));
                }
                Subject::Context(ContextFact::Calendar(_)) => {
                    lines.insert(format!("is_boolean({})", reference(subject)));
                }
                Subject::Param(_) | Subject::Agent(_) | Subject::Request(_) => {}
            },
            Condition::Always | Condition::All(_) | Condition::Any(_) | Condition::Not(_) => {}
        });
    }
    lines.into_iter().collect()
}

fn symbol(order: Order) -> &'static str {
    match order {
        Order::Gt => ">",
        Order::Gte => ">=",
        Order::Lt => "<",
        Order::Lte => "<=",
    }
}
