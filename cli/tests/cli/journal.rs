//! `audit tail`, `audit show` and `cost report`, on a journal the gateway's own code wrote.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use aegis_domain::Effect;

use crate::ledger::Ledger;
use crate::support::{Home, json, stderr, stdout};

/// Twenty calls that spread over several files.
fn busy(home: &Home) -> Ledger {
    let mut ledger = Ledger::open(home);
    for _ in 0..10 {
        ledger.call("one", Effect::Allow, 150);
        ledger.call("two", Effect::Deny, 1_000_000);
    }
    ledger
}

#[test]
fn the_report_sums_what_calls_cost_to_the_micro_dollar() {
    let home = Home::empty();
    let mut ledger = busy(&home);
    ledger.call("two", Effect::ApprovalNeeded, 5);
    ledger.close();
    let seen = home.run(&["cost", "report", "-o", "json"]).success();
    let rows = json(&seen);
    assert_eq!(rows[0]["agent"], "one");
    assert_eq!(rows[0]["calls"], 10);
    assert_eq!(rows[0]["allowed"], 10);
    assert_eq!(rows[0]["estimated_usd"], "0.003000");
    assert_eq!(rows[0]["actual_usd"], "0.001500");
    assert_eq!((&rows[0]["tokens_in"], &rows[0]["tokens_out"]), (&30.into(), &40.into()));
    assert_eq!(rows[1]["denied"], 10);
    assert_eq!(rows[1]["approval_needed"], 1);
    assert_eq!(rows[1]["estimated_usd"], "0.000000");
    assert!(stderr(&seen).contains("21 calls, 0.001500 USD"), "{}", stderr(&seen));
}

#[test]
fn the_report_reads_every_life_and_a_journal_being_written() {
    let home = Home::empty();
    busy(&home).close();
    let _running = busy(&home);
    let rows = json(&home.run(&["cost", "report", "--by", "tool", "-o", "json"]).success());
    assert_eq!(rows[0]["tool"], "llm.chat");
    assert_eq!(rows[0]["calls"], 40);
    let rows = json(&home.run(&["cost", "report", "--by", "tenant", "-o", "json"]).success());
    assert_eq!(rows[0]["tenant"], "acme");
    assert_eq!(rows.as_array().unwrap().len(), 1);
}

#[test]
fn since_leaves_out_what_came_before() {
    let home = Home::empty();
    busy(&home).close();
    let report = |since: &str| {
        json(&home.run(&["cost", "report", "--since", since, "-o", "json"]).success())
    };
    assert_eq!(report("1h").as_array().unwrap().len(), 2);
    assert_eq!(report("2100-01-01T00:00:00Z").as_array().unwrap().len(), 0);
    for bad in ["yesterday", "10", "-1h", "1900-01-01T00:00:00Z"] {
        home.run(&["cost", "report", &format!("--since={bad}")]).code(2);
    }
}

#[test]
fn numbers_line_up_to_the_right() {
    let home = Home::empty();
    busy(&home).close();
    let table = stdout(&home.run(&["cost", "report"]).success());
    let lines: Vec<_> = table.lines().collect();
    assert!(lines[0].starts_with("TENANT  AGENT  CALLS"), "{table}");
    let end = |line: &str, text: &str| line.find(text).map(|at| at + text.len());
    assert_eq!(end(lines[0], "ACTUAL USD"), end(lines[1], "0.001500"), "{table}");
}

#[test]
fn tail_shows_the_latest_records_across_files_and_lives() {
    let home = Home::empty();
    busy(&home).close();
    let mut ledger = Ledger::open(&home);
    ledger.call("three", Effect::Sanitize, 1);
    let table = stdout(&home.run(&["audit", "tail", "-n", "7"]).success());
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 8, "{table}");
    assert!(lines[7].contains("outcome 200") && lines[7].contains("three"), "{table}");
    assert!(lines[6].contains("sanitize"), "{table}");
    assert!(lines[5].contains("two") && lines[5].contains("DefaultDeny"), "{table}");
    assert!(lines[7].contains("12.34"), "{table}");
}

#[test]
fn tail_as_json_is_the_stored_records_line_by_line() {
    let home = Home::empty();
    busy(&home).close();
    let shown = stdout(&home.run(&["audit", "tail", "-n", "5", "-o", "json"]).success());
    let stored: Vec<u8> =
        wal_files(&home).iter().flat_map(|file| std::fs::read(file).unwrap()).collect();
    assert_eq!(shown.lines().count(), 5);
    for line in shown.lines() {
        let found = stored.windows(line.len()).any(|window| window == line.as_bytes());
        assert!(found, "{line}");
    }
}

#[test]
fn show_finds_a_decision_and_its_outcome() {
    let home = Home::empty();
    let mut ledger = busy(&home);
    let id = ledger.call("three", Effect::Allow, 42);
    ledger.close();
    let seen = json(&home.run(&["audit", "show", id.as_str(), "-o", "json"]).success());
    assert_eq!(seen.as_array().unwrap().len(), 2);
    assert_eq!(seen[0]["record"]["k"], "decision");
    assert_eq!(seen[0]["log"], "aegis.localhost/local/gw-1/1");
    assert_eq!(seen[1]["record"]["k"], "outcome");
    let table = stdout(&home.run(&["audit", "show", id.as_str()]).success());
    assert!(table.contains("leaf") && table.contains("three"), "{table}");
}

#[test]
fn show_of_an_unknown_decision_ends_with_3_and_of_nonsense_with_2() {
    let home = Home::empty();
    busy(&home).close();
    let missing = home.run(&["audit", "show", "01K9ZQ4T3X8E5R6Y7W2V1BNM0C"]).code(3);
    assert!(stderr(&missing).contains("no record"), "{}", stderr(&missing));
    home.run(&["audit", "show", "it"]).code(2);
}

#[test]
fn readers_without_a_journal_end_with_3() {
    for words in [&["cost", "report"][..], &["audit", "tail"]] {
        let missing = Home::ready().run(words).code(3);
        assert!(stderr(&missing).contains("the audit journal is missing"), "{}", stderr(&missing));
    }
}

/// The log files of the first life, in order.
fn wal_files(home: &Home) -> Vec<PathBuf> {
    let folder = home.path("audit/streams/gw-1/00000000000000000001/wal");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

/// Flips a bit in the last record of a file.
fn damage(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[end - 3] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn a_torn_tail_is_not_read_and_does_not_stop_a_report() {
    let home = Home::empty();
    busy(&home).close();
    damage(wal_files(&home).last().unwrap());
    home.run(&["cost", "report"]).success();
}

#[test]
fn damage_in_the_middle_stops_a_report_instead_of_shortening_it() {
    let home = Home::empty();
    let mut ledger = busy(&home);
    for _ in 0..10 {
        ledger.call("one", Effect::Allow, 1);
    }
    ledger.close();
    assert!(wal_files(&home).len() > 1);
    damage(&wal_files(&home)[0]);
    let stopped = home.run(&["cost", "report"]).code(1);
    assert!(stderr(&stopped).contains("checksum does not match"), "{}", stderr(&stopped));
    assert_eq!(stdout(&stopped), "");
}

#[test]
fn follow_goes_on_with_new_records_of_this_life_and_the_next() {
    let home = Home::empty();
    let mut ledger = Ledger::open(&home);
    ledger.call("before", Effect::Deny, 0);
    let mut tail = std::process::Command::new(env!("CARGO_BIN_EXE_aegisctl"))
        .arg("--data")
        .arg(home.path(""))
        .args(["audit", "tail", "-n", "1", "--follow", "-o", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (shown, lines) = mpsc::channel();
    let stdout = BufReader::new(tail.stdout.take().unwrap());
    std::thread::spawn(move || stdout.lines().try_for_each(|line| shown.send(line.unwrap())));
    let wait_for = |agent: &str| {
        let wanted = format!("\"agent\":\"{agent}\"");
        let patience = Duration::from_secs(60);
        while !lines.recv_timeout(patience).unwrap().contains(&wanted) {}
    };
    ledger.call("during", Effect::Deny, 0);
    wait_for("during");
    ledger.close();
    let mut next = Ledger::open(&home);
    next.call("after", Effect::Deny, 0);
    wait_for("after");
    tail.kill().unwrap();
    tail.wait().unwrap();
}
