//! The RVM and the interpreter decide alike, whatever the input document holds.
//!
//! Not here: stock OPA, which runs outside this workspace. The generator starts from a document that is allowed and
//! puts hostile values where they hurt: wrong types, missing parts, other scripts, numbers at the edges.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value as Json, json};

use super::*;
use crate::lower::{Lowered, lower};
use aegis_document::Document;
use aegis_policy_language::{PolicySet, host_candidates};

/// One policy on both engines.
struct Both {
    data: Data,
    tools: Vec<(Program, regorus::Engine, String)>,
}

impl Both {
    fn new(lowered: &Lowered) -> Self {
        let data = Data::new(&lowered.data);
        let tools = lowered.tools.values().map(|module| {
            let mut engine = regorus::Engine::new();
            engine.set_strict_builtin_errors(true);
            engine.add_policy(module.path.clone(), module.source.clone()).unwrap();
            engine.add_data(data.0.clone()).unwrap();
            let rule = format!("data.{}.decision", module.package);
            (Program::compile(module).unwrap(), engine, rule)
        });
        Self { tools: tools.collect(), data }
    }

    /// What the RVM and the interpreter say; all errors count as one.
    fn decide(&self, tool: usize, input: &Json) -> [Option<RawDecision>; 2] {
        let (program, engine, rule) = &self.tools[tool];
        let value = Value::from(input.clone());
        let on_rvm = program.decide(&self.data, Input(value.clone())).ok();
        let mut engine = engine.clone();
        engine.set_input(value);
        let interpreted = engine.eval_rule(rule.clone()).ok();
        [on_rvm, interpreted.and_then(|answer| decode(&answer).ok())]
    }
}

/// One step away from a good document.
#[derive(Clone, Debug)]
struct Mutation {
    section: &'static str,
    kind: u8,
    key: prop::sample::Index,
    value: Json,
}

const SECTIONS: [&str; 10] = [
    "/params",
    "/params",
    "/params",
    "/agent",
    "/request",
    "/facts/dlp",
    "/context",
    "/context/calendar",
    "/context/exceptions",
    "/request/mcp",
];

fn hostile() -> impl Strategy<Value = Json> {
    prop::sample::select(vec![
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(-1),
        json!(1),
        json!(1.5),
        json!(1e3),
        json!(20001),
        json!(100001),
        json!(400001),
        json!(500001),
        json!(""),
        json!("x"),
        json!("5"),
        json!("acct_XXaaaaaaaa"),
        json!("acct_1A2b3C4d5E"),
        json!("../.."),
        json!("/projects/prod/x"),
        json!("/projects/../x/"),
        json!("USD"),
        json!("EUR"),
        json!([]),
        json!([1]),
        json!(["v1", "files", "p", "q"]),
        json!(["finance", "eng", "clinical"]),
        json!({}),
        json!({"a": 1}),
        json!({"high-value": true, "off-hours": true, "break-glass": 1}),
        json!("é"),
        json!("١٢٣٤٥٦"),
        json!(9_007_199_254_740_993_u64),
        json!(0.1),
        json!(4097),
        json!("a\nb"),
        json!("gold"),
        json!("treatment"),
        json!("123456\n"),
        json!("<undefined>"),
    ])
}

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    let one = (
        prop::sample::select(SECTIONS.to_vec()),
        0_u8..100,
        any::<prop::sample::Index>(),
        hostile(),
    )
        .prop_map(|(section, kind, key, value)| Mutation { section, kind, key, value });
    prop::collection::vec(one, 0..4)
}

/// Values that reach the rules of the policies under test.
fn telling() -> Vec<(&'static str, Json)> {
    vec![
        ("/params/amount", json!(30_000)),
        ("/params/amount", json!(200_000)),
        ("/params/amount", json!(450_000)),
        ("/agent/break_glass", json!(true)),
        ("/context/calendar/eu_hours", json!(false)),
        ("/context/calendar/office_hours", json!(false)),
        ("/context/approved", json!({"high-value": true, "off-hours": true})),
        ("/context/budget_remaining", json!(5)),
        ("/context/calendar/office", json!(false)),
        ("/context/exceptions", json!({"EX-batch": true, "EX-trial": true})),
        ("/context/exceptions", json!({"EX-batch": 1, "EX-trial": "true"})),
        ("/context/estimated_cost", json!(1001)),
        ("/params/memo", json!("batch")),
        ("/params/colour", json!("red")),
        ("/params/recursive", json!(true)),
        ("/request/mcp", json!({"server": "files", "tool": "delete_file"})),
        ("/request/mcp/tool", json!("delete_files")),
        ("/request/region", json!("us-east-1")),
        ("/agent/level", json!(4)),
        ("/facts/dlp/email", json!(3)),
        ("/facts/dlp/ssn", json!(1)),
        ("/facts/dlp/secret", json!(2)),
    ]
}

fn mutate(document: &mut Json, mutation: &Mutation) {
    if mutation.kind >= 70 {
        let (pointer, value) = mutation.key.get(&telling()).clone();
        let (section, name) = pointer.rsplit_once('/').unwrap();
        let section = document.pointer_mut(section).and_then(Json::as_object_mut);
        section.into_iter().for_each(|map| {
            map.insert(name.to_owned(), value.clone());
        });
        return;
    }
    let Some(section) = document.pointer_mut(mutation.section) else { return };
    let known: Vec<String> = match section.as_object() {
        Some(map) => map.keys().cloned().collect(),
        None => Vec::new(),
    };
    let extra =
        ["memo", "recursive", "max_tokens", "temperature", "project", "tier", "break_glass", "zz"];
    let names: Vec<&str> = known.iter().map(String::as_str).chain(extra).collect();
    let name = names[mutation.key.index(names.len())];
    match (mutation.kind, section.as_object_mut()) {
        (0..18, Some(map)) => {
            map.remove(name);
        }
        (18..60, Some(map)) => {
            map.insert(name.to_owned(), mutation.value.clone());
        }
        _ => *section = mutation.value.clone(),
    }
}

fn good(params: Json, request: Json) -> Json {
    let mut document = json!({
        "tenant": "acme",
        "agent": {
            "id": "agent-1", "purpose": "treatment", "tier": "silver", "break_glass": false,
            "groups": ["clinical", "eng", "finance"],
            "scopes": ["ehr:read", "ehr:write", "files:write", "pay:write", "hooks:post", "llm:call", "payments:read", "payments:write"],
        },
        "facts": {"dlp": {"ssn": 0, "email": 0, "dob": 0, "card": 0, "secret": 0}},
        "context": {
            "budget_remaining": 500, "estimated_cost": 10, "approved": {},
            "calendar": {"eu_hours": true, "office_hours": true, "office": true},
            "exceptions": {"EX-batch": false, "EX-trial": false},
        },
    });
    document["params"] = params;
    document["request"] = request;
    document["request"]["region"] = json!("eu-west-1");
    document
}

fn request(method: &str, host: &str, path: &str) -> Json {
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let hosts: Vec<String> = host_candidates(host).collect();
    json!({"method": method, "host_candidates": hosts, "path": path, "segments": segments})
}

/// Runs generated documents through both engines and counts the effects, so that a generator that has gone dull
/// is noticed.
fn agrees(policy: &str, documents: &[Json]) -> BTreeMap<String, usize> {
    let set = PolicySet::parse(&[Document::parse("p.yaml", policy).unwrap()]).unwrap();
    let both = Both::new(&lower(&set).unwrap());
    assert_eq!(documents.len(), both.tools.len());
    let effects = std::cell::RefCell::new(BTreeMap::new());
    let mut runner =
        TestRunner::new(Config { cases: 1_500, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&(0..documents.len(), mutations()), |(tool, mutations)| {
        let mut document = documents[tool].clone();
        mutations.iter().for_each(|mutation| mutate(&mut document, mutation));
        let [on_rvm, interpreted] = both.decide(tool, &document);
        prop_assert_eq!(&on_rvm, &interpreted, "{}", document);
        prop_assert!(on_rvm.is_some(), "no decision for {}", document);
        let effect = on_rvm.map_or("error", |decision| decision.effect.as_str());
        *effects.borrow_mut().entry(effect.to_owned()).or_default() += 1;
        Ok(())
    });
    outcome.unwrap();
    effects.into_inner()
}

/// Patterns with a plain form of each kind, and some without.
const PATTERNS: [&str; 22] = [
    "^acct_",
    "^a{0,2}b*",
    "_x$",
    r"c*\.pdf$",
    "ab",
    "[x-z]?ab(c|d)*",
    "^ab$",
    "^(USD|EUR|GBP)$",
    "^(ab|abab?)$",
    "^[ab][01]?$",
    "^(?i)us$",
    "^[0-9]{2,4}$",
    "^[ab]*$",
    "^[ab]+$",
    "^aba[ab]{1,2}ba$",
    "^ab[ab]{0,3}ab$",
    r"^[a-c\-\]\\\x22]{3}x$",
    "^acct_[A-Za-z0-9]{8,24}$",
    "^[ -~]{1,9}$",
    "^[^a]+$",
    "^a+b+$",
    "^.b$",
];

/// Texts that nearly fit, and any others.
fn near(pattern: &'static str) -> impl Strategy<Value = String> {
    let fits = proptest::string::string_regex(pattern.trim_matches(['^', '$']))
        .unwrap_or_else(|_| proptest::string::string_regex("[ab]{0,6}").unwrap());
    let odd =
        prop::sample::select(vec!["", "", "", "a", "b", "x", "\n", "é", "ſ", "\u{0}", "ab", "USD"]);
    prop_oneof![
        4 => (odd.clone(), fits, odd).prop_map(|(before, text, after)| before.to_owned() + &text + after),
        2 => "[ab]{0,8}",
        1 => any::<String>(),
    ]
}

/// Patterns and texts that go with them.
fn patterned() -> impl Strategy<Value = (usize, String)> {
    (0..PATTERNS.len()).prop_flat_map(|index| (Just(index), near(PATTERNS[index])))
}

#[test]
fn a_plain_form_holds_exactly_when_the_pattern_is_found() {
    let tools = PATTERNS.iter().enumerate().map(|(index, pattern)| {
        format!(
            "  t{index:02}: {{ class: read, match: {{ hosts: [a.test], methods: [GET], paths: [/] }}, allow: {{}}, \
             params: {{ s: {{ type: string, required: true, pattern: {} }} }} }}\n",
            json!(pattern)
        )
    });
    let head =
        "apiVersion: aegis.dev/v1\nkind: PolicySet\nmetadata: { tenant: acme, env: dev }\ntools:\n";
    let text = head.to_owned() + &tools.collect::<String>();
    let set = PolicySet::parse(&[Document::parse("p.yaml", &text).unwrap()]).unwrap();
    let lowered = lower(&set).unwrap();
    let regexes = lowered.tools.values().filter(|module| module.source.contains("regex.match"));
    assert_eq!(regexes.count(), 4);
    let both = Both::new(&lowered);
    let seen = std::cell::RefCell::new([0, 0]);
    let mut runner =
        TestRunner::new(Config { cases: 4_000, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&patterned(), |(index, text)| {
        let document = json!({
            "params": {"s": text},
            "request": {"method": "GET", "path": "/", "host_candidates": ["a.test"]},
        });
        let expected = regex::Regex::new(PATTERNS[index]).unwrap().is_match(&text);
        for decision in both.decide(index, &document) {
            let effect = decision.map(|decision| decision.effect);
            let wanted = if expected { Effect::Allow } else { Effect::Deny };
            prop_assert_eq!(effect, Some(wanted), "{} on {:?}", PATTERNS[index], text);
        }
        seen.borrow_mut()[usize::from(expected)] += 1;
        Ok(())
    });
    outcome.unwrap();
    let seen = seen.into_inner();
    assert!(seen.iter().all(|seen| *seen > 400), "{seen:?}");
}

#[test]
fn rvm_and_interpreter_agree_on_the_demo_pack() {
    // In the order of the tools' names.
    let documents = [
        good(
            json!({"model": "vendor-small", "messages": [], "max_tokens": 100}),
            request("POST", "api.llm.test", "/v1/chat/completions"),
        ),
        good(
            json!({"patient_id": "1234567", "text": "stable"}),
            request("POST", "ehr.clinic.test", "/v1/patients/1234567/notes"),
        ),
        good(
            json!({"patient_id": "1234567"}),
            request("GET", "ehr.clinic.test", "/v1/patients/1234567"),
        ),
        good(
            // High enough for a question to a human, so that this effect is not left to luck.
            json!({"amount": 150_000, "currency": "USD", "destination": "acct_1A2b3C4d5E"}),
            request("POST", "api.payments.test", "/v1/payouts"),
        ),
        good(
            json!({"payout_id": "po_1A2b3C4d"}),
            request("GET", "api.payments.test", "/v1/payouts/po_1A2b3C4d"),
        ),
        good(json!({"event": "build", "payload": {}}), request("POST", "hooks.partner.test", "/x")),
    ];
    let effects = agrees(include_str!("../../../packs/demo.yaml"), &documents);
    assert!(effects.len() == 4 && effects.values().all(|seen| *seen >= 5), "{effects:?}");
}

#[test]
fn rvm_and_interpreter_agree_on_the_four_domains() {
    let documents = [
        good(
            json!({"patient_id": "123456"}),
            request("GET", "a.ehr.example.org", "/fhir/Patient/123456"),
        ),
        good(
            json!({"path": "/projects/a/b", "project": "a"}),
            request("DELETE", "files.acme.example", "/v1/files/a/b"),
        ),
        good(
            json!({"model": "vendor-small", "max_tokens": 100}),
            request("POST", "api.llm.example.com", "/v1/chat/completions"),
        ),
        good(
            json!({"amount": 4200, "currency": "USD", "destination": "acct_1A2b3C4d5E"}),
            request("POST", "eu.adyen.example", "/v1/payouts"),
        ),
    ];
    let effects = agrees(include_str!("../../../cases/four-domains.yaml"), &documents);
    assert!(effects.len() == 4 && effects.values().all(|seen| *seen >= 5), "{effects:?}");
}

#[test]
fn rvm_and_interpreter_agree_on_every_construct() {
    let mut deletion = request("POST", "a.mcp.example", "/mcp");
    deletion["mcp"] = json!({"server": "files", "tool": "delete_file"});
    let documents = [
        good(json!({"path": "/projects/a", "recursive": false}), deletion),
        good(json!({"org": "acme", "note": "n"}), request("GET", "notes.example", "/acme/notes/n")),
        good(
            json!({
                "amount": 90_000, "currency": "USD", "account": "acct_1A2b3C4d5E", "kind": "once",
                "file": "a.csv", "rate": 0.4, "urgent": false, "tags": [], "extra": {}, "id": "p7",
            }),
            request("PUT", "eu.pay.example", "/v1/pay/p7"),
        ),
    ];
    let effects = agrees(include_str!("../../../cases/constructs.yaml"), &documents);
    assert!(effects.len() == 4 && effects.values().all(|seen| *seen >= 5), "{effects:?}");
}
