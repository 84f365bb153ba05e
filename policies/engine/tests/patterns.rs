//! A pattern that is written without a regular expression decides as the expression does, on both engines.
#![expect(clippy::unwrap_used, reason = "fixtures stand outside test functions")]

use std::cell::RefCell;

use aegis_document::Document;
use aegis_domain::Effect;
use aegis_policy::{CompileContext, Interpreter, Snapshot};
use proptest::prelude::*;
use proptest::string::string_regex;
use proptest::test_runner::{Config, TestRunner};
use regex::Regex;
use serde_json::json;

/// Patterns with a plain form of each kind, and four without.
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

/// One tool for each pattern.
fn policy() -> String {
    let tools = PATTERNS.iter().enumerate().map(|(index, pattern)| {
        format!(
            "  t{index}: {{ class: read, match: {{ hosts: [a.test], methods: [GET], paths: [/] }}, allow: {{}}, \
             params: {{ s: {{ type: string, required: true, pattern: {} }} }} }}\n",
            json!(pattern)
        )
    });
    let head =
        "apiVersion: aegis.dev/v1\nkind: PolicySet\nmetadata: { tenant: demo, env: dev }\ntools:\n";
    head.to_owned() + &tools.collect::<String>()
}

/// Texts that fit or nearly do, and any others.
fn near(pattern: &'static str) -> impl Strategy<Value = String> {
    let fits = string_regex(pattern.trim_matches(['^', '$']))
        .unwrap_or_else(|_| string_regex("[ab]{0,6}").unwrap());
    let odd =
        || prop::sample::select(vec!["", "", "", "a", "b", "x", "\n", "é", "ſ", "\u{0}", "ab"]);
    prop_oneof![
        4 => (odd(), fits, odd()).prop_map(|(before, text, after)| format!("{before}{text}{after}")),
        2 => "[ab]{0,8}",
        1 => any::<String>(),
    ]
}

#[test]
fn a_plain_form_holds_exactly_when_the_pattern_is_found() {
    let document = Document::parse("patterns.yaml", &policy()).unwrap();
    let snapshot = Snapshot::compile(&[document], CompileContext { version: 1 }).unwrap();
    let interpreter = Interpreter::new(&snapshot).unwrap();
    let sources = snapshot.bundle_files().iter().map(|file| String::from_utf8_lossy(&file.bytes));
    assert_eq!(sources.filter(|source| source.contains("regex.match")).count(), 4);
    let seen = RefCell::new([0, 0]);
    let patterned = (0..PATTERNS.len()).prop_flat_map(|index| (Just(index), near(PATTERNS[index])));
    let mut runner =
        TestRunner::new(Config { cases: 1_500, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&patterned, |(index, text)| {
        let document = json!({
            "tenant": "demo",
            "tool": format!("t{index}"),
            "params": { "s": text },
            "request": { "method": "GET", "path": "/", "host_candidates": ["a.test"] },
        });
        let found = Regex::new(PATTERNS[index]).unwrap().is_match(&text);
        let expected = if found { Effect::Allow } else { Effect::Deny };
        for decision in [snapshot.decide(&document), interpreter.decide(&document)] {
            prop_assert_eq!(decision.unwrap().effect, expected, "{} {:?}", PATTERNS[index], text);
        }
        seen.borrow_mut()[usize::from(found)] += 1;
        Ok(())
    });
    outcome.unwrap();
    let seen = seen.into_inner();
    assert!(seen.iter().all(|seen| *seen > 150), "{seen:?}");
}
