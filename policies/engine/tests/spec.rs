//! `docs/spec/policy.md` does not rot: its example compiles and passes its own tests, and every test it names is there.
#![expect(clippy::unwrap_used, reason = "fixtures stand outside test functions")]

use std::path::{Path, PathBuf};

use aegis_document::Document;
use aegis_policy::{CompileContext, Snapshot, cases};
use aegis_policy_language::PolicySet;
use aegis_policy_review::lint;

const SPEC: &str = include_str!("../../../docs/spec/policy.md");

/// The first YAML block of the page.
fn example() -> &'static str {
    SPEC.split_once("```yaml\n").unwrap().1.split_once("```\n").unwrap().0
}

#[test]
fn the_example_compiles_and_does_what_it_says() {
    let document = Document::parse("policy.md", example()).unwrap();
    let set = PolicySet::parse(&[document]).unwrap_or_else(|found| panic!("{found}"));
    let snapshot = Snapshot::of(&set, CompileContext { version: 1 }).unwrap();
    let report = cases::run(&snapshot, &set);
    let failed = report.cases.iter().filter(|case| case.failure.is_some());
    assert_eq!(failed.collect::<Vec<_>>(), Vec::<&cases::CaseResult>::new());
    assert!(report.cases.len() >= 10);
    assert!(set.tools.len() >= 4);
    let _unwise_is_for_its_author = lint::findings(&set);
}

/// Where a test that the page names lives: `semantics::x` and others in this crate's tests, `language/path::x` beside its code.
fn files_of(module: &str) -> Vec<PathBuf> {
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let file = match module.split_once('/') {
        None => policies.join(format!("engine/tests/{module}.rs")),
        Some(("document", "tests")) => policies.join("document/tests/document.rs"),
        Some((part, file)) => policies.join(format!("{part}/src/{file}.rs")),
    };
    // Tests that grew out of one file have a folder of its name.
    match std::fs::read_dir(file.with_extension("")) {
        Ok(folder) if !file.exists() => folder.map(|entry| entry.unwrap().path()).collect(),
        _ => vec![file],
    }
}

#[test]
fn every_test_that_the_page_names_exists() {
    let named = SPEC.split('`').filter_map(|code| code.split_once("::"));
    let mut count = 0;
    for (module, test) in named {
        let files = files_of(module);
        #[expect(clippy::disallowed_methods, reason = "the sources are what is tested")]
        let mut texts = files.iter().map(|file| std::fs::read_to_string(file).unwrap_or_default());
        let found = texts.any(|text| text.contains(&format!("fn {test}(")));
        assert!(found, "{module}::{test} is not in {files:?}");
        count += 1;
    }
    assert!(count >= 60, "{count}");
}
