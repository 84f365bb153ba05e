//! Clauses 2 to 4: which effect wins, what is reported, which obligations come with it.

use aegis_domain::{Detector, Obligation};
use serde_json::json;

use crate::policy;
use crate::scene::Scene;

const ALL_EFFECTS: [&str; 4] = [
    "    - { id: z-san, effect: sanitize, when: { param: x, gt: 0 }, obligation: blank }\n",
    "    - { id: a-san, effect: sanitize, when: { param: x, gt: 0 }, obligation: bare }\n",
    "    - { id: appr, effect: approval_needed, when: { param: x, gt: 1 }, approval: fin }\n",
    "    - { id: deny, effect: deny, when: { param: x, gt: 2 }, reason: too much }\n",
];

#[test]
fn the_strongest_effect_wins_and_only_its_rules_are_reported_sorted() {
    let mut reversed = ALL_EFFECTS;
    reversed.reverse();
    for rules in [ALL_EFFECTS.concat(), reversed.concat()] {
        let snapshot = policy("{ x: { type: integer } }", &rules);
        let answer = |x: i64| Scene::pay().with(&[("x", json!(x))]).answer(&snapshot);
        assert_eq!(answer(0), "allow");
        assert_eq!(answer(1), "sanitize a-san,z-san");
        assert_eq!(answer(2), "approval_needed appr");
        assert_eq!(answer(3), "deny deny");
    }
}

#[test]
fn a_deny_carries_the_reason_a_person_wrote() {
    let snapshot = policy("{ x: { type: integer } }", &ALL_EFFECTS.concat());
    let ask = |x: i64| Scene::pay().with(&[("x", json!(x))]).ask(&snapshot);
    assert_eq!(ask(3).detail.as_deref(), Some("too much"));
    assert_eq!(ask(2).detail, None);
}

#[test]
fn obligations_apply_to_sanitize_and_to_approvals_but_not_to_denials() {
    let snapshot = policy("{ x: { type: integer } }", &ALL_EFFECTS.concat());
    let ask = |x: i64| Scene::pay().with(&[("x", json!(x))]).ask(&snapshot);
    let both = vec![
        Obligation::KeepFields { fields: vec!["id".to_owned()] },
        Obligation::StripAttachments,
        Obligation::Redact { detectors: vec![Detector::Ssn] },
        Obligation::RedactFields { fields: vec!["password".to_owned()] },
    ];
    assert_eq!(ask(1).obligations, both);
    assert_eq!(ask(2).obligations, both);
    assert!(ask(3).obligations.is_empty());
    assert!(ask(0).obligations.is_empty());
}
