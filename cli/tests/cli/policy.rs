//! `policy check` and `policy test`.

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
    let shown = home.run(&[&["policy", "check"][..], &files].concat()).code(1);
    let text = stdout(&shown);
    assert!(text.contains("bad.yaml:9:"), "{text}");
    assert!(text.contains("worse.yaml:"), "{text}");
    assert!(text.contains("acme.yaml  acme"), "{text}");
    let mistakes =
        json(&home.run(&[&["policy", "check", "-o", "json"][..], &files].concat()).code(1));
    assert!(mistakes["mistakes"].as_array().unwrap().len() >= 3, "{mistakes}");
    assert_eq!(mistakes["mistakes"][0]["line"], 9);
}

#[test]
fn a_failing_test_ends_with_1_and_says_what_came_instead() {
    let home = Home::ready();
    replace(&home.path("policies/acme.yaml"), "expect: allow", "expect: deny");
    let failed = home.run(&["policy", "test"]).code(1);
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
fn a_test_of_a_policy_that_does_not_compile_fails() {
    let home = Home::ready();
    replace(&home.path("policies/acme.yaml"), "kind: PolicySet", "kind: Policy");
    let failed = home.run(&["policy", "test"]).code(1);
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
