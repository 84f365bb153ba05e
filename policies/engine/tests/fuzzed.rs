//! What the language accepts, the engine compiles or refuses with a place; what it compiled always answers; and a rule
//! that lint calls ineffective changes no answer.
#![expect(clippy::unwrap_used, reason = "fixtures stand outside test functions")]

#[expect(dead_code, reason = "shared with the other tests, which use all of it")]
mod scene;

use std::collections::BTreeMap;

use aegis_document::Document;
use aegis_domain::{Detector, DlpFacts, MicroUsd, Timestamp};
use aegis_policy::{CompileContext, Snapshot};
use aegis_policy_language::PolicySet;
use aegis_policy_review::lint::{self, Code};
use proptest::prelude::*;
use scene::{Scene, one_tool};
use serde_json::{Value, json};

const PARAMS: &str = "{ n: { type: integer, min: 0, max: 9 }, s: { type: string, pattern: '^a[b.]*$' }, \
    c: { type: string, in: [USD, EUR] }, b: { type: boolean }, o: { type: object }, l: { type: array } }";

fn leaf() -> impl Strategy<Value = String> {
    let orders = prop::sample::select(vec!["gt", "gte", "lt", "lte", "eq", "neq"]);
    let fixed = prop::sample::select(vec![
        "always",
        "{ param: s, prefix: ab }",
        "{ param: s, contains: .. }",
        "{ param: s, suffix: b }",
        "{ param: s, prefix: 'a\"\\u{9}' }",
        "{ param: c, in: [USD] }",
        "{ param: c, neq: EUR }",
        "{ param: b, eq: true }",
        "{ agent: tier, eq: gold }",
        "{ agent: tier, gt: 1 }",
        "{ request: path, prefix: /p }",
        "{ dlp: [ssn, email] }",
        "{ fact: dlp.email, gte: 2 }",
        "{ calendar: hours }",
        "{ budget_remaining: { lt: estimated_cost } }",
        "{ context: estimated_cost, gt: 5 }",
        "{ param: s, eq: 'ſ\u{10ffff}`' }",
    ]);
    prop_oneof![
        (orders, -1..10_i32).prop_map(|(order, n)| format!("{{ param: n, {order}: {n} }}")),
        fixed.prop_map(str::to_owned),
    ]
}

fn condition() -> impl Strategy<Value = String> {
    leaf().prop_recursive(3, 10, 3, |inner| {
        let several = prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            several.clone().prop_map(|parts| format!("{{ all: [ {} ] }}", parts.join(", "))),
            several.prop_map(|parts| format!("{{ any: [ {} ] }}", parts.join(", "))),
            inner.prop_map(|inner| format!("{{ not: {inner} }}")),
        ]
    })
}

fn rules() -> impl Strategy<Value = Vec<String>> {
    let effects = prop::sample::select(vec![
        "effect: deny",
        "effect: approval_needed, approval: fin",
        "effect: sanitize, obligation: blank",
        "effect: deny, mode: shadow",
    ]);
    prop::collection::vec((effects, condition()), 1..5).prop_map(|rules| {
        let line = |(n, (effect, when)): (usize, &(&str, String))| {
            format!("    - {{ id: r{n}, {effect}, when: {when} }}\n")
        };
        rules.iter().enumerate().map(line).collect()
    })
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => (-1..10_i64).prop_map(Value::from),
        4 => prop::sample::select(vec!["", "a", "ab", "a..b", "USD", "EUR", "ſ", "\u{10ffff}"]).prop_map(Value::from),
        1 => prop::sample::select(vec![
            json!(null), json!(true), json!([]), json!([1]), json!({}), json!({"a": 1}), json!(0.5), json!(1e300),
            json!(u64::MAX), json!(i64::MIN),
        ]),
        1 => any::<String>().prop_map(Value::from),
    ]
}

fn scenes() -> impl Strategy<Value = Vec<Scene>> {
    let names = prop::sample::select(vec!["n", "s", "c", "b", "o", "l", "unknown"]);
    let params = prop::collection::vec((names, value()), 0..5);
    let scene = (params, prop::option::of(value()), 0..3_u32, any::<bool>(), 0..9_u64);
    prop::collection::vec(scene, 12).prop_map(|scenes| {
        scenes
            .into_iter()
            .map(|(params, tier, emails, late, budget)| {
                let mut scene = Scene::pay().with(&params);
                scene.agent.attributes.extend(tier.map(|tier| ("tier".to_owned(), tier)));
                scene.dlp = DlpFacts::Scanned(BTreeMap::from([(Detector::Email, emails)]));
                scene.budget_left = Some(MicroUsd::new(budget * 3));
                scene.now = Timestamp::from_unix_s(1_795_168_800 + if late { 43_200 } else { 0 });
                scene
            })
            .collect()
    })
}

/// The set and what it compiles to; `None` when the language refused it, with a place.
fn compiled(rules: &[String]) -> Option<(PolicySet, Snapshot)> {
    let text = one_tool(PARAMS, &rules.concat());
    let set =
        Document::parse("p", &text).and_then(|document| PolicySet::parse(&[document])).ok()?;
    match Snapshot::of(&set, CompileContext { version: 1 }) {
        Ok(snapshot) => Some((set, snapshot)),
        Err(found) => {
            let lines = text.lines().count();
            assert!(
                found.iter().all(|found| (1..=lines).contains(&(found.line as usize))),
                "{found}"
            );
            None
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_compiled_always_answers_and_ineffective_rules_change_no_answer(rules in rules(), scenes in scenes()) {
        let Some((set, snapshot)) = compiled(&rules) else { return Ok(()) };
        let outcomes: Vec<_> = scenes.iter().map(|scene| snapshot.evaluate(&scene.input())).collect();
        prop_assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        let found = lint::findings(&set);
        let idle = found.iter().filter(|finding| finding.code == Code::IneffectiveRule);
        let kept: Vec<String> = rules.iter()
            .filter(|rule| !idle.clone().any(|finding| rule.contains(finding.message.split('`').nth(1).unwrap())))
            .cloned().collect();
        if kept.len() == rules.len() {
            return Ok(());
        }
        let (_, without) = compiled(&kept).unwrap();
        for (scene, with) in scenes.iter().zip(outcomes) {
            let (with, without) = (with.unwrap(), scene.ask(&without));
            prop_assert_eq!(
                (with.effect, with.obligations, with.approval_routes),
                (without.effect, without.obligations, without.approval_routes)
            );
        }
    }
}

#[test]
fn a_pack_with_one_word_changed_compiles_or_is_refused_with_a_place() {
    use proptest::test_runner::{Config, TestRunner};
    let pack = include_str!("../../packs/demo.yaml");
    let words = [
        "deny", "sanitize", "ssn", "amount", "currency", "gt", "eq", "memo", "fin", "true", "5",
        "''", "string",
    ];
    let strategy = (any::<usize>(), prop::sample::select(words.to_vec()));
    let config = Config { cases: 60, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&strategy, |(at, word)| {
            let places: Vec<_> = words.iter().flat_map(|old| pack.match_indices(old)).collect();
            let (start, old) = places[at % places.len()];
            let text = format!("{}{word}{}", &pack[..start], &pack[start + old.len()..]);
            let read =
                Document::parse("p", &text).and_then(|document| PolicySet::parse(&[document]));
            if let Err(found) =
                read.and_then(|set| Snapshot::of(&set, CompileContext { version: 1 }))
            {
                let lines = text.lines().count();
                prop_assert!(
                    found.iter().all(|found| (1..=lines).contains(&(found.line as usize))),
                    "{}",
                    found
                );
            }
            Ok(())
        })
        .unwrap();
}
