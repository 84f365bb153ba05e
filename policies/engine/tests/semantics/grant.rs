//! Clause 1: the grant.

use serde_json::{Value, json};

use crate::policy;
use crate::scene::{Scene, compile, demo, one_tool};

#[test]
fn each_failed_part_of_the_grant_is_its_own_reason() {
    let snapshot = compile(
        &one_tool("{}", "      []")
            .replace("groups: [finance],", "groups: [finance], regions: [eu-west-1],"),
    )
    .unwrap();
    assert_eq!(Scene::pay().answer(&snapshot), "allow");
    let mut scene = Scene::new("pay", "GET", "evil.test", "/pay/x");
    scene.region = "us-east-1".parse().unwrap();
    scene.agent.groups.clear();
    scene.agent.scopes.clear();
    let expected =
        "deny agent.group,request.host,request.method,request.path,request.region,scope.pay";
    assert_eq!(scene.answer(&snapshot), expected);
}

#[test]
fn an_unknown_tool_and_another_tenant_meet_the_default_deny() {
    let snapshot = demo();
    let unknown = Scene::new("payments.delete", "POST", "api.payments.test", "/v1/payouts");
    assert_eq!(unknown.answer(&snapshot), "deny egress.default-deny");
    let mut other = Scene::payout();
    other.agent.tenant = "other".parse().unwrap();
    assert_eq!(other.answer(&snapshot), "deny egress.default-deny");
}

#[test]
fn a_missing_or_mistyped_required_value_denies() {
    let types = [
        ("string", json!("x"), json!(1)),
        ("integer", json!(1.0), json!(1.5)),
        ("number", json!(1.5), json!("1.5")),
        ("boolean", json!(false), json!(0)),
        ("array", json!([1]), json!({})),
        ("object", json!({"a": 1}), json!([])),
    ];
    for (kind, good, bad) in types {
        let snapshot = policy(&format!("{{ x: {{ type: {kind}, required: true }} }}"), "      []");
        assert_eq!(Scene::pay().with(&[("x", good)]).answer(&snapshot), "allow", "{kind}");
        assert_eq!(Scene::pay().with(&[("x", bad)]).answer(&snapshot), "deny schema.x", "{kind}");
        assert_eq!(Scene::pay().with(&[("x", Value::Null)]).answer(&snapshot), "deny schema.x");
        assert_eq!(Scene::pay().answer(&snapshot), "deny schema.x", "{kind}");
    }
}

#[test]
fn an_optional_value_may_be_absent_but_not_wrong() {
    let snapshot = policy("{ x: { type: integer, min: 1, max: 9 } }", "      []");
    assert_eq!(Scene::pay().answer(&snapshot), "allow");
    for (value, expected) in [
        (json!(9), "allow"),
        (json!(10), "deny schema.x"),
        (json!(0), "deny schema.x"),
        (json!("5"), "deny schema.x"),
        (json!(null), "deny schema.x"),
        (json!(18_446_744_073_709_551_615_u64), "deny schema.x"),
    ] {
        assert_eq!(Scene::pay().with(&[("x", value)]).answer(&snapshot), expected);
    }
}

#[test]
fn unknown_parameters_deny() {
    let snapshot = policy("{ x: { type: string } }", "      []");
    for name in ["y", "", "X", "x ", "x.y"] {
        let scene = Scene::pay().with(&[(name, json!(1))]);
        assert_eq!(scene.answer(&snapshot), "deny schema.unknown-param", "{name:?}");
    }
}

#[test]
fn parameters_may_be_named_like_rego_keywords() {
    let snapshot = policy(
        "{ in: { type: string, required: true }, default: { type: integer }, input: { type: string } }",
        "    - { id: r, effect: deny, when: { param: in, eq: bad } }",
    );
    let scene = Scene::pay().with(&[("default", json!(1)), ("input", json!("x"))]);
    assert_eq!(scene.clone().with(&[("in", json!("ok"))]).answer(&snapshot), "allow");
    assert_eq!(scene.with(&[("in", json!("bad"))]).answer(&snapshot), "deny r");
}

#[test]
fn a_wildcard_host_matches_at_any_depth_below_it_and_not_itself() {
    let text = one_tool("{}", "      []").replace("[api.test]", "['*.pay.test', 10.0.0.1]");
    let snapshot = compile(&text).unwrap();
    for (host, expected) in [
        ("a.pay.test", "allow"),
        ("a.b.pay.test", "allow"),
        ("10.0.0.1", "allow"),
        ("pay.test", "deny request.host"),
        ("xpay.test", "deny request.host"),
        ("a.pay.test.evil", "deny request.host"),
    ] {
        assert_eq!(Scene::new("pay", "POST", host, "/pay").answer(&snapshot), expected, "{host}");
    }
}

#[test]
fn a_named_list_may_stand_wherever_a_list_of_texts_may() {
    let lists = "lists: { h: [api.test], m: [POST, PUT], p: [/pay, '/pay/{id}'], g: [finance], s: [pay], r: [eu-west-1], c: [USD] }";
    let grant = "match: { hosts: $h, methods: $m, paths: $p }\n    allow: { groups: $g, scopes: $s, regions: $r }";
    let rules = "    - { id: r, effect: deny, when: { not: { param: c, in: $c } } }";
    let text = one_tool("{ c: { type: string, in: $c }, id: { type: string } }", rules)
        .replace("kind: PolicySet", &format!("kind: PolicySet\n{lists}"))
        .replace(
            "match: { hosts: [api.test], methods: [POST], paths: [/pay] }\n    allow: { groups: [finance], scopes: [pay] }",
            grant,
        );
    assert!(text.contains(grant));
    let snapshot = compile(&text).unwrap();
    let scene = Scene::new("pay", "PUT", "api.test", "/pay/7");
    assert_eq!(scene.clone().answer(&snapshot), "deny r");
    assert_eq!(scene.with(&[("c", json!("USD"))]).answer(&snapshot), "allow");
    let mut other = Scene::new("pay", "GET", "x.test", "/other").with(&[("c", json!("USD"))]);
    other.region = "us-1".parse().unwrap();
    other.agent.scopes.clear();
    other.agent.groups.clear();
    let expected =
        "deny agent.group,request.host,request.method,request.path,request.region,scope.pay";
    assert_eq!(other.answer(&snapshot), expected);
}

#[test]
fn a_host_is_passed_through_only_where_a_tool_says_so() {
    let matching = "match: { hosts: [api.test], methods: [POST], paths: [/pay] }";
    let unopened = "match: { hosts: ['*.pinned.test'], passthrough: true }";
    let text = one_tool("{}", "      []");
    assert!(text.contains(matching));
    let opened = compile(&text).unwrap();
    assert!(!opened.passes_through(&"api.test".parse().unwrap()));
    let snapshot = compile(&text.replace(matching, unopened)).unwrap();
    for (host, expected) in [("a.pinned.test", true), ("pinned.test", false), ("x.test", false)] {
        assert_eq!(snapshot.passes_through(&host.parse().unwrap()), expected, "{host}");
    }
    let tunnel = |method, path| Scene::new("pay", method, "a.pinned.test", path);
    assert_eq!(tunnel("CONNECT", "/").answer(&snapshot), "allow");
    assert_eq!(tunnel("POST", "/").answer(&snapshot), "deny request.method");
    assert_eq!(tunnel("CONNECT", "/x").answer(&snapshot), "deny request.path");
}
