//! What an auditor sees of a bucket with nothing but `aegisctl` and the trust file.
//!
//! Not here: every way in which a lock may be too weak (`audit/ship/tests/shipping/kept`). Invariant: nothing of the gateway is
//! asked, and it no longer runs.

use std::path::Path;
use std::process::{Command, Output};

use aegis_buckets::{Moto, options};
use aegis_testkit::Building;
use serde_json::{Value, json};

use crate::{GATEWAY, Ships as _, plan, s3};

/// `aegisctl audit verify` of the log in `audit/eu`; `None`, after saying so, where `aegisctl` is not built.
fn verified(house: &Building, port: u16, words: &[&str]) -> Option<Output> {
    let program = Path::new(GATEWAY).with_file_name("aegisctl");
    if !program.exists() {
        assert!(std::env::var_os("CI").is_none(), "CI builds aegisctl beside the gateway");
        eprintln!("skipped: aegisctl is not built");
        return None;
    }
    let mut command = Command::new(program);
    command.args(["audit", "verify", "--from", "s3://audit/eu", "--trust"]);
    command.arg(house.data().join("trust.txt"));
    for (name, value) in options(port) {
        command.args(["--store-option", &format!("{name}={value}")]);
    }
    Some(command.args(words).output().unwrap())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn an_auditor_reads_back_how_long_each_object_is_kept() {
    let Some(moto) = Moto::start() else { return };
    moto.locked_bucket("audit", "COMPLIANCE", 30);
    let plan = plan().await.ships(s3(moto.port(), "audit/eu"));
    let plan = plan.with("/audit/ship/retention", json!({ "mode": "compliance", "days": 30 }));
    let mut house = plan.start(GATEWAY).await;
    house.agent("bot").post("/open/x").json(&json!({ "text": "a" })).send().await.is_ok();
    house.stop().await;

    let as_asked = ["--retention", "compliance:30d"];
    let Some(kept) = verified(&house, moto.port(), &as_asked) else { return };
    assert_eq!(kept.status.code(), Some(0), "{}{}", text(&kept.stdout), text(&kept.stderr));
    let told = text(&kept.stderr);
    assert!(told.contains("objects are kept as asked (COMPLIANCE for 30 days)"), "{told}");

    // A day less would do, for stores count by clocks of their own.
    let longer = ["--retention", "compliance:32d", "-o", "json"];
    let less = verified(&house, moto.port(), &longer).unwrap();
    assert_eq!(less.status.code(), Some(1), "{}", text(&less.stderr));
    let seen: Value = serde_json::from_slice(&less.stdout).unwrap();
    let (objects, findings) = (&seen["retention"]["objects"], seen["findings"].as_array().unwrap());
    assert_eq!(
        (seen["retention"]["weaker"].clone(), findings.len() as u64),
        (objects.clone(), objects.as_u64().unwrap())
    );
    assert!(
        objects.as_u64() >= Some(2) && findings.iter().all(|one| one["file"].is_string()),
        "{seen}"
    );
}
