//! What comes piece by piece goes on piece by piece, and tunnels carry both ways.
//!
//! Not here: bodies that are judged whole (`bodies`). Each step waits for the one before it, so a gateway that held
//! anything back would never get to the end.

use aegis_domain::Reason;
use aegis_testkit::{Answer, Gate, Plan, Script, Wire};
use bytes::Bytes;
use futures::channel::mpsc;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::{GATEWAY, house};

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

pub(crate) const HANDSHAKE: [(&str, &str); 4] = [
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

/// Accepts every handshake at its first byte, then sends back what follows.
async fn accept_at_once(listener: TcpListener) {
    const ACCEPTED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
        upgrade: websocket\r\n\r\n";
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut head = vec![stream.read_u8().await.unwrap()];
            stream.write_all(ACCEPTED).await.unwrap();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let (mut from, mut to) = stream.split();
            drop(tokio::io::copy(&mut from, &mut to).await);
        });
    }
}

/// The answer is there before the gateway looks for it, as when its thread has to wait for its turn.
#[tokio::test]
async fn a_websocket_stays_open_however_early_it_was_accepted() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(accept_at_once(listener));
    let early = json!({
        "upstream": format!("http://open.test:{port}"), "resolve": ["127.0.0.1"],
        "addresses": ["127.0.0.0/8"], "protocol": "http1", "price": { "per_call_usd": "0.01" },
    });
    let house = Plan::new().await.tool("early", early).start(GATEWAY).await;
    // Which of two things that are ready is taken first is left to chance.
    for _ in 0..20 {
        let ask = house.agent("bot").get("/early/v1/socket");
        let ask = HANDSHAKE.iter().fold(ask, |ask, (name, value)| ask.header(name, value));
        let mut tunnel = ask.begin().await.tunnel().await;
        for message in [b"hello", b"again"] {
            tunnel.write_all(message).await.unwrap();
            let mut heard = [0; 5];
            tunnel.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, message);
        }
    }
}

#[tokio::test]
async fn a_handshake_that_the_upstream_declines_is_answered_as_any_call() {
    let house = house().await;
    house.upstream().on("/v1/socket", Script::Answer(Answer::status(426).body("no sockets")));
    for tool in ["open-h1", "stream"] {
        let ask = house.agent("bot").get(&format!("/{tool}/v1/socket"));
        let ask = HANDSHAKE.iter().fold(ask, |ask, (name, value)| ask.header(name, value));
        let reply = ask.send().await;
        assert_eq!((reply.status.as_u16(), reply.text().as_ref()), (426, "no sockets"), "{tool}");
        assert!(reply.broken.is_none());
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
