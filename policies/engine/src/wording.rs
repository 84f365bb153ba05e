//! Conditions and checks in words, close to the YAML they were written in.
//!
//! Not here: whether they hold. Invariant: nothing a call holds is ever part of the words.

use aegis_policy_language::{
    Condition, ContextFact, ListRef, Literal, MoneyBound, Order, ParamKind, PathPattern, Subject,
    Test, Tool,
};

/// One condition, without what is inside it.
pub(crate) fn condition(condition: &Condition) -> String {
    match condition {
        Condition::Always => "always".to_owned(),
        Condition::All(_) => "all of".to_owned(),
        Condition::Any(_) => "any of".to_owned(),
        Condition::Not(_) => "not".to_owned(),
        Condition::Dlp(detectors) => {
            let names: Vec<&str> = detectors.iter().map(|detector| detector.as_str()).collect();
            format!("dlp [{}]", names.join(", "))
        }
        Condition::Calendar { name, .. } => format!("calendar {name}"),
        Condition::Money { fact, order: by, bound } => {
            let bound = match bound {
                MoneyBound::Fact(other) => other.as_str().to_owned(),
                MoneyBound::MicroUsd(amount) => amount.to_string(),
            };
            format!("{} {} {bound}", fact.as_str(), order(*by))
        }
        Condition::Leaf { subject, test: asked, .. } => {
            let subject = match subject {
                Subject::Param(name) => format!("param {name}"),
                Subject::Agent(name) => format!("agent {name}"),
                Subject::Request(part) => format!("request {part}"),
                Subject::Fact(detector) => format!("fact dlp.{}", detector.as_str()),
                Subject::Context(ContextFact::Money(fact)) => format!("context {}", fact.as_str()),
                Subject::Context(ContextFact::Calendar(name)) => format!("context calendar.{name}"),
            };
            format!("{subject} {}", test(asked))
        }
    }
}

fn test(test: &Test) -> String {
    match test {
        Test::Compare(by, bound) => format!("{} {bound}", order(*by)),
        Test::Equals(value) => format!("eq {}", literal(value)),
        Test::Differs(value) => format!("neq {}", literal(value)),
        Test::In(members) => format!("in {}", list(members)),
        Test::Prefix(text) => format!("prefix {:?}", text.as_str()),
        Test::Suffix(text) => format!("suffix {:?}", text.as_str()),
        Test::Contains(text) => format!("contains {:?}", text.as_str()),
    }
}

fn order(order: Order) -> &'static str {
    match order {
        Order::Gt => "gt",
        Order::Gte => "gte",
        Order::Lt => "lt",
        Order::Lte => "lte",
    }
}

fn literal(literal: &Literal) -> String {
    match literal {
        Literal::Bool(value) => value.to_string(),
        Literal::Number(number) => number.to_string(),
        Literal::Text(text) => format!("{:?}", text.as_str()),
    }
}

/// A list as it is written; a long one is cut.
pub(crate) fn list(list: &ListRef) -> String {
    match list {
        ListRef::Named { name, .. } => format!("${name}"),
        ListRef::Inline(members) => listed(members),
    }
}

fn listed<T: ToString>(members: &[T]) -> String {
    const SHOWN_MAX: usize = 6;
    let mut shown: Vec<String> = members.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
    if members.len() > SHOWN_MAX {
        shown.push(format!("{} more", members.len().saturating_sub(SHOWN_MAX)));
    }
    format!("[{}]", shown.join(", "))
}

pub(crate) fn kind(kind: ParamKind) -> &'static str {
    match kind {
        ParamKind::String => "string",
        ParamKind::Integer => "integer",
        ParamKind::Number => "number",
        ParamKind::Boolean => "boolean",
        ParamKind::Array => "array",
        ParamKind::Object => "object",
    }
}

/// What the check of this reason asks for. Checks that say it in their name have no more words.
pub(crate) fn check(tool: &Tool, reason: &str) -> String {
    let matching = &tool.matching;
    match reason {
        "request.method" => {
            let names: Vec<&str> = matching.methods.iter().map(|method| method.as_str()).collect();
            listed(&names)
        }
        "request.path" => {
            let paths: Vec<&str> = matching.paths.iter().map(PathPattern::as_str).collect();
            listed(&paths)
        }
        "request.host" => list(&matching.hosts),
        "request.region" => listed(tool.allow.regions.as_deref().unwrap_or_default()),
        "request.mcp-server" => {
            matching.mcp.as_ref().map(|mcp| mcp.server.to_string()).unwrap_or_default()
        }
        "request.mcp-tool" => {
            matching.mcp.as_ref().map(|mcp| mcp.tool.to_string()).unwrap_or_default()
        }
        "agent.group" => tool.allow.groups.as_ref().map(list).unwrap_or_default(),
        _ => String::new(),
    }
}
