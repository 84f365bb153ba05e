//! `policy check`, `lint`, `test`, `coverage`, `diff` and `schema`.

use std::fs;

use crate::support::{Home, json, replace, stderr, stdout};

#[test]
fn the_policy_that_init_writes_compiles_and_passes_its_tests() {
    let home = Home::ready();
    let checked = json(&home.run(&["policy", "check", "-o", "json"]).success());
    assert_eq!(checked["files"][0]["tenant"], "acme");
    assert_eq!(checked["mistakes"], serde_json::json!([]));
    let tested = home.run(&["policy", "test", "-o", "json"]).success();
    let cases = json(&tested)["cases"].as_array().unwrap().clone();
    assert!(cases.len() >= 3 && cases.iter().all(|case| case["passed"] == true), "{cases:?}");
    assert_eq!(json(&tested)["uncovered"], serde_json::json!([]));
}

#[test]
fn every_mistake_of_every_file_is_shown_with_its_line() {
    let home = Home::ready();
    let good = home.path("policies/acme.yaml");
    let bad = home.path("policies/bad.yaml");
    fs::copy(&good, &bad).unwrap();
    replace(&bad, "class: read", "class: raed");
    replace(&bad, "effect: deny, when", "effect: forbid, when");
    let worse = home.path("policies/worse.yaml");
    fs::write(&worse, "a: [\n").unwrap();
    let files = [&bad, &good, &worse].map(|file| file.to_str().unwrap());
    let shown = home.run(&[&["policy", "check"][..], &files].concat()).code(3);
    let text = stdout(&shown);
    assert!(text.contains("bad.yaml:9:"), "{text}");
    assert!(text.contains("worse.yaml:"), "{text}");
    assert!(text.contains("acme.yaml  acme"), "{text}");
    let mistakes =
        json(&home.run(&[&["policy", "check", "-o", "json"][..], &files].concat()).code(3));
    assert!(mistakes["mistakes"].as_array().unwrap().len() >= 3, "{mistakes}");
    assert_eq!(mistakes["mistakes"][0]["line"], 9);
}

#[test]
fn a_failing_test_ends_with_4_and_says_what_came_instead() {
    let home = Home::ready();
    replace(&home.path("policies/acme.yaml"), "expect: allow", "expect: deny");
    let failed = home.run(&["policy", "test"]).code(4);
    assert!(stdout(&failed).contains("expected deny"), "{}", stdout(&failed));
    assert!(stderr(&failed).contains("1 failed"), "{}", stderr(&failed));
}

#[test]
fn a_rule_no_test_reaches_is_named_and_is_no_failure() {
    let home = Home::ready();
    let policy = home.path("policies/acme.yaml");
    replace(&policy, "  dlp: { secret: 1 }\n", "");
    replace(&policy, "{ deny: [no-secrets] }", "allow");
    let tested = home.run(&["policy", "test"]).success();
    let words = stderr(&tested);
    assert!(words.contains("no test saw rule no-secrets fire"), "{words}");
}

#[test]
fn a_test_of_a_policy_that_does_not_compile_ends_with_3() {
    let home = Home::ready();
    replace(&home.path("policies/acme.yaml"), "kind: PolicySet", "kind: Policy");
    let failed = home.run(&["policy", "test"]).code(3);
    assert!(stdout(&failed).contains("acme.yaml:4:"), "{}", stdout(&failed));
}

#[test]
fn a_missing_policy_ends_with_3() {
    let home = Home::ready();
    let missing = home.run(&["policy", "check", "nowhere.yaml"]).code(3);
    assert!(stderr(&missing).contains("the policy is missing: nowhere.yaml"));
    fs::remove_file(home.path("policies/acme.yaml")).unwrap();
    home.run(&["policy", "test"]).code(3);
    Home::empty().run(&["policy", "check"]).code(3);
}

/// A home whose policy is the guide's.
fn with_guide() -> Home {
    let home = Home::ready();
    fs::write(home.path("policies/acme.yaml"), crate::guide::policy()).unwrap();
    home
}

#[test]
fn a_mistyped_name_is_answered_with_the_nearest() {
    let home = with_guide();
    replace(&home.path("policies/acme.yaml"), "in: $currencies", "in: $currencie");
    let text = stdout(&home.run(&["policy", "check"]).code(3));
    assert!(
        text.contains("acme.yaml:19:") && text.contains("did you mean `currencies`?"),
        "{text}"
    );
}

#[test]
fn a_finding_fails_only_when_asked_to() {
    let home = with_guide();
    let clean = home.run(&["policy", "lint", "--deny-findings"]).success();
    assert_eq!(stdout(&clean), "");
    replace(&home.path("policies/acme.yaml"), "gt: 100000", "gt: 600000");
    let found = home.run(&["policy", "lint"]).success();
    assert!(stdout(&found).contains("the rule `high-value` can never fire"), "{}", stdout(&found));
    assert!(stderr(&found).contains("1 finding"), "{}", stderr(&found));
    home.run(&["policy", "lint", "--deny-findings"]).code(1);
    let found = json(&home.run(&["policy", "lint", "-o", "json"]).success());
    assert_eq!(found["findings"][0]["line"], 22);
    replace(&home.path("policies/acme.yaml"), "gt: 600000", "gtt: 600000");
    home.run(&["policy", "lint"]).code(3);
}

#[test]
fn a_filter_runs_the_tests_whose_name_holds_it() {
    let home = with_guide();
    let some = json(&home.run(&["policy", "test", "--filter", ": 2", "-o", "json"]).success());
    assert_eq!(some["cases"].as_array().unwrap().len(), 1);
    let none = home.run(&["policy", "test", "--filter", "nowhere"]).success();
    assert!(stderr(&none).contains("0 tests, 0 failed"), "{}", stderr(&none));
}

#[test]
fn coverage_counts_each_rule_both_ways() {
    let home = with_guide();
    let all = home.run(&["policy", "coverage", "--min", "100"]).success();
    assert!(stdout(&all).contains("both ways  payments.create  high-value"), "{}", stdout(&all));
    replace(
        &home.path("policies/acme.yaml"),
        "dlp: { email: 2 }, expect: { sanitize: [memo-pii] }",
        "expect: allow",
    );
    let short = home.run(&["policy", "coverage", "--min", "100", "-o", "json"]).code(1);
    assert_eq!(json(&short)["percent"], 87);
    let rule = json(&short)["rules"][3].clone();
    assert_eq!((&rule["rule"], &rule["fired"]), (&"memo-pii".into(), &false.into()));
    home.run(&["policy", "coverage", "--min", "87"]).success();
    home.run(&["policy", "coverage", "--min", "101"]).code(2);
    let tested = json(&home.run(&["policy", "test", "--coverage", "-o", "json"]).success());
    assert_eq!(tested["coverage"]["percent"], 87);
}

/// The guide's policy and another version of it, as the arguments of a `diff`.
fn two_versions(edits: &[(&str, &str)]) -> (Home, [String; 2]) {
    let home = with_guide();
    let (old, new) = (home.path("policies/acme.yaml"), home.path("policies/next.yaml"));
    fs::copy(&old, &new).unwrap();
    edits.iter().for_each(|(from, to)| replace(&new, from, to));
    (home, [old, new].map(|file| file.to_str().unwrap().to_owned()))
}

const ASKS_SOONER: (&str, &str) = ("gt: 100000", "gt: 50000");
const DENIES_LATER: (&str, &str) = ("max: 500000", "max: 600000");
const NO_LONGER_ENFORCED: (&str, &str) = ("id: secrets,", "id: secrets, mode: shadow,");

#[test]
fn a_difference_is_told_with_its_place_and_direction() {
    let (home, [old, new]) = two_versions(&[ASKS_SOONER, DENIES_LATER, NO_LONGER_ENFORCED]);
    let shown = home.run(&["policy", "diff", &old, &new]).success();
    let text = stdout(&shown);
    let lines: Vec<&str> = text.lines().collect();
    let at = |line: &str, words: &str| format!("{new}:{line}: tools.payments.create.{words}");
    let expected = [
        at("18:15", "params.amount: `max` from 500000 to 600000 [looser]"),
        at(
            "22:7",
            "rules.high-value: fires on amount > 50000, before on amount > 100000 [stricter]",
        ),
        at("27:7", "rules.secrets: is no longer enforced [looser] [downgrade]"),
    ];
    assert_eq!(lines, expected);
    assert!(stderr(&shown).contains("3 changes"), "{}", stderr(&shown));
    let found = json(&home.run(&["policy", "diff", &old, &new, "-o", "json"]).success());
    let told = |key: &str| {
        let changes = found.as_array().unwrap();
        changes.iter().map(|change| change[key].clone()).collect::<serde_json::Value>()
    };
    assert_eq!(told("direction"), serde_json::json!(["looser", "stricter", "looser"]));
    assert_eq!(told("downgrade"), serde_json::json!([false, false, true]));
    assert_eq!(found[1]["old"], format!("{old}:22:7"));
    assert_eq!(found[1]["new"], format!("{new}:22:7"));
}

#[test]
fn a_difference_fails_only_when_asked_to_and_only_if_it_is_not_stricter() {
    for (edit, code) in [(ASKS_SOONER, 0), (DENIES_LATER, 1), (NO_LONGER_ENFORCED, 1)] {
        let (home, [old, new]) = two_versions(&[edit]);
        home.run(&["policy", "diff", &old, &new]).success();
        home.run(&["policy", "diff", &old, &new, "--fail-on-looser"]).code(code);
    }
    // Some calls are denied now that were not, others no longer.
    let (home, [old, new]) = two_versions(&[("groups: [finance]", "groups: [eng]")]);
    home.run(&["policy", "diff", &old, &new, "--fail-on-looser"]).code(1);
    let (home, [old, new]) = two_versions(&[]);
    let same = home.run(&["policy", "diff", &old, &new, "--fail-on-looser"]).success();
    assert_eq!(stdout(&same), "");
}

#[test]
fn what_does_not_compile_has_no_differences() {
    let (home, [good, bad]) = two_versions(&[("in: $currencies", "in: $currencie")]);
    for files in [[&good, &bad], [&bad, &good]] {
        let failed = home.run(&["policy", "diff", files[0], files[1]]).code(3);
        assert!(stderr(&failed).contains("next.yaml:19:"), "{}", stderr(&failed));
    }
    home.run(&["policy", "diff", &good, "nowhere.yaml"]).code(3);
}

#[test]
fn the_schema_that_is_printed_is_the_one_that_is_shipped() {
    let printed = Home::empty().run(&["policy", "schema"]).success();
    assert_eq!(json(&printed)["title"], "Aegis policy set");
    let path = "/../policies/schema/aegis-policy.schema.json";
    let shipped = fs::read_to_string([env!("CARGO_MANIFEST_DIR"), path].concat()).unwrap();
    assert_eq!(stdout(&printed), shipped);
}
