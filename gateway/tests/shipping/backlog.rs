//! More waits for the bucket than may.

use aegis_audit_verify::Verdict;
use aegis_buckets::Moto;
use aegis_domain::Reason;
use aegis_testkit::Building;
use serde_json::json;

use crate::{GATEWAY, Ships as _, address, plan, s3, shows, verify};

/// The least that may wait.
const SPOOL_BYTES: u64 = 1_048_576;
/// Far more calls than fill it.
const CALLS_MAX: usize = 5_000;

/// Writes until writing is refused; says how many writes went through.
async fn write_until_refused(house: &Building) -> usize {
    for written in 0..CALLS_MAX {
        let reply = house.agent("bot").post("/open/x").json(&json!({ "text": "a" })).send().await;
        if !reply.status.is_success() {
            reply.is_denied(Reason::AuditBacklog);
            assert_eq!(reply.status, 503);
            assert_eq!(reply.header("retry-after").as_deref(), Some("10"));
            return written;
        }
    }
    unreachable!("writes go on");
}

async fn writes_go_on(house: &Building) -> bool {
    let reply = house.agent("bot").post("/open/x").json(&json!({ "text": "a" })).send().await;
    reply.status.is_success()
}

#[tokio::test]
async fn a_store_that_answers_nobody_stops_writes_at_the_mark_and_reads_go_on_until_it_is_back() {
    let Some(moto) = Moto::start() else { return };
    moto.locked_bucket("audit", "GOVERNANCE", 1);
    let shipping = s3(moto.port(), "audit/gw-1");
    let plan = plan().await.ships(shipping).with("/audit/ship/spool_bytes_max", json!(SPOOL_BYTES));
    let mut house = plan.start(GATEWAY).await;
    shows(&house, "a segment", async || {
        house.metric("aegis_audit_segments_shipped_total").await >= 2
    })
    .await;
    moto.freeze();
    let written = write_until_refused(&house).await;
    let waiting = house.metric("aegis_audit_backlog_bytes").await;
    assert!(waiting > SPOOL_BYTES, "{waiting}");
    let read = house.agent("bot").get("/library/x").send().await;
    assert_eq!(read.is_ok().record().reason, Reason::Allowed);
    let ready = house.ops("GET", "/readyz").await;
    assert_eq!(ready.status, 200);
    assert!(ready.text().contains("which is too much"), "{}", ready.text());
    let upstream = house.upstream().count();
    assert_eq!(upstream, written + 1, "what was refused reached the upstream");

    moto.thaw();
    shows(&house, "writes", async || writes_go_on(&house).await).await;
    house.stop().await;
    let report = verify(&house, address(moto.port(), "audit/gw-1")).await;
    assert_eq!(report.verdict(), Verdict::Pass, "{:?} {:?}", report.findings, report.gaps);
    eprintln!("{written} writes until {waiting} bytes waited; {} records shipped", report.records);
    let stderr = house.stderr();
    assert_eq!(stderr.matches("too much waits for the audit bucket").count(), 1, "{stderr}");
    assert_eq!(stderr.matches("the audit bucket has caught up").count(), 1, "{stderr}");
}

#[tokio::test]
async fn where_the_operator_said_so_everything_stops_and_the_gateway_is_not_ready() {
    let to_be = Moto::to_be();
    let plan = plan().await.ships(s3(to_be.port(), "audit/gw-1"));
    let plan = plan.with("/audit/ship/spool_bytes_max", json!(SPOOL_BYTES));
    let mut house = plan.with("/audit/ship/when_full", json!("stop_all")).start(GATEWAY).await;
    write_until_refused(&house).await;
    let read = house.agent("bot").get("/library/x").send().await;
    read.is_denied(Reason::AuditBacklog);
    let ready = house.ops("GET", "/readyz").await;
    assert_eq!(ready.status, 503, "{}", ready.text());

    let Some(moto) = to_be.start() else { return };
    moto.locked_bucket("audit", "GOVERNANCE", 1);
    shows(&house, "writes", async || writes_go_on(&house).await).await;
    assert!(house.is_ready().await);
    house.stop().await;
}
