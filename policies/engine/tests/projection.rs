//! What a tool's program reads: exactly that is built, recorded and enough to decide again.
#![expect(clippy::unwrap_used, reason = "fixtures stand outside test functions")]

mod scene;

use aegis_domain::{Detector, DlpFacts, MicroUsd};
use aegis_policy::{Reads, Snapshot};
use proptest::prelude::*;
use scene::{Scene, compile, demo, one_tool};
use serde_json::{Value, json};

const PARAMS: &str = "{ n: { type: integer, max: 9 }, s: { type: string, pattern: '^a+$' }, free: { type: string }, list: { type: array }, opts: { type: object } }";
const RULES: &str = "    - { id: dlp, effect: deny, when: { dlp: [secret] } }
    - { id: tier, effect: sanitize, when: { not: { agent: tier, eq: gold } }, obligation: blank }
    - { id: big, effect: approval_needed, when: { all: [ { param: n, gt: 5 }, { not: { calendar: hours } } ] }, approval: fin }
    - { id: poor, effect: deny, mode: shadow, when: { budget_remaining: { lt: 5 } } }";

fn policy() -> Snapshot {
    compile(&one_tool(PARAMS, RULES)).unwrap()
}

#[test]
fn a_projection_names_every_path_and_how_closely_it_is_read() {
    let snapshot = policy();
    let found: Vec<String> = snapshot
        .projection(&"pay".parse().unwrap())
        .unwrap()
        .paths()
        .map(|(path, reads)| format!("{path} {}", reads.as_str()))
        .collect();
    let expected = [
        "/agent/groups value",
        "/agent/scopes value",
        "/agent/tier value",
        "/context/approved/big value",
        "/context/budget_remaining value",
        "/context/calendar/hours value",
        "/facts/dlp/secret value",
        "/params keys",
        "/params/free type",
        "/params/list type",
        "/params/n value",
        "/params/opts type",
        "/params/s value",
        "/request/host_candidates value",
        "/request/mcp type",
        "/request/method value",
        "/request/path value",
        "/tenant value",
        "/tool value",
    ];
    assert_eq!(found, expected);
    assert!(snapshot.projection(&"other".parse().unwrap()).is_none());
}

#[test]
fn what_is_not_read_is_not_in_the_input_and_what_is_missing_stays_absent() {
    let snapshot = policy();
    let mut scene = Scene::pay().with(&[
        ("n", json!(3)),
        ("free", json!("a secret text")),
        ("list", json!([{"role": "user"}])),
        ("unknown", json!("another secret")),
    ]);
    scene.agent.attributes.insert("home".to_owned(), json!("Berlin"));
    scene.dlp = DlpFacts::NotScanned;
    scene.budget_left = None;
    let expected = json!({
        "tenant": "demo",
        "tool": "pay",
        "params": { "n": 3, "free": "", "list": [], "unknown": null },
        "agent": { "groups": ["finance"], "scopes": ["pay", "payments:write"] },
        "request": { "host_candidates": ["api.test", "*.test"], "method": "POST", "path": "/pay" },
        "context": { "calendar": { "hours": true } },
    });
    assert_eq!(snapshot.projected_input(&scene.input()), expected);
}

#[test]
fn numbers_come_back_exact() {
    let snapshot = policy();
    for number in [json!(9_007_199_254_740_993_u64), json!(u64::MAX), json!(i64::MIN), json!(0.1)] {
        let scene = Scene::pay().with(&[("n", number.clone())]);
        assert_eq!(snapshot.projected_input(&scene.input())["params"]["n"], number);
    }
}

#[test]
fn a_call_with_more_text_than_a_policy_may_read_is_denied_before_any_program_runs() {
    let snapshot = policy();
    let long = |bytes: usize| json!("a".repeat(bytes));
    let answer = |params: &[(&str, Value)]| {
        let scene = Scene::pay().with(params);
        let seen = snapshot.projected_input(&scene.input());
        (scene.answer(&snapshot), seen.get("params").is_some())
    };
    assert_eq!(answer(&[("free", long(1 << 20))]), ("sanitize tier".to_owned(), true));
    assert_eq!(answer(&[("s", long(60 << 10))]), ("sanitize tier".to_owned(), true));
    assert_eq!(answer(&[("s", long(64 << 10))]), ("deny schema.too-large".to_owned(), false));
    let name = "x".repeat(64 << 10);
    assert_eq!(answer(&[(&name, json!(1))]), ("deny schema.too-large".to_owned(), false));
}

#[test]
fn a_recorded_input_of_another_tenant_or_tool_meets_the_default_deny() {
    let snapshot = policy();
    let mut input = snapshot.projected_input(&Scene::pay().input());
    let ask = |tool: &str, input: &Value| {
        let outcome = snapshot.evaluate_projected(&tool.parse().unwrap(), input).unwrap();
        outcome.rules[0].to_string()
    };
    assert_eq!(ask("pay", &input), "tier");
    assert_eq!(ask("other", &input), "egress.default-deny");
    input["tenant"] = json!("other");
    assert_eq!(ask("pay", &input), "egress.default-deny");
    assert_eq!(ask("pay", &json!(null)), "egress.default-deny");
}

#[test]
fn a_candidate_that_reads_more_than_was_recorded_says_so() {
    let recorded = policy();
    let rule = "    - { id: r, effect: deny, when: { any: [ { param: free, eq: x }, { agent: home, eq: y }, { param: n, gt: 1 } ] } }";
    let candidate = compile(&one_tool(PARAMS, rule)).unwrap();
    let pay = "pay".parse().unwrap();
    let (kept, wanted) = (recorded.projection(&pay).unwrap(), candidate.projection(&pay).unwrap());
    assert_eq!(kept.lacks(wanted).collect::<Vec<_>>(), ["/agent/home", "/params/free"]);
    assert_eq!(kept.lacks(kept).count(), 0);
    assert!(kept.paths().any(|(path, reads)| (path, reads) == ("/params/free", Reads::Type)));
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0_i64..12).prop_map(Value::from),
        "a{0,4}b?".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(json!([1, {"a": [2]}])),
        Just(json!({"a": {"b": "c"}})),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_recorded_input_decides_as_the_call_did(
        params in prop::collection::btree_map(
            prop_oneof![Just("n"), Just("s"), Just("free"), Just("list"), Just("opts"), Just("zz")],
            value(),
            0..4,
        ),
        tier in prop::option::of(prop_oneof![Just(json!("gold")), value()]),
        secrets in prop::option::of(0_u32..2),
        budget in prop::option::of(0_u64..10),
        hour in 0_u64..24,
        approved in any::<bool>(),
    ) {
        let snapshot = policy();
        let mut scene = Scene::pay();
        scene.call.params = params.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        scene.agent.attributes.extend(tier.map(|tier| ("tier".to_owned(), tier)));
        scene.dlp = secrets.map_or(DlpFacts::NotScanned, |count| {
            DlpFacts::Scanned([(Detector::Secret, count)].into())
        });
        scene.budget_left = budget.map(MicroUsd::new);
        scene.now = aegis_domain::Timestamp::from_unix_s(1_795_132_800 + hour * 3_600);
        scene.approved.extend(approved.then(|| "big".parse().unwrap()));
        let seen = snapshot.projected_input(&scene.input());
        // As it comes back from a record: through text.
        let read: Value = serde_json::from_str(&seen.to_string()).unwrap();
        let again = snapshot.evaluate_projected(&scene.tool, &read).unwrap();
        prop_assert_eq!(scene.ask(&snapshot), again);
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "the figure is for whoever runs the test")]
fn a_recorded_payout_is_judged_with_few_allocations() {
    let snapshot = demo();
    let scene = Scene::payout();
    let seen = snapshot.projected_input(&scene.input());
    let measured = allocation_counter::measure(|| {
        snapshot.evaluate_projected(&scene.tool, &seen).unwrap();
    });
    println!("allocations for a recorded payments.create: {}", measured.count_total);
    assert!(measured.count_total < 600, "{}", measured.count_total);
}
