//! What lint says about rules is true: for small generated policies, every call of a small world is tried.
//!
//! Not here: what the findings look like (`policies/engine/tests/diagnostics.rs`). The conditions are evaluated here by
//! themselves, without the reasoning that lint uses; `policies/engine/tests/fuzzed.rs` asks the compiled policy as well.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "fixtures stand outside test functions"
)]

use std::collections::{BTreeMap, BTreeSet};

use aegis_document::Document;
use aegis_policy_language::{
    Condition, ContextFact, Literal, Mode, MoneyBound, MoneyFact, Order, PolicySet, Rule,
    RuleEffect, Subject, Test, Tool,
};
use aegis_policy_review::lint::{self, Code};
use proptest::prelude::*;
use serde_json::{Value, json};

/// One call, as far as conditions look.
#[derive(Clone, Debug, Default)]
struct Call {
    params: BTreeMap<&'static str, Value>,
    tier: Option<Value>,
    method: &'static str,
    emails: u64,
    open: bool,
    excepted: bool,
    budget: u64,
    cost: u64,
}

fn holds(set: &PolicySet, condition: &Condition, call: &Call) -> bool {
    match condition {
        Condition::Always => true,
        Condition::All(parts) => parts.iter().all(|part| holds(set, part, call)),
        Condition::Any(parts) => parts.iter().any(|part| holds(set, part, call)),
        Condition::Not(inner) => !holds(set, inner, call),
        Condition::Dlp(detectors) => {
            call.emails > 0 && detectors.iter().any(|d| d.as_str() == "email")
        }
        Condition::Calendar { .. } => call.open,
        Condition::Money { fact, order, bound } => {
            let amount = |fact: &MoneyFact| match fact {
                MoneyFact::BudgetRemaining => call.budget,
                MoneyFact::EstimatedCost => call.cost,
            };
            let bound = match bound {
                MoneyBound::Fact(other) => amount(other),
                MoneyBound::MicroUsd(bound) => *bound,
            };
            stands(*order, amount(fact).cmp(&bound))
        }
        Condition::Leaf { subject, test, .. } => {
            let supplied = match subject {
                Subject::Request(_) => Value::from(call.method),
                Subject::Fact(_) => Value::from(call.emails),
                Subject::Context(ContextFact::Calendar(_)) => Value::from(call.open),
                Subject::Context(ContextFact::Money(MoneyFact::BudgetRemaining)) => {
                    Value::from(call.budget)
                }
                Subject::Context(ContextFact::Money(MoneyFact::EstimatedCost)) => {
                    Value::from(call.cost)
                }
                Subject::Param(_) | Subject::Agent(_) => Value::Null,
            };
            let value = match subject {
                Subject::Param(name) => call.params.get(name.as_str()),
                Subject::Agent(_) => call.tier.as_ref(),
                Subject::Request(_) | Subject::Fact(_) | Subject::Context(_) => Some(&supplied),
            };
            passes(set, test, value)
        }
    }
}

fn stands(order: Order, found: std::cmp::Ordering) -> bool {
    match order {
        Order::Gt => found.is_gt(),
        Order::Gte => found.is_ge(),
        Order::Lt => found.is_lt(),
        Order::Lte => found.is_le(),
    }
}

/// Every number of the small world is a half, so a float holds it exactly.
fn passes(set: &PolicySet, test: &Test, value: Option<&Value>) -> bool {
    let equals = |literal: &Literal| match (literal, value) {
        (Literal::Bool(wanted), Some(Value::Bool(found))) => wanted == found,
        (Literal::Number(wanted), Some(Value::Number(found))) => wanted.as_f64() == found.as_f64(),
        (Literal::Text(wanted), Some(Value::String(found))) => wanted.as_str() == found,
        _ => false,
    };
    let text = value.and_then(Value::as_str);
    match test {
        Test::Compare(order, bound) => value
            .and_then(Value::as_f64)
            .and_then(|value| value.partial_cmp(&bound.as_f64()?))
            .is_some_and(|found| stands(*order, found)),
        Test::Equals(literal) => equals(literal),
        Test::Differs(literal) => !equals(literal),
        Test::In(list) => {
            text.is_some_and(|text| set.members(list).iter().any(|member| member.as_str() == text))
        }
        Test::Prefix(part) => text.is_some_and(|text| text.starts_with(part.as_str())),
        Test::Suffix(part) => text.is_some_and(|text| text.ends_with(part.as_str())),
        Test::Contains(part) => text.is_some_and(|text| text.contains(part.as_str())),
    }
}

/// What a decision changes for the world: how strong, whom to ask, what to blank.
fn decision(
    set: &PolicySet,
    rules: &[&Rule],
    call: &Call,
) -> (u8, BTreeSet<String>, BTreeSet<String>) {
    let tool = set.tools.values().next().unwrap();
    let lifted = |rule: &Rule| {
        let mut exceptions = set.exceptions_of(tool).filter(|found| found.rules.contains(&rule.id));
        call.excepted && exceptions.any(|found| holds(set, &found.when, call))
    };
    let fired = rules.iter().filter(|rule| holds(set, &rule.when, call) && !lifted(rule));
    let (mut level, mut approvals, mut obligations) = (0, BTreeSet::new(), BTreeSet::new());
    for rule in fired {
        match &rule.effect {
            RuleEffect::Deny { .. } => level = 3,
            RuleEffect::ApprovalNeeded { approval } => {
                level = level.max(2);
                approvals.insert(approval.to_string());
            }
            RuleEffect::Sanitize { obligation } => {
                level = level.max(1);
                obligations.insert(obligation.to_string());
            }
        }
    }
    if level == 3 { (3, BTreeSet::new(), BTreeSet::new()) } else { (level, approvals, obligations) }
}

/// How many calls are tried for one policy.
const CALLS_MAX: usize = 20_000;
const PATTERN: &str = "^a[bc.]{0,2}$";

/// Every call of the small world that passes the checks of the generated tool.
fn world(tool: &Tool) -> Vec<Call> {
    let optional = |name: &str, values: Vec<Value>| {
        let param = &tool.params[&name.parse().unwrap()];
        let missing = (param.required == aegis_policy_language::Presence::Optional).then_some(None);
        values.into_iter().map(Some).chain(missing).collect::<Vec<Option<Value>>>()
    };
    let bounds = &tool.params[&"n".parse().unwrap()];
    let end = |end: &Option<serde_json::Number>| end.as_ref().and_then(serde_json::Number::as_i64);
    let (min, max) = (end(&bounds.min).unwrap_or(-1), end(&bounds.max).unwrap_or(6));
    let integers = (min..=max).map(Value::from).collect();
    let decimals = (-1..=6).map(|n| json!(f64::from(n) / 2.0)).collect();
    let texts = ["a", "ab", "ac", "abc", "a.", "a..", "acb"].map(Value::from);
    let codes = ["USD", "EUR", "GBP"].map(Value::from);
    let mut calls = vec![Call { method: "POST", ..Call::default() }];
    let mut each =
        |vary: &dyn Fn(&Call) -> Vec<Call>| calls = calls.iter().flat_map(vary).collect();
    let conditions = format!("{:?}{:?}", tool.rules, tool.exceptions);
    let seen = |what: &str| conditions.contains(what);
    for (name, values) in [
        ("n", optional("n", integers)),
        ("x", optional("x", decimals)),
        ("s", optional("s", texts.to_vec())),
        ("c", optional("c", codes.to_vec())),
        ("b", optional("b", vec![json!(true), json!(false)])),
    ] {
        // Only what a rule looks at is varied fully; the rest would multiply the calls for nothing.
        let values = if seen(&format!("Param(Name({name:?}")) {
            values
        } else {
            values.into_iter().take(1).collect()
        };
        each(&|call| {
            values
                .iter()
                .map(|value| {
                    let mut call = call.clone();
                    if let Some(value) = value {
                        call.params.insert(name, value.clone());
                    }
                    call
                })
                .collect()
        });
    }
    calls = circumstances(tool, calls);
    // Every so many of a world that is too large; the step has no factor in common with what is varied.
    let step = if calls.len() > CALLS_MAX { 11 * (calls.len() / CALLS_MAX / 11 + 1) } else { 1 };
    calls.into_iter().step_by(step).collect()
}

/// The same calls, each in all the circumstances that a rule or exception looks at.
fn circumstances(tool: &Tool, mut calls: Vec<Call>) -> Vec<Call> {
    let conditions = format!("{:?}{:?}", tool.rules, tool.exceptions);
    let seen = |what: &str| conditions.contains(what);
    let mut each =
        |vary: &dyn Fn(&Call) -> Vec<Call>| calls = calls.iter().flat_map(vary).collect();
    let tiers = [
        None,
        Some(json!("gold")),
        Some(json!("a")),
        Some(json!(2)),
        Some(json!(true)),
        Some(Value::Null),
    ];
    if seen("Agent(") {
        each(&|call| {
            tiers.iter().map(|tier| Call { tier: tier.clone(), ..call.clone() }).collect()
        });
    }
    if seen("Request(") {
        each(&|call| ["POST", "PUT"].map(|method| Call { method, ..call.clone() }).to_vec());
    }
    if !tool.exceptions.is_empty() {
        each(&|call| [true, false].map(|excepted| Call { excepted, ..call.clone() }).to_vec());
    }
    if seen("Dlp(") || seen("Fact(") {
        each(&|call| [0, 1, 2].map(|emails| Call { emails, ..call.clone() }).to_vec());
    }
    if seen("Calendar {") || seen("Calendar(") {
        each(&|call| [true, false].map(|open| Call { open, ..call.clone() }).to_vec());
    }
    if seen("Money {") || seen("Money(") {
        each(&|call| {
            (0..3)
                .flat_map(|budget| (0..3).map(move |cost| (budget, cost)))
                .map(|(budget, cost)| Call { budget, cost, ..call.clone() })
                .collect()
        });
    }
    calls
}

fn leaf() -> impl Strategy<Value = String> {
    let orders = || prop::sample::select(vec!["gt", "gte", "lt", "lte", "eq", "neq"]);
    let texts = || prop::sample::select(vec!["a", "b", "ab", "ac", "..", "a.", "abc", "zz"]);
    let tests = || prop::sample::select(vec!["prefix", "suffix", "contains", "eq", "neq"]);
    prop_oneof![
        4 => (orders(), -2..8_i32).prop_map(|(order, n)| format!("{{ param: n, {order}: {n} }}")),
        2 => (orders(), -2..8_i32).prop_map(|(order, n)| format!("{{ param: x, {order}: {} }}", f64::from(n) / 2.0)),
        3 => (tests(), texts()).prop_map(|(test, text)| format!("{{ param: s, {test}: '{text}' }}")),
        3 => prop::sample::subsequence(vec!["USD", "EUR", "GBP", "YEN"], 1..4)
            .prop_map(|codes| format!("{{ param: c, in: [{}] }}", codes.join(", "))),
        1 => Just("{ param: c, in: $most }".to_owned()),
        1 => (prop::sample::select(vec!["eq", "neq"]), any::<bool>()).prop_map(|(test, value)| format!("{{ param: b, {test}: {value} }}")),
        1 => prop::sample::select(vec!["eq: gold", "prefix: g", "eq: 2", "gt: 1", "eq: true", "neq: gold", "in: [gold, a]"])
            .prop_map(|test| format!("{{ agent: tier, {test} }}")),
        1 => prop::sample::select(vec!["eq: POST", "in: [POST, PUT]", "prefix: G", "neq: PUT"])
            .prop_map(|test| format!("{{ request: method, {test} }}")),
        1 => Just("{ dlp: [email] }".to_owned()),
        1 => prop::sample::select(vec!["gt: 0", "gte: 2", "lt: 1", "eq: 1"]).prop_map(|test| format!("{{ fact: dlp.email, {test} }}")),
        1 => prop::sample::select(vec!["calendar.hours, eq: false", "calendar.hours, neq: true", "budget_remaining, lt: 2"])
            .prop_map(|test| format!("{{ context: {test} }}")),
        1 => Just("{ calendar: hours }".to_owned()),
        1 => prop::sample::select(vec![
            "{ budget_remaining: { lt: estimated_cost } }", "{ estimated_cost: { gt: budget_remaining } }",
            "{ budget_remaining: { lte: 1 } }", "{ budget_remaining: { lt: 3 } }", "{ estimated_cost: { lt: estimated_cost } }",
        ]).prop_map(str::to_owned),
        1 => Just("always".to_owned()),
    ]
}

fn condition() -> impl Strategy<Value = String> {
    leaf().prop_recursive(3, 8, 3, |inner| {
        let several = prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            several.clone().prop_map(|parts| format!("{{ all: [ {} ] }}", parts.join(", "))),
            several.prop_map(|parts| format!("{{ any: [ {} ] }}", parts.join(", "))),
            inner.prop_map(|inner| format!("{{ not: {inner} }}")),
        ]
    })
}

fn policy() -> impl Strategy<Value = String> {
    let effects = vec![
        "effect: deny",
        "effect: deny",
        "effect: approval_needed, approval: one",
        "effect: approval_needed, approval: two",
        "effect: sanitize, obligation: blank",
        "effect: deny, mode: shadow",
        "effect: sanitize, obligation: blank, mode: shadow",
    ];
    let rules = prop::collection::vec((prop::sample::select(effects), condition()), 1..5);
    let exception = prop::option::weighted(0.3, condition());
    (rules, 0..3_i32, 3..5_i32, prop::array::uniform5(any::<bool>()), exception).prop_map(
        |(rules, min, max, required, exception)| {
            let rules: Vec<String> = rules
                .iter()
                .enumerate()
                .map(|(index, (effect, when))| {
                    format!("    - {{ id: r{index}, {effect}, when: {when} }}\n")
                })
                .collect();
            let lifts = !rules[0].contains("sanitize");
            let exceptions = exception.filter(|_| lifts).map_or(String::new(), |when| {
                let names = "owner: a, reason: b, expires: 2026-11-20T10:00:00Z";
                format!("    exceptions:\n    - {{ id: e, {names}, rules: [r0], when: {when} }}\n")
            });
            let [n, x, s, c, b] = required;
            format!(
                "apiVersion: aegis.dev/v1
kind: PolicySet
metadata: {{ tenant: demo, env: dev }}
lists: {{ most: [USD, EUR] }}
calendars: {{ hours: {{ tz: UTC, weekly: ['Mon-Sun 08:00-20:00'] }} }}
approvals: {{ one: {{ route: a, expires: 5m }}, two: {{ route: b, expires: 5m }} }}
obligations: {{ blank: {{ strip_attachments: true }} }}
tools:
  pay:
    class: write
    match: {{ hosts: [api.test], methods: [POST, PUT], paths: [/pay] }}
    allow: {{ groups: [g] }}
    params:
      n: {{ type: integer, required: {n}, min: {min}, max: {max} }}
      x: {{ type: number, required: {x}, min: -0.5, max: 3 }}
      s: {{ type: string, required: {s}, pattern: '{PATTERN}' }}
      c: {{ type: string, required: {c}, in: [USD, EUR, GBP] }}
      b: {{ type: boolean, required: {b} }}
    rules:
{}{exceptions}",
                rules.concat()
            )
        },
    )
}

fn read(text: &str) -> PolicySet {
    Document::parse("p.yaml", text).and_then(|document| PolicySet::parse(&[document])).unwrap()
}

/// Says what lint claims and the world denies, and counts the claims of each kind.
fn judge(text: &str, counts: &mut BTreeMap<Code, usize>) -> Result<(), String> {
    let set = read(text);
    let tool = set.tools.values().next().unwrap();
    let calls = world(tool);
    let enforced: Vec<&Rule> =
        tool.rules.iter().filter(|rule| rule.mode == Mode::Enforce).collect();
    let mut removed: BTreeSet<String> = BTreeSet::new();
    for finding in lint::findings(&set).iter() {
        *counts.entry(finding.code).or_default() += 1;
        let rule = tool.rules.iter().find(|rule| rule.at == finding.at);
        let fires = |call: &Call| rule.is_some_and(|rule| holds(&set, &rule.when, call));
        let refuted = match finding.code {
            Code::UnreachableRule => calls.iter().find(|call| fires(call)),
            Code::AlwaysDenies => calls.iter().find(|call| !fires(call)),
            Code::NeverAllowed => calls.iter().find(|call| decision(&set, &enforced, call).0 < 3),
            Code::IneffectiveRule => {
                removed.insert(rule.unwrap().id.to_string());
                let rest: Vec<&Rule> = enforced
                    .iter()
                    .copied()
                    .filter(|rule| !removed.contains(rule.id.as_str()))
                    .collect();
                calls
                    .iter()
                    .find(|call| decision(&set, &rest, call) != decision(&set, &enforced, call))
            }
            Code::RedundantShadow => calls.iter().find(|call| {
                fires(call)
                    && !enforced.iter().any(|other| {
                        other.level() == rule.unwrap().level() && holds(&set, &other.when, call)
                    })
            }),
            Code::VanishingDeny => calls.iter().find(|call| {
                ["n", "x"].iter().any(|name| {
                    finding.message.contains(&format!("`{name}`"))
                        && !call.params.contains_key(name)
                }) && fires(call)
            }),
            Code::UnreachableException => {
                calls.iter().find(|call| holds(&set, &tool.exceptions[0].when, call))
            }
            Code::ImpossibleParam => calls.first(),
            Code::UnboundApproval | Code::OverlappingTools | Code::OpenTool | Code::Unused => None,
        };
        if let Some(call) = refuted {
            return Err(format!("{finding}\nrefuted by {call:?}\n{text}"));
        }
    }
    Ok(())
}

#[test]
fn what_lint_says_of_a_rule_no_call_refutes() {
    use proptest::test_runner::{Config, TestRunner};
    let config = Config { cases: 400, failure_persistence: None, ..Config::default() };
    let counts = std::cell::RefCell::new(BTreeMap::new());
    let result = TestRunner::new(config)
        .run(&policy(), |text| judge(&text, &mut counts.borrow_mut()).map_err(TestCaseError::fail));
    result.unwrap();
    let counts = counts.into_inner();
    for code in [Code::UnreachableRule, Code::AlwaysDenies, Code::IneffectiveRule] {
        assert!(
            counts.get(&code).is_some_and(|count| *count > 0),
            "{code:?} is never found: {counts:?}"
        );
    }
}

/// What a person would find by trying every call of the small world, lint finds too, most of the time.
#[test]
fn lint_misses_few_rules_that_never_fire_in_the_small_world() {
    use proptest::test_runner::{Config, TestRunner};
    let config = Config { cases: 120, failure_persistence: None, ..Config::default() };
    let counts = std::cell::RefCell::new((0_u32, 0_u32));
    let result = TestRunner::new(config).run(&policy(), |text| {
        let set = read(&text);
        let tool = set.tools.values().next().unwrap();
        let calls = world(tool);
        let found = lint::findings(&set);
        for rule in tool.rules.iter().filter(|_| calls.len() < CALLS_MAX / 11) {
            if !calls.iter().any(|call| holds(&set, &rule.when, call)) {
                let named = found
                    .iter()
                    .any(|finding| finding.at == rule.at && finding.code == Code::UnreachableRule);
                let (dead, known) = *counts.borrow();
                *counts.borrow_mut() = (dead + 1, known + u32::from(named));
            }
        }
        Ok(())
    });
    result.unwrap();
    let (dead, known) = counts.into_inner();
    assert!(known * 10 >= dead * 8, "{known} of {dead}");
}
