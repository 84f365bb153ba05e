//! How a gateway begins, ends, and goes on from where it ended.
//!
//! Not here: kill -9 (`kill.rs`).

use aegis_domain::Reason;
use aegis_testkit::{Building, Gate, Line, Plan, Script, Wire};
use serde_json::json;

use crate::evidence::assert_verified;
use crate::{GATEWAY, house};

#[tokio::test]
async fn every_mistake_in_the_configuration_is_told_with_its_place_and_nothing_listens() {
    let plan = Plan::new()
        .await
        .with("/region", json!("EU WEST"))
        .with("/limits/drain", json!("soon"))
        .with("/tenants/acme/tools/open/upstream", json!("ftp://open.test"))
        .with("/tenants/acme/agents/bot/colour", json!("blue"));
    let (failed, house) = plan.fails(GATEWAY).await;
    assert_eq!(failed.status.code(), Some(2), "{}", failed.stderr);
    for mistake in ["EU WEST", "soon", "ftp://open.test", "colour"] {
        let config = std::fs::read_to_string(house.data().join("aegis.yaml")).unwrap();
        let line = config.lines().position(|line| line.contains(mistake)).unwrap() + 1;
        let place = format!("aegis.yaml:{line}:");
        assert!(failed.stderr.contains(&place), "{place} {mistake}\n{}", failed.stderr);
    }
    assert!(!house.is_ready().await);
    assert!(Line::open(&house, Wire::Http1).await.is_err());
}

#[tokio::test]
async fn every_mistake_in_every_policy_is_told_with_its_place_and_nothing_listens() {
    let plan = Plan::new()
        .await
        .policy("acme", "effect: approval_needed", "effect: perhaps")
        .policy("acme", "approval: chief }", "approval: nobody }")
        .policy("other", "hosts: [care.test]", "hosts: care.test, paths");
    let (failed, house) = plan.fails(GATEWAY).await;
    assert_eq!(failed.status.code(), Some(2), "{}", failed.stderr);
    for (tenant, mistake) in [("acme", "effect: perhaps"), ("other", "hosts: care.test, paths")] {
        let name = format!("{tenant}.policy.yaml");
        let policy = std::fs::read_to_string(house.data().join(&name)).unwrap();
        let line = policy.lines().position(|line| line.contains(mistake)).unwrap() + 1;
        let place = format!("{name}:{line}:");
        assert!(failed.stderr.contains(&place), "{place}\n{}", failed.stderr);
    }
    assert!(Line::open(&house, Wire::Http1).await.is_err());
}

#[tokio::test]
async fn a_second_gateway_on_the_same_data_does_not_start() {
    let house = house().await;
    let output = tokio::process::Command::new(GATEWAY)
        .args(["run", "--config", "aegis.yaml"])
        .current_dir(house.data())
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    house.agent("bot").get("/open/x").send().await.is_ok();
}

#[tokio::test]
async fn a_port_that_is_taken_fails_the_start() {
    for listener in ["/listen/plain", "/listen/metrics"] {
        let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let plan = Plan::new().await.with(listener, json!(address));
        let (failed, _house) = plan.fails(GATEWAY).await;
        assert_eq!(failed.status.code(), Some(1), "{}", failed.stderr);
        assert!(failed.stderr.contains(&address), "{}", failed.stderr);
    }
}

#[tokio::test]
async fn a_drain_loses_no_call_and_readiness_goes_first() {
    let mut house = Plan::new().await.with("/limits/drain", json!("700ms")).start(GATEWAY).await;
    let clients = futures::future::join_all((0..8).map(|_| until_told_to_go(&house)));
    let stopped = async {
        house.upstream().reached(100).await;
        house.terminate();
    };
    let (counts, ()) = futures::join!(clients, stopped);
    assert!(house.ended().await.success());
    let calls: usize = counts.iter().sum();
    assert!(calls >= 100 && counts.iter().all(|count| *count > 0), "{counts:?}");
    assert_eq!(house.upstream().count(), calls, "what was forwarded was answered");
    assert_verified(&house);
}

/// Calls on one kept connection until the gateway says that was the last; it must not be ready any more by then.
async fn until_told_to_go(house: &Building) -> usize {
    let mut line = Line::open(house, Wire::Http1).await.unwrap();
    let bot = house.agent("bot");
    let mut calls = 0;
    loop {
        let ask = bot.post("/open-h1/x").json(&json!({ "text": "steady" }));
        let reply = ask.send_on(&mut line).await;
        reply.is_ok();
        calls += 1;
        if reply.header("connection").as_deref() == Some("close") {
            assert!(!house.is_ready().await, "told to go by a gateway that says it is ready");
            return calls;
        }
    }
}

#[tokio::test]
async fn a_drain_waits_for_a_stream_under_way() {
    let mut house = house().await;
    for (wire, tool) in [(Wire::Http1, "open-h1"), (Wire::TlsHttp2, "open-h2")] {
        let gate = Gate::default();
        let list = ["one", "two"].map(str::to_owned).to_vec();
        house.upstream().on("/v1/events", Script::Events(list, gate.clone()));
        gate.open(1);
        let ask = house.agent("bot").get(&format!("/{tool}/v1/events")).over(wire);
        let mut answering = ask.begin().await;
        let id = answering.decision_id();
        assert_eq!(answering.piece().await.unwrap(), "data: one\n\n");
        house.terminate();
        while house.is_ready().await {
            tokio::task::yield_now().await;
        }
        gate.open(1);
        assert_eq!(answering.whole().await.text(), "data: two\n\n", "{wire:?}");
        assert!(house.ended().await.success());
        assert_eq!(house.journal().outcome(id).await.reason, Reason::Allowed);
        house.start_again().await;
    }
    house.stop().await;
    assert_verified(&house);
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_a_stop() {
    let mut house = house().await;
    let mut lines = Vec::new();
    for wire in Wire::ALL {
        let mut line = Line::open(&house, wire).await.unwrap();
        house.agent("bot").get("/open/x").send_on(&mut line).await.is_ok();
        lines.push(line);
    }
    house.stop().await;
    for line in &mut lines {
        assert!(!line.is_open().await);
    }
}

#[tokio::test]
async fn a_second_start_goes_on_from_what_the_first_left() {
    let mut house = house().await;
    let payout = json!({ "amount": 1 });
    let once =
        house.agent("bot").claims(|claims| claims.token_use = aegis_domain::TokenUse::Once).token();
    house.agent("bot").get("/open/x").bearer(&once).send().await.is_ok();
    for _ in 0..3 {
        house.agent("poor-bot").post("/pay/x").json(&payout).send().await.is_ok();
    }
    let keys = house.published_keys().await.to_jwks_json();
    let version = house.journal().decisions()[0].policy.clone().unwrap();
    house.stop().await;
    assert_verified(&house);
    let before = house.journal().records().len();

    house.start_again().await;
    let reply = house.agent("poor-bot").post("/pay/x").json(&payout).send().await;
    let record = reply.is_denied(Reason::OutOfBudget);
    assert_eq!(record.policy.unwrap(), version);
    let reply = house.agent("bot").get("/open/x").bearer(&once).send().await;
    reply.is_denied(Reason::TokenReplayed);
    assert_eq!(house.published_keys().await.to_jwks_json(), keys);
    house.stop().await;
    assert!(house.journal().records().len() > before);
    assert_verified(&house);
    assert_eq!(house.verify().streams.len(), 2);
}
