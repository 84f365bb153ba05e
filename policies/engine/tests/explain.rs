//! `explain`: it says what evaluation says, for every shipped test and for calls nobody thought of.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "fixtures stand outside test functions"
)]

use std::collections::BTreeSet;
use std::sync::LazyLock;

use aegis_document::Document;
use aegis_domain::{DlpFacts, Effect, RuleId};
use aegis_policy::cases::Scene;
use aegis_policy::explain::{Explanation, Finding, RuleFinding, Standing, Truth, explain};
use aegis_policy::{CompileContext, PolicyInput, Snapshot};
use aegis_policy_language::PolicySet;
use proptest::prelude::*;
use serde_json::{Value, json};

struct Policy {
    set: PolicySet,
    snapshot: Snapshot,
}

impl Policy {
    fn new(text: &str) -> Self {
        let set = PolicySet::parse(&[Document::parse("p.yaml", text).unwrap()]).unwrap();
        let snapshot = Snapshot::of(&set, CompileContext { version: 1 }).unwrap();
        Self { set, snapshot }
    }

    fn explain(&self, input: &PolicyInput<'_>) -> Explanation {
        explain(&self.set, &self.snapshot, input).unwrap()
    }

    /// Explains the call and holds the explanation against evaluation.
    fn agree(&self, input: &PolicyInput<'_>) -> Explanation {
        let outcome = self.snapshot.evaluate(input).unwrap();
        let explained = self.explain(input);
        assert_eq!(explained.outcome, outcome);
        assert_eq!(decisive(&explained), rule_ids(&outcome.rules), "{explained:#?}");
        let shadow = explained.rules.iter().filter(|rule| rule.standing == Standing::Shadow);
        let shadow: BTreeSet<String> = shadow.map(|rule| rule.id.to_string()).collect();
        assert_eq!(shadow, rule_ids(&outcome.would));
        for rule in &explained.rules {
            truths_fit(&rule.condition);
        }
        explained
    }
}

fn rule_ids(ids: &[RuleId]) -> BTreeSet<String> {
    ids.iter().map(ToString::to_string).collect()
}

/// What the explanation says decides.
fn decisive(explained: &Explanation) -> BTreeSet<String> {
    let is = |standing| standing == Standing::Decides;
    let checks = explained.checks.iter().filter(|check| is(check.standing));
    let rules = explained.rules.iter().filter(|rule| is(rule.standing));
    checks.map(|check| check.id.clone()).chain(rules.map(|rule| rule.id.to_string())).collect()
}

/// The truth of a whole follows from the truths of its parts.
fn truths_fit(finding: &Finding) {
    finding.parts.iter().for_each(truths_fit);
    let parts: Vec<bool> = finding.parts.iter().map(|part| part.truth == Truth::True).collect();
    let expected = match finding.text.as_str() {
        "all of" => parts.iter().all(|part| *part),
        "any of" => parts.iter().any(|part| *part),
        "not" => !parts[0],
        _ => return,
    };
    assert_eq!(finding.truth == Truth::True, expected, "{finding:#?}");
    assert!(!finding.decisive || finding.parts.iter().any(|part| part.decisive));
}

const SHIPPED: [&str; 2] =
    [include_str!("../../packs/demo.yaml"), include_str!("../../cases/four-domains.yaml")];

#[test]
fn an_explanation_says_what_evaluation_says_for_every_shipped_test() {
    for text in SHIPPED {
        let policy = Policy::new(text);
        for example in &policy.set.examples {
            let scene = Scene::of(&policy.set, example).unwrap();
            policy.agree(&scene.input());
        }
    }
}

fn value() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!(null),
        json!(true),
        json!(0),
        json!(1.5),
        json!(30_000),
        json!(150_000),
        json!(600_000),
        json!("USD"),
        json!("acct_XXaaaaaaaa"),
        json!("/projects/../x"),
        json!(""),
        json!([1]),
        json!({"a": 1}),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn an_explanation_says_what_evaluation_says_for_hostile_calls(
        at in any::<prop::sample::Index>(),
        name in prop::sample::select(vec!["amount", "currency", "destination", "path", "memo", "zz", "max_tokens", "project"]),
        value in value(),
        kind in 0_u8..6,
    ) {
        static POLICIES: LazyLock<[Policy; 2]> = LazyLock::new(|| SHIPPED.map(Policy::new));
        let policy = &POLICIES[usize::from(kind % 2)];
        let example = at.get(&policy.set.examples);
        let mut example = example.clone();
        match kind {
            0..=2 => drop(example.params.insert(name.to_owned(), value)),
            3 => drop(example.params.remove(name)),
            4 => example.scenario.dlp = Some(DlpFacts::NotScanned),
            _ => example.scenario.agent = None,
        }
        let scene = Scene::of(&policy.set, &example).unwrap();
        policy.agree(&scene.input());
    }
}

fn four_domains(test: &str) -> Explanation {
    let policy = Policy::new(SHIPPED[1]);
    let example = policy.set.examples.iter().find(|example| example.name == test).unwrap();
    policy.agree(&Scene::of(&policy.set, example).unwrap().input())
}

fn rule<'e>(explained: &'e Explanation, id: &str) -> &'e RuleFinding {
    explained.rules.iter().find(|rule| rule.id.as_str() == id).unwrap()
}

#[test]
fn a_rule_says_which_part_decided_and_on_what_value() {
    let explained = four_domains("payouts: 4");
    let high = rule(&explained, "high-value");
    assert_eq!(high.standing, Standing::Decides);
    assert_eq!(high.condition.text, "param amount gt 100000");
    assert_eq!(high.condition.readings[0].path, "params.amount");
    assert_eq!(high.condition.readings[0].value, Some(json!(200_000)));
    let off_hours = &rule(&explained, "off-hours").condition;
    let [not, amount] = &off_hours.parts[..] else { panic!("{off_hours:#?}") };
    assert_eq!((not.truth, not.decisive), (Truth::False, true));
    assert_eq!((amount.truth, amount.decisive), (Truth::True, false));
    assert_eq!(not.parts[0].text, "calendar eu_hours");
    assert_eq!(not.parts[0].at.position.line, 30);
}

#[test]
fn a_check_names_the_bound_that_is_not_kept() {
    let explained = four_domains("payouts: 6");
    let amount = explained.checks.iter().find(|check| check.id == "schema.amount").unwrap();
    assert_eq!(amount.standing, Standing::Decides);
    assert_eq!(amount.broken.as_deref(), Some("max 500000"));
    assert_eq!(amount.readings[0].value, Some(json!(900_000)));
    assert_eq!(rule(&explained, "high-value").standing, Standing::Outranked);
    let missing = four_domains("payouts: 7");
    let amount = missing.checks.iter().find(|check| check.id == "schema.amount").unwrap();
    assert_eq!(
        (amount.broken.as_deref(), &amount.readings[0].value),
        (Some("type integer"), &None)
    );
}

#[test]
fn a_missing_value_is_told_from_a_wrong_one() {
    let explained = four_domains("patients: 4");
    let purpose = &rule(&explained, "purpose").condition;
    assert_eq!(purpose.truth, Truth::True);
    assert_eq!(purpose.parts[0].truth, Truth::Missing);
    assert_eq!(purpose.parts[0].text, "agent purpose in [treatment, billing]");
}

#[test]
fn a_granted_approval_is_told_from_a_rule_that_is_quiet() {
    let policy = Policy::new(SHIPPED[0]);
    let granted = policy.set.examples.iter().find(|example| example.scenario.approved.is_some());
    let scene = Scene::of(&policy.set, granted.unwrap()).unwrap();
    let explained = policy.agree(&scene.input());
    assert_eq!(rule(&explained, "high-value").standing, Standing::Approved);
    assert_eq!(explained.outcome.effect, Effect::Allow);
}

#[test]
fn a_call_of_no_tool_is_denied_without_findings() {
    let policy = Policy::new(SHIPPED[0]);
    let scene = Scene::of(&policy.set, &policy.set.examples[0]).unwrap();
    let tool = "no.such".parse().unwrap();
    let explained = policy.explain(&PolicyInput { tool: &tool, ..scene.input() });
    assert_eq!(explained.outcome.rules[0].as_str(), "egress.default-deny");
    assert_eq!(explained.tool, None);
    assert!(explained.checks.is_empty() && explained.rules.is_empty());
}

const WHOLE: &str = "apiVersion: aegis.dev/v1
kind: PolicySet
metadata: { tenant: demo, env: dev }
approvals: { fin: { route: 'slack:#fin', expires: 15m } }
tools:
  pay:
    class: write
    match: { hosts: [api.test], methods: [POST], paths: [/pay] }
    allow: { groups: [finance] }
    params: { amount: { type: integer, required: true } }
    unknown_params: strip
    rules:
    - { id: big, effect: deny, when: { param: amount, gt: 100 } }
    - { id: ask, effect: approval_needed, when: { context: estimated_cost, gt: 5 }, approval: fin }
    exceptions:
    - { id: migration, owner: ops, reason: moving, expires: 2027-01-01T00:00:00Z, rules: [big], when: { agent: tier, eq: gold } }
tests:
- name: pay
  tool: pay
  agent: { groups: [finance], attributes: { tier: gold } }
  at: 2026-11-20T10:00:00Z
  cases:
  - { params: { amount: 200 }, expect: allow, exceptions: [migration] }
  - { params: { amount: 200 }, at: 2027-02-01T00:00:00Z, expect: { deny: [big] } }
  - { params: { amount: 200, more: 1 }, expect: { sanitize: [schema.unknown-param] } }
  - { params: { amount: 200, more: 1 }, estimated_cost: 9, expect: { approval_needed: [ask] } }
";

#[test]
fn exceptions_and_stripping_are_explained_as_they_are_evaluated() {
    let policy = Policy::new(WHOLE);
    let explained: Vec<Explanation> = policy
        .set
        .examples
        .iter()
        .map(|example| policy.agree(&Scene::of(&policy.set, example).unwrap().input()))
        .collect();
    let big = |at: usize| (rule(&explained[at], "big").standing, explained[at].exceptions[0].holds);
    assert_eq!(big(0), (Standing::Excepted, true));
    assert_eq!(big(1), (Standing::Decides, false));
    let strips =
        |at: usize| explained[at].checks.last().map(|check| (check.effect, check.standing));
    assert_eq!(strips(0), Some((Effect::Sanitize, Standing::Quiet)));
    assert_eq!(strips(2), Some((Effect::Sanitize, Standing::Decides)));
    assert_eq!(strips(3), Some((Effect::Sanitize, Standing::Outranked)));
    assert_eq!(rule(&explained[3], "ask").condition.text, "context estimated_cost gt 5");
}
