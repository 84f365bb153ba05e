//! Clause 5: missing values, and its trap.

use aegis_domain::{DlpFacts, MicroUsd, Timestamp};
use serde_json::json;

use crate::policy;
use crate::scene::Scene;

#[test]
fn a_leaf_on_a_missing_optional_value_is_false_and_its_negation_true() {
    let snapshot = policy(
        "{ x: { type: integer }, s: { type: string } }",
        "    - { id: plain, effect: deny, when: { any: [ { param: x, gt: 0 }, { param: s, contains: a }, { param: x, eq: 0 } ] } }
    - { id: negated, effect: deny, when: { not: { param: x, lte: 5 } } }
    - { id: differs, effect: deny, when: { param: s, neq: ok } }",
    );
    assert_eq!(Scene::pay().answer(&snapshot), "deny differs,negated");
    let scene = Scene::pay().with(&[("x", json!(-1)), ("s", json!("ok"))]);
    assert_eq!(scene.answer(&snapshot), "allow");
    let scene = Scene::pay().with(&[("x", json!(6)), ("s", json!("ok"))]);
    assert_eq!(scene.answer(&snapshot), "deny negated,plain");
}

#[test]
fn a_missing_agent_attribute_counts_as_not_fulfilling() {
    let snapshot = policy(
        "{}",
        "    - { id: purpose, effect: deny, when: { not: { agent: purpose, in: [treatment] } } }",
    );
    let mut scene = Scene::pay();
    assert_eq!(scene.answer(&snapshot), "deny purpose");
    scene.agent.attributes.insert("purpose".to_owned(), json!(["treatment"]));
    assert_eq!(scene.answer(&snapshot), "deny purpose");
    scene.agent.attributes.insert("purpose".to_owned(), json!("treatment"));
    assert_eq!(scene.answer(&snapshot), "allow");
}

#[test]
fn attributes_cannot_pass_for_scopes_or_groups() {
    let snapshot = policy("{}", "      []");
    let mut scene = Scene::pay();
    scene.agent.scopes.clear();
    scene.agent.groups.clear();
    scene.agent.attributes.insert("scopes".to_owned(), json!(["pay"]));
    scene.agent.attributes.insert("groups".to_owned(), json!(["finance"]));
    assert_eq!(scene.answer(&snapshot), "deny agent.group,scope.pay");
}

#[test]
fn facts_the_gateway_must_supply_deny_when_they_are_missing() {
    for rule in [
        "    - { id: r, effect: deny, when: { dlp: [secret] } }",
        "    - { id: r, effect: sanitize, when: { dlp: [ssn] }, obligation: blank }",
        "    - { id: r, effect: approval_needed, when: { all: [ { not: { dlp: [ssn] } }, { dlp: [dob] } ] }, approval: fin }",
    ] {
        let snapshot = policy("{}", rule);
        let mut scene = Scene::pay();
        assert_eq!(scene.answer(&snapshot), "allow", "{rule}");
        scene.dlp = DlpFacts::NotScanned;
        assert_eq!(scene.answer(&snapshot), "deny facts.missing", "{rule}");
    }
}

#[test]
fn a_missing_budget_denies_where_a_rule_asks_for_it_only() {
    let rule = "    - { id: r, effect: deny, when: { budget_remaining: { lt: estimated_cost } }, reason: OutOfBudget }";
    let snapshot = policy("{}", rule);
    let mut scene = Scene::pay();
    assert_eq!(scene.answer(&snapshot), "allow");
    scene.budget_left = Some(MicroUsd::new(9));
    assert_eq!(scene.answer(&snapshot), "deny r");
    assert_eq!(scene.ask(&snapshot).detail.as_deref(), Some("OutOfBudget"));
    scene.budget_left = None;
    assert_eq!(scene.answer(&snapshot), "deny facts.missing");
    assert_eq!(scene.answer(&policy("{}", "      []")), "allow");
}

#[test]
fn an_instant_no_calendar_can_hold_denies() {
    let rule = "    - { id: r, effect: deny, when: { not: { calendar: hours } } }";
    let snapshot = policy("{}", rule);
    let mut scene = Scene::pay();
    assert_eq!(scene.answer(&snapshot), "allow");
    scene.now = Timestamp::from_unix_s(1_795_168_800 + 12 * 3_600);
    assert_eq!(scene.answer(&snapshot), "deny r");
}

#[test]
fn a_shadow_rule_without_its_facts_does_not_deny() {
    let rule = "    - { id: r, effect: deny, mode: shadow, when: { dlp: [secret] } }";
    let mut scene = Scene::pay();
    scene.dlp = DlpFacts::NotScanned;
    assert_eq!(scene.answer(&policy("{}", rule)), "allow");
}
