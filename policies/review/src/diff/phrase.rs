//! A condition on one line, for people.
//!
//! Not here: what it means (`truth`). Invariant: conditions with the same line are the same but for their places.

use aegis_policy_language::canonical;
use aegis_policy_language::{
    Condition, ContextFact, ListRef, Literal, MoneyBound, Order, Subject, Test,
};

pub(super) fn condition(condition: &Condition) -> String {
    let joined = |parts: &[Condition], word: &str| {
        let parts: Vec<String> = parts.iter().map(self::condition).collect();
        format!("({})", parts.join(word))
    };
    match condition {
        Condition::Always => "always".to_owned(),
        Condition::All(parts) => joined(parts, " and "),
        Condition::Any(parts) => joined(parts, " or "),
        Condition::Not(inner) => format!("not {}", self::condition(inner)),
        Condition::Dlp(detectors) => {
            let names: Vec<&str> = detectors.iter().map(|detector| detector.as_str()).collect();
            format!("dlp finds {}", names.join(" or "))
        }
        Condition::Calendar { name, .. } => format!("calendar.{name}"),
        Condition::Money { fact, order, bound } => {
            let bound = match bound {
                MoneyBound::Fact(other) => other.as_str().to_owned(),
                MoneyBound::MicroUsd(bound) => bound.to_string(),
            };
            format!("{} {} {bound}", fact.as_str(), symbol(*order))
        }
        Condition::Leaf { subject, test, .. } => {
            format!("{} {}", self::subject(subject), self::test(test))
        }
    }
}

fn subject(subject: &Subject) -> String {
    match subject {
        Subject::Param(name) => name.to_string(),
        Subject::Agent(name) => format!("agent.{name}"),
        Subject::Request(part) => format!("request.{part}"),
        Subject::Fact(detector) => format!("dlp.{}", detector.as_str()),
        Subject::Context(ContextFact::Money(fact)) => fact.as_str().to_owned(),
        Subject::Context(ContextFact::Calendar(name)) => format!("calendar.{name}"),
    }
}

fn test(test: &Test) -> String {
    let text = |text: &aegis_policy_language::Text| canonical::string(text.as_str());
    let literal = |literal: &Literal| match literal {
        Literal::Bool(value) => value.to_string(),
        Literal::Number(number) => canonical::number(number),
        Literal::Text(value) => text(value),
    };
    match test {
        Test::Compare(order, bound) => format!("{} {}", symbol(*order), canonical::number(bound)),
        Test::Equals(value) => format!("== {}", literal(value)),
        Test::Differs(value) => format!("!= {}", literal(value)),
        Test::In(list) => format!("in {}", self::list(list)),
        Test::Prefix(part) => format!("begins with {}", text(part)),
        Test::Suffix(part) => format!("ends with {}", text(part)),
        Test::Contains(part) => format!("contains {}", text(part)),
    }
}

fn list(list: &ListRef) -> String {
    match list {
        ListRef::Named { name, .. } => format!("${name}"),
        ListRef::Inline(members) => {
            let members: Vec<String> =
                members.iter().map(|member| canonical::string(member.as_str())).collect();
            format!("[{}]", members.join(", "))
        }
    }
}

fn symbol(order: Order) -> &'static str {
    match order {
        Order::Gt => ">",
        Order::Gte => ">=",
        Order::Lt => "<",
        Order::Lte => "<=",
    }
}
