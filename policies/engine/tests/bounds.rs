//! The limits of the language, each reached: what is too much is refused with a place, what is just enough decides.
#![expect(clippy::unwrap_used, reason = "fixtures stand outside test functions")]

#[expect(dead_code, reason = "no shipped pack is needed here")]
mod scene;

use scene::{Scene, compile, one_tool};
use serde_json::json;

fn refusal(text: &str) -> String {
    compile(text).err().map(|found| found.to_string()).unwrap_or_default()
}

fn rules(count: usize) -> String {
    let rule = |n| format!("    - {{ id: r{n}, effect: deny, when: {{ param: n, eq: {n} }} }}\n");
    (0..count).map(rule).collect()
}

const PARAMS: &str = "{ n: { type: integer } }";

#[test]
fn a_tool_has_500_rules_and_still_decides() {
    let snapshot = compile(&one_tool(PARAMS, &rules(500))).unwrap();
    let answer = |n: i64| Scene::pay().with(&[("n", json!(n))]).answer(&snapshot);
    assert_eq!((answer(499).as_str(), answer(500).as_str()), ("deny r499", "allow"));
    let refused = refusal(&one_tool(PARAMS, &rules(501)));
    assert_eq!(refused, "policy.yaml:14:5: a tool has at most 500 rules");
}

fn tools(count: usize, rules: &str) -> String {
    let head = "apiVersion: aegis.dev/v1\nkind: PolicySet\nmetadata: { tenant: demo, env: dev }\n";
    let tool = |n| {
        format!(
            "  t{n}:\n    class: read\n    match: {{ hosts: [a.test], methods: [GET], paths: [/{n}] }}\n    allow: {{}}\n    \
             params: {PARAMS}\n    rules:\n{rules}\n"
        )
    };
    format!("{head}tools:\n{}", (0..count).map(tool).collect::<String>())
}

#[test]
fn a_set_has_200_tools_and_2000_rules() {
    assert_eq!(refusal(&tools(201, "      []")), "policy.yaml:699:5: a set has at most 200 tools");
    let refused = refusal(&tools(5, &rules(401)));
    assert_eq!(refused, "policy.yaml:2039:7: a set has at most 2000 rules");
}

#[test]
fn a_list_has_100_000_members() {
    let list = |count: usize| {
        let members = "a, ".repeat(count);
        let text = one_tool(PARAMS, "      []");
        text.replace("kind: PolicySet", &format!("kind: PolicySet\nlists: {{ l: [{members}] }}"))
    };
    assert_eq!(refusal(&list(100_000)), "");
    assert_eq!(refusal(&list(100_001)), "policy.yaml:3:13: a list has at most 100000 members");
}

#[test]
fn texts_and_patterns_have_a_length() {
    let text = |bytes: usize| {
        one_tool(
            "{ s: { type: string } }",
            &format!(
                "    - {{ id: r, effect: deny, when: {{ param: s, eq: {} }} }}",
                "a".repeat(bytes)
            ),
        )
    };
    assert_eq!(refusal(&text(256)), "");
    assert!(refusal(&text(257)).ends_with("a text here has 1 to 256 bytes"));
    let pattern = |bytes: usize| {
        let pattern = "(a|b+)".repeat(bytes / 6) + &"c".repeat(bytes % 6);
        one_tool(&format!("{{ s: {{ type: string, pattern: '{pattern}' }} }}"), "      []")
    };
    assert_eq!(refusal(&pattern(512)), "");
    assert!(refusal(&pattern(513)).contains("longer than 512 bytes"));
    let length =
        |max: u32| one_tool(&format!("{{ s: {{ type: string, max_length: {max} }} }}"), "      []");
    assert_eq!(refusal(&length(65_536)), "");
    assert!(refusal(&length(65_537)).contains("an integer from 0 to 65536"));
}

#[test]
fn conditions_nest_16_deep() {
    let nested = |depth: usize| {
        let when = "{ not: ".repeat(depth - 1) + "{ param: n, eq: 1 }" + &" }".repeat(depth - 1);
        one_tool(PARAMS, &format!("    - {{ id: r, effect: deny, when: {when} }}"))
    };
    let snapshot = compile(&nested(16)).unwrap();
    let answer = |n: i64| Scene::pay().with(&[("n", json!(n))]).answer(&snapshot);
    assert_eq!((answer(1).as_str(), answer(2).as_str()), ("allow", "deny r"));
    let refused = "policy.yaml:19:7: conditions stand in each other at most 16 deep";
    assert_eq!(refusal(&nested(17)), refused);
    assert_eq!(refusal(&nested(58)), refused);
    assert!(refusal(&nested(62)).contains("nested deeper than 64 levels"));
}

#[test]
fn a_condition_of_many_parts_decides_as_its_parts_do() {
    let part = |n: usize| {
        format!("{{ not: {{ param: n, eq: {n} }} }}, {{ param: n, lt: {} }}, ", 9_000 + n)
    };
    let parts: String = (0..400).map(part).collect();
    let rule = format!("    - {{ id: r, effect: deny, when: {{ all: [ {parts} always ] }} }}");
    let snapshot = compile(&one_tool(PARAMS, &rule)).unwrap();
    let answer = |n: i64| Scene::pay().with(&[("n", json!(n))]).answer(&snapshot);
    assert_eq!((answer(0).as_str(), answer(399).as_str()), ("allow", "allow"));
    assert_eq!((answer(400).as_str(), answer(9_000).as_str()), ("deny r", "allow"));
}

/// Whatever is legal by each limit and too much together is an error of the policy, never of a call.
#[test]
fn a_program_that_would_be_too_large_is_refused_when_it_is_compiled() {
    let leaf = "{ param: n, gt: 1 }, ".repeat(60);
    let rule = |n| {
        format!(
            "    - {{ id: r{n}, effect: deny, when: {{ any: [ {leaf} {{ param: n, eq: {n} }} ] }} }}\n"
        )
    };
    let refused = refusal(&one_tool(PARAMS, &(0..60).map(rule).collect::<String>()));
    assert!(refused.contains("the module or the line is too long"), "{refused:.200}");
}
