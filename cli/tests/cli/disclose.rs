//! `audit disclose` and `audit erase`: some of what digests stand for, shown to somebody or made unreadable for ever.

use std::fs;

use aegis_domain::DecisionId;
use serde_json::Value;

use crate::guide::policy;
use crate::recorder::{Input, Recorder};
use crate::support::{Home, json, replace, stderr, stdout};

/// A log of three calls, and the first one's id.
fn recorded(home: &Home) -> DecisionId {
    let mut recorder = Recorder::open(home, &policy());
    let ids: Vec<_> = (1..=3).map(|n| recorder.test("tester", n, Input::Kept)).collect();
    recorder.close();
    ids[0]
}

/// Whether a text stands in any file below the disclosures.
fn is_in_clear(home: &Home, text: &str) -> bool {
    let mut grep = std::process::Command::new("grep");
    let status = grep.args(["-rqF", "--", text]).arg(home.path("disclosures")).status().unwrap();
    // 2 would say that nothing was looked at.
    assert!(matches!(status.code(), Some(0 | 1)));
    status.success()
}

/// Some text of the input, whichever stands first.
fn some_text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text.as_str()).filter(|text| text.len() > 3),
        Value::Array(items) => items.iter().find_map(some_text),
        Value::Object(members) => members.values().find_map(some_text),
        _ => None,
    }
}

#[test]
fn an_auditor_is_shown_what_was_named_and_checks_it_offline() {
    let home = Home::ready();
    let id = recorded(&home);
    assert!(is_in_clear(&home, id.as_str()));
    let words = ["audit", "disclose", "--tenant", "acme", id.as_str()];
    let listed = home.run(&words).success();
    assert!(stdout(&listed).contains("input"), "{}", stdout(&listed));
    assert!(!stdout(&listed).contains("params"), "{}", stdout(&listed));

    let out = home.path("shown.json");
    let file = out.to_str().unwrap();
    home.run(&[&words[..], &["--field", "input", "--out", file]].concat()).success();
    home.run(&[&words[..], &["--field", "input", "--out", file]].concat()).code(4);
    home.run(&[&words[..], &["--field", "nothing", "--out", "x"]].concat()).code(3);
    fs::remove_dir_all(home.path("audit")).unwrap();
    fs::remove_dir_all(home.path("disclosures")).unwrap();

    let check = ["audit", "check", file, "-o", "json"];
    let seen = json(&home.run(&check).success());
    assert_eq!(seen["verdict"], "PASS");
    assert_eq!(seen["records"][0]["record"]["id"], id.as_str());
    assert!(seen["records"][0]["disclosed"]["input"].is_object(), "{seen}");

    // Another value under the same name: a digest that is not in the record.
    let whole: Value = serde_json::from_str(&fs::read_to_string(&out).unwrap()).unwrap();
    let shown = whole["records"][0]["disclosures"][0].as_str().unwrap();
    replace(&out, shown, "WyJzYWx0IiwiaW5wdXQiLHt9XQ");
    let failed = json(&home.run(&check).code(1));
    assert_eq!(failed["verdict"], "FAIL");
    assert!(failed["why"].as_str().unwrap().contains("digest is not in the record"), "{failed}");
    fs::write(&out, "{}").unwrap();
    home.run(&check).code(1);
}

#[test]
fn what_was_erased_can_never_be_opened_and_the_log_still_verifies() {
    let home = Home::ready();
    let id = recorded(&home);
    let show = ["audit", "show", id.as_str(), "-o", "json"];
    assert!(json(&home.run(&show).success())[0]["disclosed"]["input"].is_object());

    let erase = ["audit", "erase", "--tenant", "acme"];
    let refused = home.run(&erase).code(2);
    assert!(stderr(&refused).contains("say --yes"), "{}", stderr(&refused));
    assert!(json(&home.run(&show).success())[0]["disclosed"]["input"].is_object());

    let told = json(&home.run(&[&erase[..], &["--yes", "-o", "json"]].concat()).success());
    assert_eq!((&told["keys_destroyed"], &told["decisions_erased"]), (&1.into(), &3.into()));
    assert!(json(&home.run(&show).success())[0].get("disclosed").is_none());
    home.run(&["audit", "disclose", "--tenant", "acme", id.as_str()]).code(3);
    let passed = home.run(&["audit", "verify"]).success();
    assert!(stdout(&passed).ends_with("PASS\n"));
}

#[test]
fn of_a_subject_only_what_mentions_it_is_erased() {
    let home = Home::ready();
    let id = recorded(&home);
    let shown = json(&home.run(&["audit", "show", id.as_str(), "-o", "json"]).success());
    let subject = some_text(&shown[0]["disclosed"]["input"]).unwrap();
    assert!(!is_in_clear(&home, subject));
    let erase = ["audit", "erase", "--tenant", "acme", "--yes", "-o", "json", "--subject"];
    let told = json(&home.run(&[&erase[..], &["nobody@example.com"]].concat()).success());
    assert_eq!((&told["keys_destroyed"], &told["decisions_erased"]), (&0.into(), &0.into()));
    home.run(&[&erase[..], &["x"]].concat()).code(2);
    let told =
        json(&home.run_with("Nobody@example.com\n", &[&erase[..], &["-"]].concat()).success());
    assert_eq!(told["decisions_erased"], 0);

    let subject = subject.to_uppercase();
    let told = json(&home.run(&[&erase[..], &[subject.as_str()]].concat()).success());
    assert_eq!(told["keys_destroyed"], 1, "{told}");
    assert!(told["decisions_erased"].as_u64().unwrap() >= 1, "{told}");
    let shown = json(&home.run(&["audit", "show", id.as_str(), "-o", "json"]).success());
    assert!(shown[0].get("disclosed").is_none(), "{shown}");
    home.run(&["audit", "verify"]).success();
}
