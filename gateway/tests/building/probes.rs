//! Requests that are made to be misread, or never to end.
//!
//! Not here: each rule of the gate (`gate`). Invariant: nothing of a refused head reaches an upstream, and the
//! refusal is on record.

use aegis_domain::{DecisionId, Reason};
use aegis_testkit::{Building, Plan};
use serde_json::{Value, json};

use crate::{GATEWAY, house};

/// A second call, hidden where only a careless reader sees one.
fn hidden(token: &str) -> String {
    format!("GET /open-h1/smuggled HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {token}\r\n\r\n")
}

/// Says this on a connection of its own; the gateway must refuse for this reason, close, and keep a record.
async fn assert_refused(house: &Building, bytes: &[u8], reason: Reason) {
    let mut line = house.raw().await;
    line.send(bytes).await;
    let answer = line.rest().await;
    let shown = String::from_utf8_lossy(bytes);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| unreachable!("{shown:?}"));
    let problem: Value = serde_json::from_str(body).unwrap();
    assert_eq!(problem["reason"], reason.code(), "{shown:?}");
    assert!(head.starts_with(&format!("HTTP/1.1 {}", problem["status"])), "{head}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "one answer, then nothing: {answer}");
    let id = DecisionId::parse(problem["decision_id"].as_str().unwrap()).unwrap();
    assert_eq!(house.journal().decision(id).unwrap().reason, reason);
}

#[tokio::test]
async fn ambiguous_framing_is_refused_and_nothing_hidden_in_it_runs() {
    let house = house().await;
    let token = house.agent("bot").token();
    let authorization = format!("authorization: Bearer {token}\r\n");
    for headers in [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        "content-length: 5\r\ncontent-length: 5\r\n",
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: 5, 5\r\n",
        "content-length: +5\r\n",
        "content-length: 0x5\r\n",
        "content-length: 5 \r\nx: y\r\ncontent-length:\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        "transfer-encoding : chunked\r\n",
        "transfer-encoding:\u{b}chunked\r\n",
        "transfer-encoding\n: chunked\r\n",
        "x: a\r\n transfer-encoding: chunked\r\n",
        "x: a\rtransfer-encoding: chunked\r\n",
        "x: a\u{0}b\r\n",
        "x: a\ncontent-length: 5\r\n",
        "host: other\r\n",
    ] {
        let head = format!("POST /open-h1/x HTTP/1.1\r\nhost: gw\r\n{authorization}{headers}\r\n");
        let bytes = format!("{head}0\r\n\r\n{}", hidden(&token));
        assert_refused(&house, bytes.as_bytes(), Reason::MalformedRequest).await;
    }
    assert_eq!(house.upstream().connections(), 0);
}

#[tokio::test]
async fn odd_targets_methods_and_line_ends_are_refused() {
    let house = house().await;
    let token = house.agent("bot").token();
    let rest = format!("authorization: Bearer {token}\r\n\r\n");
    for start in [
        "GET http://open.test/x HTTP/1.1\r\nhost: gw\r\n",
        "GET //open.test/x HTTP/1.1\r\nhost: gw\r\n",
        "OPTIONS * HTTP/1.1\r\nhost: gw\r\n",
        "CONNECT open.test HTTP/1.1\r\nhost: open.test\r\n",
        "GET https://open.test/x HTTP/1.1\r\nhost: open.test\r\n",
        "TRACE /open/x HTTP/1.1\r\nhost: gw\r\n",
        "GET /open/x HTTP/1.1\r\n",
        "GET /open/x HTTP/1.1\nhost: gw\n",
        "GET /open/x HTTP/1.1\r\nhost: a\r\nhost: b\r\n",
        "POST /open/x HTTP/1.0\r\nhost: gw\r\ntransfer-encoding: chunked\r\n",
        "GET /open/x HTTP/1.1\r\nhost: gw\r\n: empty\r\n",
    ] {
        let closing = if start.starts_with("GET //") { "connection: close\r\n" } else { "" };
        let bytes = format!("{start}{closing}{rest}");
        assert_refused(&house, bytes.as_bytes(), Reason::MalformedRequest).await;
    }
    assert_eq!(house.upstream().connections(), 0);
}

#[tokio::test]
async fn broken_chunks_are_refused_and_nothing_behind_them_runs() {
    let house = house().await;
    let token = house.agent("bot").token();
    for chunks in [
        "5\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "-1\r\nhello\r\n0\r\n\r\n",
        "5;x\nhello\r\n0\r\n\r\n",
        "5;x=y\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\ncontent-length: 3\r\n\r\n",
        "zz\r\n",
    ] {
        let bytes = format!(
            "POST /open-h1/x HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {token}\r\n\
             content-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n{chunks}{}",
            hidden(&token)
        );
        assert_refused(&house, bytes.as_bytes(), Reason::MalformedRequest).await;
    }
    assert_eq!(house.upstream().connections(), 0);
}

#[tokio::test]
async fn calls_sent_before_the_answer_to_the_last_are_served_in_their_order() {
    let house = house().await;
    let token = house.agent("bot").token();
    let call = |text: &str, more: &str| {
        format!(
            "POST /open-h1/x HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {token}\r\n{more}\
             content-type: text/plain\r\ncontent-length: {}\r\n\r\n{text}",
            text.len()
        )
    };
    let calls = [call("one", ""), call("two", ""), call("three", "connection: close\r\n")].concat();
    // All at once, and in pieces that end anywhere (RFC 9112 §9.3.2).
    for piece_bytes in [calls.len(), 7] {
        let before = house.upstream().count();
        let mut line = house.raw().await;
        for piece in calls.as_bytes().chunks(piece_bytes) {
            line.send(piece).await;
        }
        let answers = line.rest().await;
        assert_eq!(answers.matches("{\"ok\":true}").count(), 3, "{answers}");
        let bodies: Vec<_> =
            house.upstream().calls()[before..].iter().map(|call| call.text().to_owned()).collect();
        assert_eq!(bodies, ["one", "two", "three"]);
    }
    assert_eq!(house.journal().decisions().len(), 6);
}

#[tokio::test]
async fn a_streamed_body_passes_the_same_gate() {
    let house = house().await;
    let token = house.agent("bot").token();
    for body in ["5\nhello\r\n0\r\n\r\n", "5;x\nhello\r\n0\r\n\r\n", "5\r\nhelloX\r\n0\r\n\r\n"] {
        let head = format!(
            "POST /stream/x HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {token}\r\n\
             content-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        let mut line = house.raw().await;
        line.send(format!("{head}{body}{}", hidden(&token)).as_bytes()).await;
        let answer = line.rest().await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{body:?}: {answer}");
        assert!(answer.contains("\"MalformedRequest\""), "{body:?}: {answer}");
    }
    let seen = house.upstream().calls();
    assert!(seen.iter().all(|call| !call.target.contains("smuggled")), "{seen:?}");
}

#[tokio::test]
async fn a_body_that_trickles_is_cut_off() {
    let plan = Plan::new().await.with("/limits/body_deadline", json!("400ms"));
    let house = plan.start(GATEWAY).await;
    let token = house.agent("bot").token();
    for tool in ["open-h1", "stream"] {
        let head = format!(
            "POST /{tool}/x HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {token}\r\n\
             content-type: text/plain\r\ncontent-length: 100\r\n\r\na"
        );
        let mut line = house.raw().await;
        line.send(head.as_bytes()).await;
        let answer = line.rest().await;
        assert!(!answer.contains("{\"ok\":true}"), "{tool}: {answer}");
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_before_it_ends() {
    let house = house().await;
    let long = format!("GET /open/x HTTP/1.1\r\nhost: gw\r\nx: {}", "a".repeat(40_000));
    assert_refused(&house, long.as_bytes(), Reason::HeadTooLarge).await;
    let many = "x: y\r\n".repeat(101);
    let many = format!("GET /open/x HTTP/1.1\r\nhost: gw\r\n{many}\r\n");
    assert_refused(&house, many.as_bytes(), Reason::HeadTooLarge).await;
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off_at_its_deadline() {
    let plan = Plan::new().await.with("/limits/head_deadline", json!("300ms"));
    let house = plan.start(GATEWAY).await;
    for beginning in ["G", "GET /open/x HTTP/1.1\r\nhost: gw\r\nx: ", "PRI * HTTP"] {
        assert_refused(&house, beginning.as_bytes(), Reason::RequestTimeout).await;
    }
}

#[tokio::test]
async fn a_body_that_never_ends_is_cut_off_at_its_deadline() {
    let plan = Plan::new().await.with("/limits/body_deadline", json!("300ms"));
    let house = plan.start(GATEWAY).await;
    let token = house.agent("bot").token();
    for framing in ["content-length: 10", "transfer-encoding: chunked"] {
        let bytes = format!(
            "POST /open/x HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {token}\r\n{framing}\r\n\r\n5"
        );
        assert_refused(&house, bytes.as_bytes(), Reason::RequestTimeout).await;
    }
    assert_eq!(house.upstream().connections(), 0);
}
