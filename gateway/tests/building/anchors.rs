//! The audit log before the region's voters: every head reaches them, what they saw cannot be taken back, and calls go on without
//! them for as long as the operator says.
//!
//! Not here: the protocol (`control/tests/api/witness.rs`), and outside witnesses (`audit/ship/tests`). Invariant: voters and
//! gateways are processes, and a log is verified under what the ledger says of its voters.

use std::path::Path;
use std::time::Duration;

use aegis_audit_ship::Directory;
use aegis_audit_trust::Trust;
use aegis_audit_verify::{Depth, Options, Report, Verdict, verify_region};
use aegis_domain::Reason;
use aegis_testkit::{Building, Plan, Reply};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::GATEWAY;
use crate::voters::{leader, three};

const PATIENCE: Duration = Duration::from_secs(60);

/// A tool whose calls are declared to change nothing.
async fn read(house: &Building) -> Reply {
    house.agent("bot").get("/library/x").send().await
}

async fn write(house: &Building) -> Reply {
    house.agent("bot").post("/open/x").json(&json!({})).send().await
}

fn logs(house: &Building) -> Value {
    house.region().get("/v1/audit/logs")
}

/// Calls until the voters have a newer head of this gateway's log than `size`, by so many of them; its size.
async fn anchored(house: &Building, size: u64, voters: u64) -> u64 {
    let begun = Instant::now();
    loop {
        let (by, now) = (
            house.metric("aegis_audit_anchored_voters").await,
            house.metric("aegis_audit_anchored_size").await,
        );
        if now > size && by >= voters {
            return now;
        }
        write(house).await.is_ok();
        assert!(begun.elapsed() < PATIENCE, "{now} by {by}: {}", house.stderr());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Verifies a stopped gateway's log under the voters that the ledger names, most of which must have seen it.
fn verify(house: &Building, ledger: &Value) -> Report {
    let origin = std::fs::read_to_string(house.data().join("trust.txt")).unwrap();
    let mut trust =
        origin.lines().filter(|line| line.starts_with("log ")).collect::<Vec<_>>().join("\n");
    let witnesses = ledger["witnesses"].as_array().unwrap();
    let cosigning: Vec<_> = witnesses.iter().filter(|one| one["until"].is_null()).collect();
    for witness in &cosigning {
        let (voter, key) = (&witness["voter"], witness["key"].as_str().unwrap());
        trust.push_str(&format!("\nwitness v{voter} {key}"));
    }
    let names: Vec<_> = cosigning.iter().map(|witness| format!("v{}", witness["voter"])).collect();
    let least = names.len() / 2 + 1;
    trust.push_str(&format!("\ngroup voters {least} {}\nquorum voters\n", names.join(" ")));
    let options = Options { depth: Depth::Schema, remembered: Vec::new(), witnessed_since: None };
    let source = Directory(house.data().join("audit"));
    verify_region(&source, &Trust::parse(&trust).unwrap(), &options, &mut |_| {})
}

pub(crate) fn copy(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn the_heads_of_every_gateway_reach_the_voters_and_their_word_is_kept_beside_them() {
    let mut first = Plan::new().await.keeping_the_registry().start(GATEWAY).await;
    let mut second = Plan::new().await.following(&first).await.start(GATEWAY).await;
    for house in [&first, &second] {
        write(house).await.is_ok();
        let size = anchored(house, 0, 1).await;
        write(house).await.is_ok();
        anchored(house, size, 1).await;
    }
    second.stop().await;
    let ledger = logs(&first);
    let listed = ledger["logs"].as_array().unwrap();
    assert_eq!(listed.len(), 2, "{ledger}");
    for log in listed {
        let lines = log["head"].as_str().unwrap().split("\n\n").nth(1).unwrap();
        assert_eq!(lines.lines().count(), 2, "the log's own signature, and the voter's: {log}");
        assert_eq!(log["evidence"], json!([]));
    }
    first.stop().await;
    for house in [&first, &second] {
        let report = verify(house, &ledger);
        assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
        // The very last head, which only the end of the process could show.
        assert_eq!(report.witnessed[0].head.size, report.registries[0].size);
    }
}

/// Attack 7: an older copy of the disk is put in the place of the disk.
#[tokio::test]
async fn a_disk_that_was_rolled_back_is_refused_by_the_voters_and_takes_no_call() {
    let mut house = Plan::new().await.keeping_the_registry().start(GATEWAY).await;
    write(&house).await.is_ok();
    house.stop().await;
    let (audit, older, newer) =
        (house.data().join("audit"), house.data().join("older"), house.data().join("newer"));
    copy(&audit, &older);
    house.start_again().await;
    for _ in 0..3 {
        let size = house.metric("aegis_audit_anchored_size").await;
        write(&house).await.is_ok();
        anchored(&house, size, 1).await;
    }
    house.stop().await;
    std::fs::rename(&audit, &newer).unwrap();
    copy(&older, &audit);

    house.launch_again();
    let begun = Instant::now();
    while !house.readiness().await.contains("this data directory is an older copy") {
        assert!(begun.elapsed() < PATIENCE, "{}", house.readiness().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(write(&house).await.refused_for(), Some(Reason::AuditUnavailable));
    house.terminate();
    house.ended().await;

    // With the newest copy it goes on.
    std::fs::remove_dir_all(&audit).unwrap();
    std::fs::rename(&newer, &audit).unwrap();
    house.start_again().await;
    write(&house).await.is_ok();
    house.stop().await;
    assert_eq!(house.verify().verdict(), Verdict::Pass);
}

#[tokio::test]
async fn a_leader_that_is_killed_while_heads_flow_takes_no_head_with_it() {
    let mut houses = three().await;
    let mut sizes = [0; 3];
    for (house, size) in houses.iter().zip(&mut sizes) {
        write(house).await.is_ok();
        *size = anchored(house, 0, 3).await;
    }
    let lost = leader(&houses);
    houses[lost].shoot();
    houses[lost].ended().await;
    for (number, house) in houses.iter().enumerate().filter(|(number, _)| *number != lost) {
        write(house).await.is_ok();
        sizes[number] = anchored(house, sizes[number], 2).await;
    }
    houses[lost].start_again().await;
    write(&houses[lost]).await.is_ok();
    anchored(&houses[lost], sizes[lost], 3).await;
    let other = (lost + 1) % 3;
    let ledger = logs(&houses[other]);
    for log in ledger["logs"].as_array().unwrap() {
        assert_eq!(log["evidence"], json!([]), "{log}");
    }
    houses[lost].stop().await;
    let report = verify(&houses[lost], &logs(&houses[other]));
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
}

#[tokio::test]
async fn without_the_voters_calls_go_on_until_the_operators_mark_and_then_only_reads() {
    let mut first = Plan::new().await.keeping_the_registry().start(GATEWAY).await;
    let patient = Plan::new().await.following(&first).await.start(GATEWAY).await;
    let strict = Plan::new().await.following(&first).await;
    let library = json!({
        "upstream": format!("https://open.test:{}", strict.upstream().port()),
        "addresses": ["127.0.0.1"], "resolve": ["127.0.0.1"], "ca_file": "ca.pem", "kind": "read",
    });
    let strict = strict.tool("library", library);
    let strict = strict.with("/audit", json!({ "anchor_lag_max": "1s" })).start(GATEWAY).await;
    for house in [&patient, &strict] {
        write(house).await.is_ok();
        anchored(house, 0, 1).await;
    }
    first.shoot();
    first.ended().await;
    let begun = Instant::now();
    while write(&strict).await.refused_for() != Some(Reason::AuditBacklog) {
        assert!(begun.elapsed() < PATIENCE, "writes go on");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    read(&strict).await.is_ok();
    write(&patient).await.is_ok();
    let lag = strict.ops("GET", "/metrics").await.text();
    let lag =
        lag.lines().find_map(|line| line.strip_prefix("aegis_audit_anchor_lag_seconds ")).unwrap();
    assert!(lag.parse::<f64>().unwrap() > 1.0, "{lag}");

    first.start_again().await;
    let begun = Instant::now();
    while write(&strict).await.refused_for().is_some() {
        assert!(begun.elapsed() < PATIENCE, "writes do not go on again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let size = strict.metric("aegis_audit_anchored_size").await;
    anchored(&strict, size, 1).await;
}
