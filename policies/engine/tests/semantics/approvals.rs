//! Clauses 6 and 7: overrides, and rules in shadow.

use aegis_domain::{Detector, Ttl};
use serde_json::json;

use crate::scene::Scene;
use crate::{found, policy};

pub(crate) const APPROVALS: &str =
    "    - { id: one, effect: approval_needed, when: { param: x, gt: 1 }, approval: fin }
    - { id: two, effect: approval_needed, when: { param: x, gt: 2 }, approval: fast }
    - { id: never, effect: deny, when: { param: x, gt: 3 } }
    - { id: san, effect: sanitize, when: { dlp: [ssn] }, obligation: blank }";

#[test]
fn an_approval_names_whom_to_ask_and_for_how_long() {
    let snapshot = policy("{ x: { type: integer } }", APPROVALS);
    let outcome = Scene::pay().with(&[("x", json!(3))]).ask(&snapshot);
    assert_eq!(outcome.approval_routes, ["fast", "fin"]);
    assert_eq!(outcome.approval_ttl, Some(Ttl::from_s(60)));
    let tool = snapshot.tool(&"pay".parse().unwrap()).unwrap();
    assert_eq!(tool.approvals, ["fast", "fin"]);
}

#[test]
fn an_override_takes_away_exactly_the_approved_rules_and_never_a_deny() {
    let snapshot = policy("{ x: { type: integer } }", APPROVALS);
    let answer = |x: i64, approved: &[&str]| {
        let mut scene = Scene::pay().with(&[("x", json!(x))]);
        scene.approved = approved.iter().map(|id| id.parse().unwrap()).collect();
        scene.answer(&snapshot)
    };
    assert_eq!(answer(3, &[]), "approval_needed one,two");
    assert_eq!(answer(3, &["one"]), "approval_needed two");
    assert_eq!(answer(3, &["one", "two"]), "allow");
    assert_eq!(answer(4, &["one", "two", "never"]), "deny never");
}

#[test]
fn what_must_be_redacted_still_is_after_approval() {
    let snapshot = policy("{ x: { type: integer } }", APPROVALS);
    let mut scene = Scene::pay().with(&[("x", json!(2))]);
    scene.dlp = found(&[Detector::Ssn]);
    scene.approved = ["one".parse().unwrap()].into();
    assert_eq!(scene.answer(&snapshot), "sanitize san");
    assert_eq!(scene.ask(&snapshot).obligations.len(), 2);
}

#[test]
fn a_shadow_rule_is_reported_at_every_effect_and_changes_none() {
    let rules = "    - { id: sh, effect: deny, mode: shadow, when: { param: x, gt: 0 } }
    - { id: sh2, effect: approval_needed, mode: shadow, when: always, approval: fin }
    - { id: d, effect: deny, when: { param: x, gt: 5 } }";
    let snapshot = policy("{ x: { type: integer } }", rules);
    for (x, answer, would) in [
        (0, "allow", vec!["sh2"]),
        (1, "allow", vec!["sh", "sh2"]),
        (6, "deny d", vec!["sh", "sh2"]),
    ] {
        let scene = Scene::pay().with(&[("x", json!(x))]);
        assert_eq!(scene.answer(&snapshot), answer);
        let found: Vec<String> =
            scene.ask(&snapshot).would.iter().map(ToString::to_string).collect();
        assert_eq!(found, would);
    }
    assert!(snapshot.tool(&"pay".parse().unwrap()).unwrap().approvals.is_empty());
}
