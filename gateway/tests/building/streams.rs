//! What comes piece by piece goes on piece by piece, and tunnels carry both ways.
//!
//! Not here: bodies that are judged whole (`bodies`). Each step waits for the one before it, so a gateway that held
//! anything back would never get to the end.

use aegis_domain::Reason;
use aegis_testkit::{Gate, Script, Wire};
use bytes::Bytes;
use futures::channel::mpsc;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::house;

#[tokio::test]
async fn events_arrive_before_the_upstream_sends_the_next() {
    let house = house().await;
    for wire in Wire::ALL {
        for tool in ["open-h1", "open-h2"] {
            let gate = Gate::default();
            let list = ["one", "two", "three"].map(str::to_owned).to_vec();
            house.upstream().on("/v1/events", Script::Events(list.clone(), gate.clone()));
            gate.open(1);
            let ask = house.agent("bot").post(&format!("/{tool}/v1/events"));
            let mut answering = ask.json(&json!({ "text": "go" })).over(wire).begin().await;
            for event in list {
                let piece = answering.piece().await.unwrap();
                assert_eq!(piece, format!("data: {event}\n\n"), "{tool} over {wire:?}");
                gate.open(1);
            }
            assert_eq!(answering.piece().await, None);
        }
    }
}

#[tokio::test]
async fn a_streamed_body_arrives_before_the_agent_sends_the_rest() {
    let house = house().await;
    house.upstream().on("/v1/echo", Script::Echo);
    for wire in Wire::ALL {
        for tool in ["stream", "stream-h2"] {
            let (sender, pieces) = mpsc::unbounded();
            let say = |text: &'static str| sender.unbounded_send(Bytes::from(text)).unwrap();
            say("first");
            let ask = house.agent("bot").post(&format!("/{tool}/v1/echo"));
            let ask = ask.pieces("application/octet-stream", pieces).over(wire);
            let mut answering = ask.begin().await;
            assert_eq!(answering.piece().await.unwrap(), "first", "{tool} over {wire:?}");
            say("second");
            assert_eq!(answering.piece().await.unwrap(), "second", "{tool} over {wire:?}");
            sender.close_channel();
            assert_eq!(answering.piece().await, None);
        }
    }
}

const HANDSHAKE: [(&str, &str); 4] = [
    ("connection", "upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

#[tokio::test]
async fn an_allowed_websocket_carries_both_ways() {
    let house = house().await;
    house.upstream().on("/v1/socket", Script::WebSocket);
    for wire in [Wire::Http1, Wire::TlsHttp1] {
        for tool in ["open", "open-h1", "stream"] {
            let ask = house.agent("bot").get(&format!("/{tool}/v1/socket")).over(wire);
            let ask = HANDSHAKE.iter().fold(ask, |ask, (name, value)| ask.header(name, value));
            let answering = ask.begin().await;
            // RFC 6455 §1.3 gives this pair of key and accept.
            let accept = answering.headers().get("sec-websocket-accept").unwrap();
            assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "{tool} over {wire:?}");
            let mut tunnel = answering.tunnel().await;
            for message in ["\u{1}hello", "\u{1}again"] {
                tunnel.write_all(message.as_bytes()).await.unwrap();
                let mut heard = vec![0; message.len()];
                tunnel.read_exact(&mut heard).await.unwrap();
                assert_eq!(heard, message.as_bytes());
            }
        }
    }
}

#[tokio::test]
async fn a_denied_websocket_never_reaches_the_upstream() {
    let house = house().await;
    house.upstream().on("/v1/socket", Script::WebSocket);
    let bot = house.agent("bot").claims(|claims| claims.scopes.clear());
    let ask = bot.get("/care/v1/socket");
    let ask = HANDSHAKE.iter().fold(ask, |ask, (name, value)| ask.header(name, value));
    ask.send().await.is_denied(Reason::PolicyDenied);
    assert_eq!(house.upstream().connections(), 0);
}

#[tokio::test]
async fn an_upgrade_to_anything_else_is_refused() {
    let house = house().await;
    let ask = house.agent("bot").get("/open/v1/socket");
    let ask = ask.header("connection", "upgrade").header("upgrade", "h2c");
    ask.send().await.is_denied(Reason::MalformedRequest);
    assert_eq!(house.upstream().connections(), 0);
}
