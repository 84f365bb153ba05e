//! The shipped packs and cases: they compile, their tests pass, and the tests see every rule fire and not fire.

use aegis_document::Document;
use aegis_policy::{CompileContext, Snapshot, cases};
use aegis_policy_language::PolicySet;

/// Everything that is wrong with a file, one line each.
fn shortcomings(file: &str, text: &str, always_firing: &[&str]) -> Vec<String> {
    let compiled = Document::parse(file, text)
        .and_then(|document| PolicySet::parse(&[document]))
        .and_then(|set| Ok((Snapshot::of(&set, CompileContext { version: 1 })?, set)));
    let (snapshot, set) = match compiled {
        Ok(compiled) => compiled,
        Err(diagnostics) => return vec![diagnostics.to_string()],
    };
    let report = cases::run(&snapshot, &set);
    assert_eq!(report.passed(), report.cases.iter().all(|case| case.failure.is_none()));
    let failed = report
        .cases
        .iter()
        .filter_map(|case| Some(format!("{}: {}: {}", case.at, case.name, case.failure.as_ref()?)));
    let uncovered = report
        .uncovered()
        .filter(|rule| !always_firing.contains(&rule.rule.as_str()))
        .map(|rule| format!("{}: {} of {} is not seen both ways", rule.at, rule.rule, rule.tool));
    failed.chain(uncovered).collect()
}

#[test]
fn the_demo_pack_is_tested_both_ways() {
    let text = include_str!("../../packs/demo.yaml");
    assert_eq!(shortcomings("demo.yaml", text, &["no-attachments"]), Vec::<String>::new());
}

#[test]
fn the_four_domains_are_tested_both_ways() {
    let text = include_str!("../../cases/four-domains.yaml");
    assert_eq!(shortcomings("four-domains.yaml", text, &["minimum"]), Vec::<String>::new());
}

#[test]
fn every_construct_is_tested_both_ways() {
    let text = include_str!("../../cases/constructs.yaml");
    assert_eq!(shortcomings("constructs.yaml", text, &[]), Vec::<String>::new());
}

#[test]
fn a_wrong_expectation_fails_at_its_line() {
    let text = include_str!("../../packs/demo.yaml");
    let wrong = text.replace("would: [long-output] }", "would: [] }").replacen(
        "expect: { sanitize: [memo-pii] }",
        "expect: { sanitize: [note-pii] }",
        1,
    );
    let found = shortcomings("demo.yaml", &wrong, &["no-attachments"]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].ends_with("expected sanitize [note-pii], got sanitize [memo-pii]"),
        "{found:?}"
    );
    assert!(found[1].ends_with("expected shadow rules [], got [long-output]"), "{found:?}");
}
