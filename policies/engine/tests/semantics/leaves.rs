//! What conditions can ask for, and which tool a call finds.

use std::collections::BTreeMap;

use aegis_domain::{Detector, DlpFacts, MicroUsd, Timestamp};
use serde_json::json;

use crate::policy;
use crate::scene::{Scene, demo};

#[test]
fn facts_and_context_are_leaves_with_their_presence_checked() {
    let snapshot = policy(
        "{}",
        "    - { id: many, effect: deny, when: { fact: dlp.email, gt: 3 } }
    - { id: some, effect: approval_needed, when: { fact: dlp.email, eq: 2 }, approval: fin }
    - { id: dear, effect: deny, when: { context: estimated_cost, gte: 100 } }
    - { id: poor, effect: deny, when: { context: budget_remaining, lt: 7 } }
    - { id: shut, effect: deny, when: { context: calendar.hours, eq: false } }",
    );
    let answer = |change: &dyn Fn(&mut Scene)| {
        let mut scene = Scene::pay();
        change(&mut scene);
        scene.answer(&snapshot)
    };
    let emails = |count| DlpFacts::Scanned([(Detector::Email, count)].into());
    assert_eq!(answer(&|_| ()), "allow");
    assert_eq!(answer(&|scene| scene.dlp = emails(4)), "deny many");
    assert_eq!(answer(&|scene| scene.dlp = emails(2)), "approval_needed some");
    assert_eq!(answer(&|scene| scene.call.estimated_cost = MicroUsd::new(100)), "deny dear");
    assert_eq!(answer(&|scene| scene.budget_left = Some(MicroUsd::new(6))), "deny poor");
    let night = Timestamp::from_unix_s(1_795_168_800 + 12 * 3_600);
    assert_eq!(answer(&|scene| scene.now = night), "deny shut");
    assert_eq!(answer(&|scene| scene.dlp = DlpFacts::NotScanned), "deny facts.missing");
    assert_eq!(answer(&|scene| scene.budget_left = None), "deny facts.missing");
}

#[test]
fn the_request_has_leaves_too() {
    let snapshot = policy(
        "{}",
        "    - { id: host, effect: deny, when: { request: host, suffix: .evil.test } }
    - { id: path, effect: deny, when: { request: path, neq: /pay } }
    - { id: method, effect: deny, when: { not: { request: method, in: [POST] } } }
    - { id: region, effect: deny, when: { request: region, prefix: us- } }",
    );
    assert_eq!(Scene::pay().answer(&snapshot), "allow");
    let mut scene = Scene::new("pay", "PUT", "a.evil.test", "/paid");
    scene.region = "us-east-1".parse().unwrap();
    let expected = "deny host,method,path,region,request.host,request.method,request.path";
    assert_eq!(scene.answer(&snapshot), expected);
}

#[test]
fn conditions_nest_and_every_effect_has_a_shadow() {
    let snapshot = policy(
        "{ a: { type: integer }, b: { type: integer }, c: { type: integer } }",
        "    - { id: nest, effect: deny, when: { any: [ { all: [ { param: a, eq: 1 }, { not: { any: [ { param: b, eq: 1 }, { not: { param: c, eq: 1 } } ] } } ] }, { not: { not: { param: a, eq: 9 } } } ] } }
    - { id: s-deny, effect: deny, mode: shadow, when: { param: a, eq: 5 } }
    - { id: s-appr, effect: approval_needed, mode: shadow, when: { param: a, eq: 5 }, approval: fin }
    - { id: s-san, effect: sanitize, mode: shadow, when: { param: a, eq: 5 }, obligation: blank }",
    );
    for a in [1, 2, 5, 9] {
        for b in [0, 1] {
            for c in [0, 1] {
                let fires = (a == 1 && !(b == 1 || c != 1)) || a == 9;
                let scene = Scene::pay().with(&[("a", json!(a)), ("b", json!(b)), ("c", json!(c))]);
                let expected = if fires { "deny nest" } else { "allow" };
                assert_eq!(scene.answer(&snapshot), expected, "{a} {b} {c}");
                let would = scene.ask(&snapshot).would.len();
                assert_eq!(would, if a == 5 { 3 } else { 0 });
            }
        }
    }
}

#[test]
fn an_approval_carries_quorum_and_what_it_is_bound_to() {
    let snapshot = demo();
    let fin = snapshot.approval("fin").unwrap();
    let bound: Vec<&str> = fin.bind.iter().map(|name| name.as_str()).collect();
    assert_eq!((fin.quorum, bound), (1, vec!["amount", "currency", "destination"]));
    assert!(snapshot.approval("gone").is_none());
}

#[test]
fn a_call_finds_its_tool_by_route_host_method_and_path() {
    let snapshot = demo();
    let resolve = |route: &str, method: &str, host: &str, path: &str| {
        let call = Scene::new(route, method, host, path).call;
        snapshot.resolve(&call).map(ToString::to_string)
    };
    let host = "api.payments.test";
    assert_eq!(resolve("payments", "POST", host, "/v1/payouts").unwrap(), "payments.create");
    assert_eq!(resolve("payments", "GET", host, "/v1/payouts/po_1").unwrap(), "payments.read");
    assert_eq!(resolve("payments.read", "GET", host, "/v1/payouts/po_1").unwrap(), "payments.read");
    // Nothing matches: the closest tells what is wrong.
    assert_eq!(resolve("payments", "PUT", host, "/v1/payouts").unwrap(), "payments.create");
    assert_eq!(resolve("payments", "DELETE", host, "/v1/payouts/po_1").unwrap(), "payments.read");
    assert_eq!(resolve("webhooks", "POST", "hooks.unlisted.test", "/x").unwrap(), "webhooks.post");
    assert_eq!(resolve("payment", "POST", host, "/v1/payouts"), None);
    assert_eq!(
        resolve("patients", "GET", "ehr.clinic.test", "/v1/patients/7").unwrap(),
        "patients.read"
    );
    let call = Scene::new("x", "POST", "api.llm.test", "/v1/chat/completions").call;
    assert_eq!(snapshot.resolve_any(&call).unwrap().as_str(), "chat.completions");
}

#[test]
fn names_in_the_path_become_parameters_raw() {
    let snapshot = demo();
    let params = |tool: &str, path: &str| snapshot.path_params(&tool.parse().unwrap(), path);
    let found = params("patients.note", "/v1/patients/a%2Fb/notes");
    assert_eq!(found, [("patient_id".to_owned(), "a%2Fb".to_owned())]);
    assert!(params("patients.note", "/v1/patients/1").is_empty());
    assert!(params("payments.create", "/v1/payouts").is_empty());
    assert!(params("nothing", "/").is_empty());
}

#[test]
fn text_conditions_take_text_only() {
    let snapshot = policy(
        "{ s: { type: string } }",
        "    - { id: p, effect: deny, when: { agent: tier, prefix: go } }
    - { id: q, effect: deny, when: { agent: level, gte: 3 } }",
    );
    for (tier, level, expected) in [
        (json!("gold"), json!(2), "deny p"),
        (json!("silver"), json!(3), "deny q"),
        // Across types `>=` would be true for a text; the guard makes it false.
        (json!(7), json!("9"), "allow"),
    ] {
        let mut scene = Scene::pay();
        scene.agent.attributes =
            BTreeMap::from([("tier".to_owned(), tier), ("level".to_owned(), level)]);
        assert_eq!(scene.answer(&snapshot), expected);
    }
}
