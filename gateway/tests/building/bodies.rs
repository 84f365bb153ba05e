//! Bodies arrive exactly as judged, up to the limit and not a byte beyond it; connections are kept.
//!
//! Not here: what is blanked in them (`redaction`).

use aegis_audit_chain::Hash;
use aegis_domain::Reason;
use aegis_testkit::{Answer, Ask, Building, Line, Plan, Script, Wire};
use bytes::Bytes;
use futures::stream;
use serde_json::json;

use crate::{GATEWAY, house};

/// Bytes without a pattern a shortcut could hide behind.
fn noise(length: usize) -> Bytes {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// The same body with its length told, and in pieces without.
fn framings<'b>(ask: impl Fn() -> Ask<'b>, content_type: &str, body: &Bytes) -> [Ask<'b>; 2] {
    let pieces: Vec<Bytes> = body.chunks(10_007).map(Bytes::copy_from_slice).collect();
    let told = ask().body(content_type, body.clone());
    [told, ask().pieces(content_type, stream::iter(pieces))]
}

#[tokio::test]
async fn bodies_of_every_size_and_framing_arrive_as_they_were_judged() {
    let house = house().await;
    for body in [0, 1_000, 300_000].map(noise) {
        for wire in Wire::ALL {
            for tool in ["open-h1", "open-h2"] {
                arrives_as_judged(&house, (wire, tool), &body).await;
            }
        }
    }
}

async fn arrives_as_judged(house: &Building, (wire, tool): (Wire, &str), body: &Bytes) {
    let ask = || house.agent("bot").post(&format!("/{tool}/v1/blob")).over(wire);
    for ask in framings(ask, "application/octet-stream", body) {
        let reply = ask.send().await;
        reply.is_ok();
        let received = house.upstream().last();
        assert!(received.is_whole && received.body == *body, "{} {wire:?} {tool}", body.len());
        let record = reply.record();
        let left = record.body_out.unwrap();
        assert_eq!(left.size, u64::try_from(body.len()).unwrap());
        assert_eq!(left.sha256, Hash::of(body));
        assert_eq!(record.body_in, record.body_out);
    }
}

#[tokio::test]
async fn seven_megabytes_pass() {
    let house = house().await;
    // Letters only: a debug build scans them in seconds, all bytes in minutes.
    let body: Bytes = noise(7_000_000).iter().map(|byte| b'a' + byte % 26).collect();
    for (wire, tool) in [(Wire::Http1, "open-h2"), (Wire::TlsHttp2, "open-h1")] {
        let ask = house.agent("bot").post(&format!("/{tool}/v1/blob")).over(wire);
        ask.body("application/octet-stream", body.clone()).send().await.is_ok();
        let received = house.upstream().last();
        assert!(received.is_whole && received.body == body, "{wire:?} {tool}");
    }
}

#[tokio::test]
async fn a_redacted_body_goes_out_with_its_own_length() {
    let house = house().await;
    let text = "born 1984-03-12, mail ada@example.org, SSN 123-45-6789. ".repeat(2_000);
    let body = Bytes::from(json!({ "text": text }).to_string());
    for wire in Wire::ALL {
        let ask = || house.agent("bot").post("/care/v1/notes").over(wire);
        for ask in framings(ask, "application/json", &body) {
            let reply = ask.send().await;
            reply.is_ok();
            let received = house.upstream().last();
            assert!(received.is_whole, "{wire:?}");
            let length = received.header("content-length").unwrap();
            assert_eq!(length, received.body.len().to_string());
            assert_ne!(received.body.len(), body.len());
            let record = reply.record();
            assert_eq!(record.body_in.unwrap().sha256, Hash::of(&body));
            assert_eq!(record.body_out.unwrap().sha256, Hash::of(&received.body));
            let counts: u32 = record.redactions.iter().map(|one| one.count).sum();
            assert_eq!(counts, 6_000, "{:?}", record.redactions);
        }
    }
}

#[tokio::test]
async fn an_agents_connection_is_kept_over_calls_and_refusals() {
    let house = house().await;
    for wire in Wire::ALL {
        let mut line = Line::open(&house, wire).await.unwrap();
        let bot = house.agent("bot");
        for text in ["one", "two", "three"] {
            let ask = bot.post("/open-h1/v1/things").json(&json!({ "text": text }));
            ask.send_on(&mut line).await.is_ok();
        }
        let refused = bot.post("/open-h1/v1/things").json(&json!({ "text": "forbidden" }));
        refused.send_on(&mut line).await.is_denied(Reason::PolicyDenied);
        bot.get("/open-h1/v1/things").send_on(&mut line).await.is_ok();
    }
}

#[tokio::test]
async fn an_upstreams_connection_is_kept_too() {
    let house = house().await;
    for tool in ["open-h1", "open-h2"] {
        for _ in 0..3 {
            let ask = house.agent("bot").post(&format!("/{tool}/v1/things"));
            ask.json(&json!({ "text": "hello" })).send().await.is_ok();
        }
    }
    let connections: Vec<_> = house.upstream().calls().iter().map(|call| call.connection).collect();
    assert_eq!(connections, [0, 0, 0, 1, 1, 1]);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_on_record_and_its_connection_closed() {
    let plan = Plan::new().await.with("/limits/body_bytes_max", json!(1_000));
    let house = plan.start(GATEWAY).await;
    let ask = || house.agent("bot").post("/open/v1/blob");
    for wire in Wire::ALL {
        ask().body("text/plain", noise(1_000)).over(wire).send().await.is_ok();
        let told = ask().body("text/plain", noise(1_001));
        let untold = ask().pieces("text/plain", stream::iter([noise(900), noise(101)]));
        for ask in [told, untold] {
            let mut line = Line::open(&house, wire).await.unwrap();
            let reply = ask.send_on(&mut line).await;
            assert_eq!(reply.status.as_u16(), 413);
            reply.is_denied(Reason::BodyTooLarge);
            assert_eq!(line.is_open().await, wire.is_http2(), "{wire:?}");
        }
    }
    assert_eq!(house.upstream().count(), Wire::ALL.len());
}

#[tokio::test]
async fn a_tool_may_have_a_smaller_limit_of_its_own() {
    let plan = Plan::new().await.with("/tenants/acme/tools/open/body_bytes_max", json!(10));
    let house = plan.start(GATEWAY).await;
    let bot = house.agent("bot");
    bot.post("/open-h1/v1/blob").body("text/plain", noise(11)).send().await.is_ok();
    let reply = bot.post("/open/v1/blob").body("text/plain", noise(11)).send().await;
    reply.is_denied(Reason::BodyTooLarge);
}

#[tokio::test]
async fn an_upstream_that_answers_before_it_has_read_the_body_is_heard() {
    let house = house().await;
    // An echo answers with the head at once.
    house.upstream().on("/v1/echo", Script::Echo);
    let body = noise(300_000);
    for tool in ["open-h1", "open-h2"] {
        let ask = house.agent("bot").post(&format!("/{tool}/v1/echo"));
        let reply = ask.body("application/octet-stream", body.clone()).send().await;
        assert!(reply.is_ok().body == body, "{tool}");
    }
}

#[tokio::test]
async fn a_large_answer_comes_back_whole() {
    let house = house().await;
    let body = noise(3_000_000);
    house.upstream().on("/v1/blob", Script::Answer(Answer::default().body(body.clone())));
    for wire in Wire::ALL {
        for tool in ["open-h1", "open-h2"] {
            let reply = house.agent("bot").get(&format!("/{tool}/v1/blob")).over(wire).send().await;
            assert!(reply.is_ok().body == body, "{tool} over {wire:?}");
            let outcome = house.journal().outcome(reply.decision_id()).await;
            assert_eq!(outcome.bytes, 3_000_000);
        }
    }
}
