//! The meaning of the language, clause by clause.
#![expect(clippy::unwrap_used, reason = "fixtures stand outside test functions")]

mod scene;

use std::collections::BTreeMap;

use aegis_domain::{Detector, DlpFacts, McpCall, MicroUsd, Obligation, Timestamp, Ttl};
use aegis_policy::Snapshot;
use scene::{Scene, compile, demo, one_tool};
use serde_json::{Value, json};

fn policy(params: &str, rules: &str) -> Snapshot {
    compile(&one_tool(params, rules)).unwrap()
}

fn found(detectors: &[Detector]) -> DlpFacts {
    DlpFacts::Scanned(detectors.iter().map(|detector| (*detector, 1)).collect())
}

// Clause 1: grant.

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

// MCP.

const MCP_TOOL: &str = "match: { mcp: { server: files, tool: delete_file } }";

fn mcp_policy(matching: &str) -> Snapshot {
    let text = one_tool("{ path: { type: string, required: true } }", "      []");
    compile(&text.replace("match: { hosts: [api.test], methods: [POST], paths: [/pay] }", matching))
        .unwrap()
}

fn mcp_call(server: &str, tool: &str) -> Scene {
    let mut scene = Scene::pay().with(&[("path", json!("/a"))]);
    let (server, tool) = (server.parse().unwrap(), tool.parse().unwrap());
    scene.call.mcp = Some(McpCall { server, tool });
    scene
}

#[test]
fn an_mcp_tool_is_matched_by_server_and_name_whatever_the_endpoint() {
    let snapshot = mcp_policy(MCP_TOOL);
    let mut scene = mcp_call("files", "delete_file");
    scene.call.path = "/anything".to_owned();
    scene.call.host = "mcp.test".parse().unwrap();
    assert_eq!(scene.answer(&snapshot), "allow");
    for (server, tool, expected) in [
        ("files", "read_file", "deny request.mcp-tool"),
        ("files", "delete_file.", "deny request.mcp-tool"),
        ("other", "delete_file", "deny request.mcp-server"),
        ("other", "read_file", "deny request.mcp-server,request.mcp-tool"),
    ] {
        assert_eq!(mcp_call(server, tool).answer(&snapshot), expected);
    }
    let plain = Scene::pay().with(&[("path", json!("/a"))]);
    assert_eq!(plain.answer(&snapshot), "deny request.mcp-server,request.mcp-tool");
}

#[test]
fn an_mcp_tool_may_name_the_hosts_as_well() {
    let snapshot =
        mcp_policy("match: { hosts: ['*.mcp.test'], mcp: { server: files, tool: delete_file } }");
    let mut scene = mcp_call("files", "delete_file");
    assert_eq!(scene.answer(&snapshot), "deny request.host");
    scene.call.host = "a.mcp.test".parse().unwrap();
    assert_eq!(scene.answer(&snapshot), "allow");
}

#[test]
fn a_tool_of_plain_requests_refuses_mcp_calls() {
    let snapshot = policy("{ path: { type: string } }", "      []");
    assert_eq!(Scene::pay().answer(&snapshot), "allow");
    assert_eq!(mcp_call("files", "delete_file").answer(&snapshot), "deny request.mcp");
}

#[test]
fn an_mcp_call_finds_an_mcp_tool_and_never_one_by_path() {
    let tools = [
        ("mcp", "match: { hosts: [api.test], methods: [POST], paths: [/pay] }"),
        ("mcp.other", "match: { mcp: { server: mail, tool: delete } }"),
        ("mcp.read", "match: { mcp: { server: files, tool: read } }"),
        ("mcp.delete", "match: { mcp: { server: files, tool: delete } }"),
    ];
    let tools = tools
        .map(|(name, matching)| format!("  {name}: {{ class: write, {matching}, allow: {{}} }}\n"));
    let head = "apiVersion: aegis.dev/v1\nkind: PolicySet\nmetadata: { tenant: demo, env: dev }\n";
    let snapshot = compile(&format!("{head}tools:\n{}", tools.concat())).unwrap();
    let found = |mcp: Option<(&str, &str)>| {
        let mut scene = mcp.map_or_else(Scene::pay, |(server, tool)| mcp_call(server, tool));
        scene.call.route = "mcp".parse().unwrap();
        snapshot.resolve(&scene.call).unwrap().to_string()
    };
    assert_eq!(found(None), "mcp");
    assert_eq!(found(Some(("files", "delete"))), "mcp.delete");
    assert_eq!(found(Some(("mail", "delete"))), "mcp.other");
    assert_eq!(found(Some(("files", "read"))), "mcp.read");
    // Nothing matches: some MCP tool refuses it, never the tool whose path holds.
    assert_ne!(found(Some(("files", "write"))), "mcp");
}

// Clause 2: precedence, and clause 3: what is reported.

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

// Clause 4: obligations.

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

// Clause 5: missing values, and its trap.

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

// Clause 6: approval override.

const APPROVALS: &str =
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

// Clause 7: shadow.

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

// Clause 8: exceptions.

const EXCEPTED: &str = "
    - { id: big, effect: deny, when: { param: x, gt: 10 }, reason: too big }
    - { id: odd, effect: approval_needed, when: { param: x, gt: 5 }, approval: fin }
    - { id: san, effect: sanitize, when: { param: x, gt: 0 }, obligation: blank }
    - { id: sh, effect: deny, mode: shadow, when: { param: x, gt: 10 } }
    exceptions:
    - { id: EX-1, owner: ops@demo.test, reason: migration, expires: 2026-11-20T12:00:00Z, rules: [big, sh], when: { param: who, eq: batch } }
    - { id: EX-2, owner: ops@demo.test, reason: trial, expires: 2026-11-20T12:00:00Z, rules: [odd] }";

fn excepted(x: i64, who: &str, hour: u64) -> (String, Vec<String>, Vec<String>) {
    let snapshot = policy("{ x: { type: integer }, who: { type: string } }", EXCEPTED);
    let mut scene = Scene::pay().with(&[("x", json!(x)), ("who", json!(who))]);
    scene.now = Timestamp::from_unix_s(1_795_132_800 + hour * 3_600);
    let outcome = scene.ask(&snapshot);
    let texts = |ids: &[aegis_domain::RuleId]| ids.iter().map(ToString::to_string).collect();
    (scene.answer(&snapshot), texts(&outcome.exceptions), texts(&outcome.would))
}

#[test]
fn an_exception_lifts_the_rules_it_names_while_its_condition_holds_and_is_reported() {
    let both = vec!["EX-1".to_owned(), "EX-2".to_owned()];
    assert_eq!(excepted(20, "batch", 11), ("sanitize san".to_owned(), both, vec![]));
    let (answer, used, would) = excepted(20, "other", 11);
    assert_eq!((answer.as_str(), used.as_slice()), ("deny big", &["EX-2".to_owned()][..]));
    assert_eq!(would, ["sh"]);
    let used = vec!["EX-2".to_owned()];
    assert_eq!(excepted(7, "batch", 11), ("sanitize san".to_owned(), used, vec![]));
    // What did not fire was not lifted.
    assert_eq!(excepted(1, "batch", 11), ("sanitize san".to_owned(), vec![], vec![]));
}

#[test]
fn an_exception_that_has_expired_has_no_effect() {
    for hour in [12, 13, 24 * 365] {
        let (answer, used, _) = excepted(20, "batch", hour);
        assert_eq!((answer.as_str(), used.len()), ("deny big", 0));
        assert_eq!(excepted(7, "batch", hour).0, "approval_needed odd");
    }
}

#[test]
fn an_exception_of_the_set_lifts_the_rule_in_every_tool_that_has_it() {
    let rule = "    - { id: r, effect: deny, when: { param: x, gt: 1 } }\n";
    let exception = "exceptions:\n- { id: EX, owner: a, reason: b, expires: 2027-01-01T00:00:00Z, rules: [r], when: { param: x, lt: 9 } }\n";
    let snapshot =
        compile(&format!("{}{exception}", one_tool("{ x: { type: integer } }", rule))).unwrap();
    let answer = |x: i64| Scene::pay().with(&[("x", json!(x))]).answer(&snapshot);
    assert_eq!((answer(5).as_str(), answer(9).as_str()), ("allow", "deny r"));
}

#[test]
fn an_exception_never_lifts_a_check() {
    let snapshot = policy("{ x: { type: integer }, who: { type: string } }", EXCEPTED);
    let mut scene = Scene::pay().with(&[("x", json!(20)), ("who", json!("batch"))]);
    scene.now = Timestamp::from_unix_s(1_795_132_800);
    assert_eq!(scene.answer(&snapshot), "sanitize san");
    scene.agent.scopes.clear();
    assert_eq!(scene.answer(&snapshot), "deny scope.pay");
}

#[test]
fn a_fact_that_only_an_exception_reads_must_be_there_as_well() {
    let rules = "    - { id: r, effect: deny, when: always }
    exceptions: [ { id: EX, owner: a, reason: b, expires: 2027-01-01T00:00:00Z, rules: [r], when: { not: { dlp: [ssn] } } } ]";
    let snapshot = policy("{}", rules);
    let mut scene = Scene::pay();
    assert_eq!(scene.answer(&snapshot), "allow");
    scene.dlp = found(&[Detector::Ssn]);
    assert_eq!(scene.answer(&snapshot), "deny r");
    scene.dlp = DlpFacts::NotScanned;
    assert_eq!(scene.answer(&snapshot), "deny facts.missing");
}

// Unknown parameters that are stripped.

fn stripping(rules: &str) -> Snapshot {
    let text = one_tool("{ x: { type: integer }, y: { type: string } }", rules);
    compile(&text.replace("    class: write", "    class: write\n    unknown_params: strip"))
        .unwrap()
}

#[test]
fn stripped_parameters_are_a_sanitize_that_keeps_the_declared_fields() {
    let snapshot = stripping("      []");
    let keep = Obligation::KeepFields { fields: vec!["x".to_owned(), "y".to_owned()] };
    assert_eq!(Scene::pay().with(&[("x", json!(1))]).answer(&snapshot), "allow");
    let scene = Scene::pay().with(&[("x", json!(1)), ("z", json!(1))]);
    assert_eq!(scene.answer(&snapshot), "sanitize schema.unknown-param");
    assert_eq!(scene.ask(&snapshot).obligations, [keep]);
    let scene = Scene::pay().with(&[("x", json!("1")), ("z", json!(1))]);
    assert_eq!(scene.answer(&snapshot), "deny schema.x");
}

#[test]
fn stripping_stands_beside_other_rules_as_any_sanitize_rule_does() {
    let snapshot = stripping(APPROVALS);
    let scene = Scene::pay().with(&[("x", json!(2)), ("z", json!(1))]);
    assert_eq!(scene.answer(&snapshot), "approval_needed one");
    assert_eq!(scene.ask(&snapshot).obligations.len(), 1);
    let mut scene = Scene::pay().with(&[("x", json!(1)), ("z", json!(1))]);
    scene.dlp = found(&[Detector::Ssn]);
    assert_eq!(scene.answer(&snapshot), "sanitize san,schema.unknown-param");
    assert_eq!(scene.ask(&snapshot).obligations.len(), 3);
}

#[test]
fn a_default_strips_where_the_tool_says_nothing_and_the_call_is_no_mcp_call() {
    let with = |more: &str| {
        let text = one_tool("{}", "      []")
            .replace("kind: PolicySet", "kind: PolicySet\ndefaults: { unknown_params: strip }");
        let plain = "match: { hosts: [api.test], methods: [POST], paths: [/pay] }";
        compile(&text.replace(plain, &more.replace("PLAIN", plain))).unwrap()
    };
    let scene = Scene::pay().with(&[("z", json!(1))]);
    assert_eq!(scene.answer(&with("PLAIN")), "sanitize schema.unknown-param");
    let denied = with("PLAIN\n    unknown_params: deny");
    assert_eq!(scene.answer(&denied), "deny schema.unknown-param");
    let mcp = mcp_call("files", "delete_file").answer(&with(MCP_TOOL));
    assert_eq!(mcp, "deny schema.unknown-param");
}

// Leaves on what the gateway supplies.

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

// Finding the tool.

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
