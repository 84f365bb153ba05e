//! What policy does not see does not leave: bodies behind a handshake, headers that say something else, a token twice.
//!
//! Not here: framing (`probes`) and what is blanked (`redaction`).

use aegis_domain::Reason;
use aegis_testkit::Plan;
use serde_json::json;

use crate::{GATEWAY, house};

#[tokio::test]
async fn a_handshake_with_a_body_is_refused_and_the_body_goes_nowhere() {
    let house = house().await;
    let token = house.agent("bot").token();
    for (version, framing) in [
        ("1.1", "transfer-encoding: chunked\r\n\r\nb\r\n123-45-6789\r\n0\r\n\r\n"),
        ("1.1", "content-length: 11\r\n\r\n123-45-6789"),
        ("1.0", "content-length: 11\r\n\r\n123-45-6789"),
    ] {
        let mut line = house.raw().await;
        let head = format!(
            "GET /open-h1/x HTTP/{version}\r\nhost: gw\r\nauthorization: Bearer {token}\r\n\
             connection: upgrade\r\nupgrade: websocket\r\n{framing}"
        );
        line.send(head.as_bytes()).await;
        line.until("\"reason\":\"MalformedRequest\"").await;
    }
    assert_eq!(house.upstream().connections(), 0);
}

#[tokio::test]
async fn a_header_cannot_ask_for_another_call_than_the_one_that_is_judged() {
    let house = house().await;
    for (name, value) in [
        ("x-http-method-override", "DELETE"),
        ("x-original-url", "/admin"),
        ("connection", "content-type"),
        ("connection", "host"),
    ] {
        let ask = house.agent("bot").post("/open-h1/x").json(&json!({ "text": "a" }));
        ask.header(name, value).send().await.is_refused(Reason::MalformedRequest);
    }
    assert_eq!(house.upstream().connections(), 0);
}

#[tokio::test]
async fn a_token_that_is_sent_twice_still_stays_here() {
    let house = house().await;
    let bot = house.agent("bot");
    let token = bot.token();
    let twice =
        bot.get("/open/x").bearer(&token).header("aegis-authorization", &format!("Bearer {token}"));
    twice.header("x-api-key", &token).send().await.is_ok();
    assert!(!house.upstream().last().everything().contains(&token));
}

#[tokio::test]
async fn personal_data_in_a_header_is_found_and_cannot_be_blanked_there() {
    let house = house().await;
    let note = || house.agent("bot").post("/care/v1/notes").json(&json!({ "text": "stable" }));
    note().send().await.is_ok();
    let seen = house.upstream().count();
    note().header("x-note", "SSN 123-45-6789").send().await.is_refused(Reason::Unredactable);
    assert_eq!(house.upstream().count(), seen);
}

#[tokio::test]
async fn an_issuer_speaks_only_for_the_tenants_it_is_trusted_for() {
    let plan = Plan::new().await.with("/identity/issuers/0/tenants", json!(["other"]));
    let house = plan.start(GATEWAY).await;
    house.agent("bot").get("/open/x").send().await.is_refused(Reason::TokenIssuer);
    house.agent("bot").of("other").get("/open/x").send().await.is_ok();
}
