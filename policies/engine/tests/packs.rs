//! The shipped packs: they compile, their tests pass, and the tests see every rule fire and not fire.

use aegis_policy::document::Document;
use aegis_policy::{CompileContext, PolicySet, Snapshot, cases};

#[test]
fn every_rule_of_the_demo_pack_is_tested_both_ways() {
    let document = Document::parse("demo.yaml", include_str!("../../packs/demo.yaml")).unwrap();
    let set = PolicySet::parse(&[document]).unwrap_or_else(|found| panic!("{found}"));
    let snapshot =
        Snapshot::of(&set, CompileContext { version: 1 }).unwrap_or_else(|found| panic!("{found}"));

    let report = cases::run(&snapshot, &set);

    let failures: Vec<String> = report
        .cases
        .iter()
        .filter_map(|case| Some(format!("{}: {}: {}", case.at, case.name, case.failure.as_ref()?)))
        .collect();
    assert!(report.passed(), "{}", failures.join("\n"));
    let always = ["no-attachments"];
    let uncovered: Vec<String> = report
        .uncovered()
        .filter(|rule| !always.contains(&rule.rule.as_str()))
        .map(|rule| format!("{}: {} of {}", rule.at, rule.rule, rule.tool))
        .collect();
    assert_eq!(uncovered, Vec::<String>::new());
}
