//! `policy explain` and `policy simulate`.

use std::fs;

use serde_json::Value;

use crate::guide;
use crate::recorder::{Input, Recorder};
use crate::support::{Home, json, stderr, stdout};

fn home() -> Home {
    let home = Home::ready();
    fs::write(home.path("policies/acme.yaml"), guide::policy()).unwrap();
    home
}

fn find<'v>(list: &'v Value, id: &str) -> &'v Value {
    list.as_array().unwrap().iter().find(|item| item["id"] == id).unwrap()
}

const PAYOUT: [&str; 9] = [
    "--tool",
    "payments.create",
    "--group",
    "finance",
    "--scope",
    "payments:write",
    "--param",
    "currency=USD",
    "--param",
];

#[test]
fn an_explanation_names_the_line_the_value_and_the_bound() {
    let home = home();
    let text = stdout(&home.run(&["policy", "explain", "--test", "payouts: 4"]).success());
    assert!(text.starts_with("deny  schema.amount\n"), "{text}");
    let line = text.lines().find(|line| line.contains("DENIES")).unwrap();
    assert!(line.contains("schema.amount") && line.contains("max 500000"), "{text}");
    assert!(line.contains("params.amount = 900000"), "{text}");
    assert!(text.contains("acme.yaml:18:15: amount: { type: integer"), "{text}");
    assert!(text.contains("outranked  high-value  approval_needed"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn an_explanation_says_which_part_of_a_condition_decided() {
    let home = home();
    let words = [&["policy", "explain", "-o", "json"][..], &PAYOUT, &["amount=30000"]].concat();
    let night = [&words[..], &["--with", "at=2026-11-21T10:00:00Z"]].concat();
    let explained = json(&home.run(&night).success());
    assert_eq!(explained["effect"], "approval_needed");
    let rule = find(&explained["rules"], "off-hours");
    assert_eq!(rule["standing"], "decides");
    let parts = &rule["condition"]["parts"];
    assert_eq!(parts[0]["parts"][0]["text"], "calendar office");
    assert_eq!(parts[0]["parts"][0]["truth"], "false");
    assert_eq!(parts[1]["text"], "param amount gt 20000");
    assert_eq!(parts[1]["readings"][0]["value"], 30_000);
    let memo = find(&explained["checks"], "schema.memo");
    assert_eq!((&memo["in_order"], &memo["readings"][0]["value"]), (&true.into(), &Value::Null));
}

#[test]
fn a_call_from_a_file_is_explained_like_one_from_options() {
    let home = home();
    let call = "tool: payments.create\nagent: { groups: [finance], scopes: ['payments:write'] }\n\
        params: { amount: 5, currency: USD }\ndlp: { secret: 1 }\n";
    fs::write(home.path("call.yaml"), call).unwrap();
    let file = home.path("call.yaml");
    let from_file =
        home.run(&["policy", "explain", "--call", file.to_str().unwrap(), "-o", "json"]);
    let piped = home.run_with(call, &["policy", "explain", "--call", "-", "-o", "json"]);
    let options =
        [&["policy", "explain", "-o", "json"][..], &PAYOUT, &["amount=5", "--dlp", "secret=1"]];
    let from_options = json(&home.run(&options.concat()).success());
    assert_eq!(json(&from_file.success()), from_options);
    assert_eq!(json(&piped.success()), from_options);
    assert_eq!(from_options["rules_fired"], serde_json::json!(["secrets"]));
    assert_eq!(from_options["reason"], "the memo holds a credential");
}

#[test]
fn a_decision_of_the_audit_log_is_explained_while_its_input_is_kept() {
    let home = home();
    let mut recorder = Recorder::open(&home, &guide::policy());
    let id = recorder.test("bot", 4, Input::Kept);
    let forged = recorder.test("bot", 4, Input::Forged);
    let erased = recorder.test("bot", 4, Input::Erased);
    recorder.close();
    let explain = |id: &str| home.run(&["policy", "explain", "--decision", id, "-o", "json"]);
    let explained = json(&explain(id.as_str()).success());
    let amount = find(&explained["checks"], "schema.amount");
    assert_eq!(
        (&amount["broken"], &amount["readings"][0]["value"]),
        (&"max 500000".into(), &900_000.into())
    );
    assert!(stderr(&explain(forged.as_str()).code(3)).contains("does not match"));
    assert!(stderr(&explain(erased.as_str()).code(3)).contains("erased or lost"));
    assert!(stderr(&explain("01K9ZQ4T3X8E5R6Y7W2V1BNM0C").code(3)).contains("no record"));
}

#[test]
fn a_call_that_cannot_be_is_refused() {
    let home = home();
    home.run(&["policy", "explain"]).code(2);
    home.run(&["policy", "explain", "--test", "a", "--tool", "b"]).code(2);
    home.run(&["policy", "explain", "--tool", "payments.create", "--param", "amount"]).code(2);
    home.run(&["policy", "explain", "--group", "finance"]).code(2);
    let several = home.run(&["policy", "explain", "--test", "payouts"]).code(2);
    assert!(stderr(&several).contains("several tests"), "{}", stderr(&several));
    home.run(&["policy", "explain", "--test", "nowhere"]).code(3);
    home.run(&["policy", "explain", "--call", "nowhere.yaml"]).code(3);
    let unknown = home.run(&["policy", "explain", "--tool", "payments.read"]).code(1);
    assert!(stderr(&unknown).contains("no tool `payments.read`"), "{}", stderr(&unknown));
    let typo = home.run(&["policy", "explain", "--tool", "payments.create", "--with", "hots=a"]);
    let typo = stderr(&typo.code(1));
    assert!(typo.contains("did you mean `host`?"), "{typo}");
}

#[test]
fn a_simulation_shows_each_test_under_both_policies() {
    let home = home();
    let next = home.path("next.yaml");
    fs::write(&next, guide::changed_policy()).unwrap();
    let next = next.to_str().unwrap();
    let seen = home.run(&["policy", "simulate", "--candidate", next, "-o", "json"]).success();
    let rows = json(&seen);
    assert_eq!(rows.as_array().unwrap().len(), 7);
    assert_eq!(
        (&rows[0]["effect"], &rows[0]["candidate"]),
        (&"allow".into(), &"approval_needed".into())
    );
    assert_eq!((&rows[0]["change"], &rows[1]["change"]), (&"newly_held".into(), &Value::Null));
    assert!(stderr(&seen).contains("7 calls, 2 would fare otherwise"), "{}", stderr(&seen));
    let alone = json(&home.run(&["policy", "simulate", "-o", "json"]).success());
    assert_eq!(alone[3]["rules"], serde_json::json!(["schema.amount"]));
    assert_eq!(alone[3].get("candidate"), None);
}

#[test]
fn calls_are_read_one_a_line() {
    let home = home();
    let calls = "{\"tool\": \"payments.create\", \"params\": {\"amount\": 5}}\n\n\
        {\"tool\": \"payments.create\", \"agent\": {\"groups\": [\"finance\"], \"scopes\": [\"payments:write\"]}, \
        \"params\": {\"amount\": 5, \"currency\": \"USD\"}}\n";
    let rows = json(
        &home.run_with(calls, &["policy", "simulate", "--calls", "-", "-o", "json"]).success(),
    );
    assert_eq!(rows[0]["effect"], "deny");
    assert_eq!((&rows[1]["effect"], &rows[1]["call"]), (&"allow".into(), &"-:3".into()));
    let bad = home
        .run_with("{\"tool\": 5}\n{\"tool\": \"x\"}\n", &["policy", "simulate", "--calls", "-"]);
    assert!(stderr(&bad.code(1)).contains("-:1:1:"));
    let words = [&["policy", "simulate", "-o", "json"][..], &PAYOUT, &["amount=5"]].concat();
    assert_eq!(json(&home.run(&words).success())[0]["effect"], "allow");
}

#[test]
fn a_policy_that_does_not_compile_ends_with_3_and_says_where() {
    let home = home();
    fs::write(home.path("bad.yaml"), guide::policy().replace("class: write", "class: wirte"))
        .unwrap();
    let bad = home.path("bad.yaml");
    let bad = bad.to_str().unwrap();
    for words in [
        &["policy", "simulate", "--policy", bad][..],
        &["policy", "simulate", "--candidate", bad],
        &["policy", "explain", "--policy", bad, "--test", "payouts: 1"],
        &["policy", "replay", "--candidate", bad],
    ] {
        let failed = stderr(&home.run(words).code(3));
        assert!(
            failed.contains("bad.yaml:14:12:") && failed.contains("did you mean `write`?"),
            "{failed}"
        );
    }
}
