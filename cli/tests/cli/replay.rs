//! `policy replay`, on an audit log with disclosures.

use std::fs;

use aegis_audit_chain::record::{DecisionEntry, Mode};
use aegis_domain::{DecisionId, Effect, Reason, Region, TenantId};
use serde_json::{Value, json as value};

use crate::guide;
use crate::recorder::{Input, Recorder};
use crate::support::{Home, json, stderr, stdout};

/// A home with the guide's two policies and what `record` writes.
fn home(record: impl FnOnce(&mut Recorder)) -> Home {
    let home = Home::ready();
    fs::write(home.path("old.yaml"), guide::policy()).unwrap();
    fs::write(home.path("next.yaml"), guide::changed_policy()).unwrap();
    let mut recorder = Recorder::open(&home, &guide::policy());
    record(&mut recorder);
    recorder.close();
    home
}

fn replay(home: &Home, candidate: &str, more: &[&str]) -> Value {
    let file = home.path(candidate);
    let words = ["policy", "replay", "-o", "json", "--candidate", file.to_str().unwrap()];
    json(&home.run(&[&words[..], more].concat()).success())
}

#[test]
fn who_would_fare_otherwise_is_counted_by_agent_and_tool() {
    let mut first = None;
    let home = home(|recorder| {
        for _ in 0..5 {
            let id = recorder.test("one", 1, Input::Kept);
            first.get_or_insert(id);
        }
        recorder.test("two", 1, Input::Kept);
        recorder.test("two", 2, Input::Kept);
        recorder.test("two", 4, Input::Kept);
    });
    let seen = replay(&home, "next.yaml", &["--examples", "2"]);
    assert_eq!((&seen["decisions"], &seen["replayed"]), (&8.into(), &8.into()));
    assert_eq!(seen["totals"]["newly_held"], 6);
    assert_eq!(seen["totals"]["newly_denied"], 0);
    let rows = seen["differences"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_eq!((&rows[0]["agent"], &rows[0]["calls"]), (&"one".into(), &5.into()));
    assert_eq!(rows[0]["tool"], "payments.create");
    assert_eq!(rows[0]["examples"].as_array().unwrap().len(), 2);
    assert_eq!(rows[0]["examples"][0], first.unwrap().as_str());
    let table = stdout(
        &home
            .run(&["policy", "replay", "--candidate", home.path("next.yaml").to_str().unwrap()])
            .success(),
    );
    assert!(table.contains("newly_held  two    payments.create  1"), "{table}");
}

#[test]
fn each_class_of_change_is_seen() {
    let home = home(Recorder::tests);
    let with = |old: &str, new: &str, more: &[&str]| {
        let text = guide::policy();
        assert!(text.contains(old), "{old}");
        fs::write(home.path("next.yaml"), text.replace(old, new)).unwrap();
        let old = home.path("old.yaml");
        let baseline = ["--baseline", old.to_str().unwrap()];
        replay(&home, "next.yaml", &[&baseline[..], more].concat())["totals"].clone()
    };
    assert_eq!(with("max: 500000", "max: 5000000", &[])["newly_held"], 1);
    assert_eq!(with("max: 500000", "max: 5000", &[])["newly_denied"], 3);
    assert_eq!(with("{ dlp: [secret] }", "{ dlp: [card] }", &[])["newly_allowed"], Value::from(0));
    assert_eq!(with("gt: 20000 } ]", "gt: 90000 } ]", &[])["no_longer_held"], 1);
    let fewer = with("detectors: [email, ssn] }", "detectors: [email] }", &[]);
    assert_eq!(fewer["obligations_changed"], 1);
    let wider = with("param: amount, gt: 100000", "param: amount, gt: 300000", &[]);
    assert_eq!(wider["no_longer_held"], 1);
}

#[test]
fn what_was_denied_and_would_be_let_through_is_newly_allowed() {
    let home = home(Recorder::tests);
    let candidate =
        guide::policy().replace("when: { dlp: [secret] }", "when: { param: amount, gt: 499999 }");
    fs::write(home.path("next.yaml"), candidate).unwrap();
    assert_eq!(replay(&home, "next.yaml", &[])["totals"]["newly_allowed"], 1);
    let file = home.path("next.yaml");
    let fail_on = |classes| {
        let words =
            ["policy", "replay", "--candidate", file.to_str().unwrap(), "--fail-on", classes];
        home.run(&words)
    };
    fail_on("newly-denied,newly-allowed").code(5);
    fail_on("newly-denied,newly_held").success();
    fail_on("nearly-denied").code(2);
}

#[test]
fn an_input_that_does_not_match_its_record_is_never_counted() {
    let home = home(|recorder| {
        recorder.test("one", 1, Input::Kept);
        recorder.test("one", 1, Input::Forged);
        recorder.test("one", 1, Input::Erased);
        recorder.test("one", 1, Input::NeverKept);
    });
    let seen = replay(&home, "next.yaml", &[]);
    assert_eq!((&seen["decisions"], &seen["replayed"]), (&4.into(), &1.into()));
    assert_eq!(seen["not_replayed"], value!({"mismatched": 1, "erased": 1, "not_kept": 1}));
    let words = ["policy", "replay", "--candidate", home.path("next.yaml").to_str().unwrap()]
        .map(str::to_owned);
    let said = stderr(&home.run(&words.each_ref().map(String::as_str)).success());
    assert!(said.contains("1 not replayed: the input kept does not match the record"), "{said}");
}

#[test]
fn decisions_that_the_policy_did_not_make_are_left_out() {
    let region = || Region::parse("local").unwrap();
    let home = home(|recorder| {
        let tenant = |name: &str| Some(TenantId::parse(name).unwrap());
        let entry = |reason| {
            DecisionEntry::new(DecisionId::new(1, [1; 10]), region(), Effect::Deny, reason)
        };
        recorder.append(entry(Reason::TokenMissing));
        recorder.append(DecisionEntry { tenant: tenant("acme"), ..entry(Reason::RateLimited) });
        recorder.append(DecisionEntry { tenant: tenant("globex"), ..entry(Reason::PolicyDenied) });
        recorder.append(DecisionEntry {
            tenant: tenant("acme"),
            mode: Mode::DryRun,
            ..entry(Reason::PolicyDenied)
        });
    });
    let seen = replay(&home, "next.yaml", &[]);
    assert_eq!(
        seen["not_replayed"],
        value!({"not_by_policy": 2, "other_tenant": 1, "not_enforced": 1})
    );
    assert_eq!(seen["replayed"], 0);
}

#[test]
fn the_baseline_says_what_the_records_do_not_hold() {
    let home = home(Recorder::tests);
    let old = home.path("old.yaml");
    let baseline = ["--baseline", old.to_str().unwrap()];
    let reads_more =
        guide::policy().replace("{ param: amount, gt: 100000 }", "{ agent: tier, eq: gold }");
    fs::write(home.path("next.yaml"), reads_more).unwrap();
    let seen = replay(&home, "next.yaml", &baseline);
    assert_eq!(seen["not_replayed"], value!({"reads_more": 7}));
    let other = guide::changed_policy();
    fs::write(home.path("old.yaml"), &other).unwrap();
    fs::write(home.path("next.yaml"), &other).unwrap();
    assert_eq!(replay(&home, "next.yaml", &baseline)["not_replayed"], value!({"other_version": 7}));
}

#[test]
fn a_log_elsewhere_and_a_file_of_records_replay_alike() {
    let home = home(Recorder::tests);
    let here = replay(&home, "next.yaml", &[]);
    let audit = home.path("audit");
    assert_eq!(replay(&home, "next.yaml", &["--from", audit.to_str().unwrap()]), here);
    let lines = stdout(&home.run(&["audit", "tail", "-n", "1000", "-o", "json"]).success());
    let file = home.path("records.jsonl");
    fs::write(&file, &lines).unwrap();
    assert_eq!(
        replay(&home, "next.yaml", &["--from", file.to_str().unwrap(), "--threads", "3"]),
        here
    );
    let nothing = tempfile::tempdir().unwrap();
    let elsewhere = ["--disclosures", nothing.path().to_str().unwrap()];
    assert_eq!(replay(&home, "next.yaml", &elsewhere)["not_replayed"], value!({"erased": 7}));
    assert_eq!(replay(&home, "next.yaml", &["--since", "2100-01-01T00:00:00Z"])["replayed"], 0);
}

#[test]
fn what_is_no_record_stops_a_replay() {
    let home = home(Recorder::tests);
    let file = home.path("records.jsonl");
    fs::write(&file, "{\"no\": \"record\"}\n".repeat(10_000)).unwrap();
    let next = home.path("next.yaml");
    let words = ["policy", "replay", "--candidate", next.to_str().unwrap(), "--from"];
    let stopped = home.run(&[&words[..], &[file.to_str().unwrap()]].concat()).code(1);
    assert!(stderr(&stopped).contains("a record is not valid"), "{}", stderr(&stopped));
    home.run(&[&words[..], &["nowhere"]].concat()).code(3);
    Home::ready().run(&words[..4]).code(3);
}
