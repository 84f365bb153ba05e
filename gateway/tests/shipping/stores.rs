//! Where the log goes, and what a store must be.

use aegis_audit_ship::Address;
use aegis_audit_trust::Trust;
use aegis_audit_verify::Verdict;
use aegis_buckets::{ACCOUNT, Azurite, Moto, azure_options, endpoint};
use serde_json::json;

use crate::{GATEWAY, Ships as _, address, folder, plan, s3, shows, verify, verify_under};

#[tokio::test]
async fn what_was_called_verifies_from_a_folder_alone() {
    let plan = plan().await.ships(json!({ "to": "bucket" }));
    let mut house = plan.start(GATEWAY).await;
    let ids = [
        house.agent("bot").get("/library/x").send().await.is_ok().decision_id(),
        house.agent("bot").post("/open/x").json(&json!({ "text": "a" })).send().await.decision_id(),
    ];
    house.stop().await;
    let local = house.verify();
    assert!(ids.iter().all(|id| house.journal().decision(*id).is_some()));
    let bucket = folder(&house.data().join("bucket"));
    let report = verify(&house, bucket).await;
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
    assert_eq!((report.records, report.streams), (local.records, local.streams));
}

#[tokio::test]
async fn the_log_goes_into_a_container_of_azure_by_the_keys_of_the_configuration() {
    let Some(azurite) = Azurite::start() else { return };
    azurite.container("audit");
    let to = "az://audit/eu";
    let shipping = json!({
        "to": to,
        "endpoint": endpoint(azurite.port()),
        "credentials": { "account": ACCOUNT, "account_key": { "file": "store-secret" } },
    });
    let mut house = plan().await.ships(shipping).start(GATEWAY).await;
    house.agent("bot").post("/open/x").json(&json!({ "text": "a" })).send().await.is_ok();
    house.stop().await;
    let address = Address { url: to.to_owned(), options: azure_options(azurite.port()) };
    let report = verify(&house, address).await;
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
}

#[tokio::test]
async fn a_store_that_promises_less_than_was_asked_for_keeps_the_gateway_down() {
    let Some(moto) = Moto::start() else { return };
    moto.locked_bucket("short", "COMPLIANCE", 29);
    moto.locked_bucket("soft", "GOVERNANCE", 30);
    assert_eq!(moto.ask(("PUT", "/none"), &[], ""), 200);
    for (bucket, found) in [
        ("short", "COMPLIANCE for 29 days"),
        ("soft", "GOVERNANCE for 30 days"),
        ("none", "nothing"),
    ] {
        let plan = plan().await.ships(s3(moto.port(), bucket));
        let plan = plan.with("/audit/ship/retention", json!({ "mode": "compliance", "days": 30 }));
        let (failed, _house) = plan.fails(GATEWAY).await;
        let told = format!("the store promises {found}, and COMPLIANCE for 30 days was asked for");
        assert!(failed.stderr.contains(&told), "{bucket}: {}", failed.stderr);
        assert_eq!(failed.status.code(), Some(1));
    }
}

#[tokio::test]
async fn a_store_that_is_away_at_the_start_is_said_to_be_and_caught_up_with_later() {
    let to_be = Moto::to_be();
    let port = to_be.port();
    let plan = plan().await.ships(s3(port, "audit/gw-1"));
    let plan = plan.with("/audit/ship/retention", json!({ "mode": "governance", "days": 1 }));
    let mut house = plan.start(GATEWAY).await;
    shows(&house, "trouble", async || house.metric("aegis_audit_shipping_trouble").await == 1)
        .await;
    house.agent("bot").post("/open/x").json(&json!({ "text": "a" })).send().await.is_ok();
    let ready = house.ops("GET", "/readyz").await;
    assert_eq!(ready.status, 200);
    let told = ready.text();
    assert!(told.contains("wait for the bucket, nothing shipped since the start: "), "{told}");
    assert!(house.metric("aegis_audit_backlog_bytes").await > 0);

    let Some(moto) = to_be.start() else { return };
    moto.lockable_bucket("audit");
    let promises = async || house.ops("GET", "/readyz").await.text();
    shows(&house, "a promise that is too weak", async || {
        promises()
            .await
            .contains("the store promises nothing, and GOVERNANCE for 1 days was asked for")
    })
    .await;
    moto.lock("audit", "COMPLIANCE", 30);
    shows(&house, "health", async || house.metric("aegis_audit_shipping_trouble").await == 0).await;
    assert_eq!(house.ops("GET", "/readyz").await.text(), "ready\n");
    assert!(house.metric("aegis_audit_segments_shipped_total").await >= 2);
    assert!(house.metric("aegis_audit_last_shipped_timestamp_seconds").await > 1_700_000_000);
    house.stop().await;
    let report = verify(&house, address(port, "audit/gw-1")).await;
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
    let stderr = house.stderr();
    for line in
        ["audit records do not get into the bucket", "audit records get into the bucket again"]
    {
        assert_eq!(stderr.matches(line).count(), 1, "{stderr}");
    }
}

#[tokio::test]
async fn gateways_share_a_place_by_their_names_and_their_log_is_one() {
    let Some(moto) = Moto::start() else { return };
    moto.locked_bucket("audit", "GOVERNANCE", 1);
    let named = async |name| {
        plan()
            .await
            .with("/name", json!(name))
            .ships(s3(moto.port(), "audit/eu"))
            .start(GATEWAY)
            .await
    };
    let (mut trust, mut streams) = (String::new(), Vec::new());
    // One draws a name and keeps it.
    for name in [Some("gw-a"), Some("gw-b"), None] {
        let mut house = match name {
            Some(name) => named(name).await,
            None => plan().await.ships(s3(moto.port(), "audit/eu")).start(GATEWAY).await,
        };
        house.agent("bot").post("/open/x").json(&json!({ "text": "a" })).send().await.is_ok();
        house.stop().await;
        let file = std::fs::read_to_string(house.data().join("trust.txt")).unwrap();
        trust.extend(
            file.lines().filter(|line| line.starts_with("log ")).map(|it| format!("{it}\n")),
        );
        let kept = || std::fs::read_to_string(house.data().join("gateway.name")).unwrap();
        let name = name.map_or_else(kept, str::to_owned);
        streams.push(format!("audit.building.test/eu-west-1/{name}/1"));
    }
    let trust = Trust::parse(&(trust + "quorum none\n")).unwrap();
    let whole = async || verify_under(trust.clone(), address(moto.port(), "audit/eu")).await;
    let report = whole().await;
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
    let found: Vec<&str> = report.streams.iter().map(|it| it.origin.as_str()).collect();
    assert_eq!(found, streams);

    let mut third = named("gw-b").await;
    shows(&third, "trouble", async || third.metric("aegis_audit_shipping_trouble").await == 1)
        .await;
    let told = third.ops("GET", "/readyz").await.text();
    assert!(told.contains("the bucket holds the log of another registry under v1/"), "{told}");
    third.stop().await;
    let report = whole().await;
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
}

#[tokio::test]
async fn what_an_earlier_life_shipped_goes_and_the_next_start_and_the_bucket_have_it_all() {
    let plan = plan().await.ships(json!({ "to": "bucket", "keep": "1ms" }));
    let mut house = plan.start(GATEWAY).await;
    let reply = house.agent("bot").post("/open/x").json(&json!({ "text": "a" })).send().await;
    let id = reply.is_ok().decision_id();
    house.stop().await;
    house.start_again().await;
    let name = std::fs::read_to_string(house.data().join("gateway.name")).unwrap();
    let first = house.data().join("audit/streams").join(name).join("00000000000000000001");
    shows(&house, "deletion", async || {
        std::fs::read_dir(first.join("wal")).unwrap().next().is_none()
    })
    .await;
    house.shoot();
    house.ended().await;
    house.start_again().await;
    house.stop().await;
    let local = house.verify();
    assert_eq!(local.verdict(), Verdict::Incomplete, "{local:#?}");
    assert!(local.findings.is_empty(), "{local:#?}");
    let bucket = folder(&house.data().join("bucket"));
    let report = verify(&house, bucket).await;
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
    assert_eq!((report.streams, report.unsettled_count), (local.streams, 0));
    let lines = std::fs::read_to_string(house.data().join("decisions.jsonl")).unwrap();
    assert!(lines.contains(id.as_str()), "a line was lost with its record");
}
