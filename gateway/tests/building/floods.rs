//! Upstreams that never stop talking.
//!
//! Not here: answers that are only wrong (`hostile`). Invariant: a flood costs the gateway little more than what it is
//! willing to read of a head, and the next call is served.

use std::io::Write as _;
use std::time::Duration;

use aegis_domain::Reason;
use aegis_testkit::{Answer, Building, Puppet, Script, Word};
use bytes::Bytes;
use serde_json::json;

use crate::{hostile, house};

/// What each flood would say if it were let.
const FLOOD_BYTES: usize = 100 * 1_024 * 1_024;
/// More than the head of an answer may have and sockets hold, and far less than a flood.
const TAKEN_BYTES_MAX: usize = 16 * 1_024 * 1_024;
const MEMORY_BYTES_MAX: u64 = 48 * 1_024 * 1_024;

fn flood(piece: &str) -> Word {
    // Large pieces, so that the upstream is the quicker of the two.
    let piece = piece.repeat((64 * 1_024 / piece.len()).max(1));
    let times = FLOOD_BYTES / piece.len();
    Word::Repeat(Bytes::from(piece), times)
}

fn say(text: &'static str) -> Word {
    Word::Say(Bytes::from_static(text.as_bytes()))
}

async fn serves_on(house: &Building, number: usize) {
    let reply = house.agent("bot").get(&format!("/rough/next/{number}")).send().await;
    assert_eq!(reply.is_ok().text(), format!("own:/next/{number}"));
}

#[tokio::test]
async fn a_head_that_never_ends_is_refused_early_and_costs_little() {
    let puppet = Puppet::open().await;
    let house = hostile::with(&puppet, hostile::PATIENT).await;
    serves_on(&house, 0).await;
    let before = house.resident_bytes();
    let status = "HTTP/1.1 200 OK\r\n";
    let floods = [
        ("hints", vec![flood("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n")]),
        ("hints without a header", vec![flood("HTTP/1.1 100 Continue\r\n\r\n")]),
        ("header lines", vec![say(status), flood("x-header: value\r\n")]),
        ("long header lines", vec![say(status), flood(&format!("x: {}\r\n", "a".repeat(30_000)))]),
        ("one header line", vec![say(status), say("x: "), flood("aaaaaaaaaaaaaaaa")]),
        ("one header name", vec![say(status), flood("aaaaaaaaaaaaaaaa")]),
        ("a status line", vec![say("HTTP/1.1 200 "), flood("OK OK OK OK ")]),
        ("no line at all", vec![flood("aaaaaaaaaaaaaaaa")]),
        ("empty lines", vec![flood("\r\n")]),
        ("a chunk size", vec![say(status), say("transfer-encoding: chunked\r\n\r\n"), flood("0")]),
        (
            "trailers",
            vec![say(status), say("transfer-encoding: chunked\r\n\r\n0\r\n"), flood("x: y\r\n")],
        ),
    ];
    for (number, (name, words)) in floods.into_iter().enumerate() {
        let said = puppet.said_bytes();
        puppet.on(&format!("/flood/{number}"), words);
        let answering = house.agent("bot").get(&format!("/rough/flood/{number}")).begin().await;
        let reply = answering.whole().await;
        if reply.broken.is_none() {
            reply.is_refused(Reason::UpstreamFailed);
        }
        let taken = puppet.said_bytes() - said;
        assert!(taken < TAKEN_BYTES_MAX, "{name}: {taken} bytes were taken");
        println!("{name}: {} KiB taken, {}", taken / 1_024, reply.status);
        serves_on(&house, number + 1).await;
    }
    let grown = house.resident_bytes().saturating_sub(before);
    println!("memory grew by {} KiB over 11 floods of 100 MiB", grown / 1_024);
    assert!(grown < MEMORY_BYTES_MAX, "{grown}");
}

#[tokio::test]
async fn a_body_waits_for_its_agent_and_not_in_memory() {
    let puppet = Puppet::open().await;
    let house = hostile::with(&puppet, hostile::PATIENT).await;
    serves_on(&house, 0).await;
    let before = house.resident_bytes();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {FLOOD_BYTES}\r\n\r\n");
    puppet.on("/large", [Word::Say(Bytes::from(head)), flood("aaaaaaaaaaaaaaaa")]);
    let answering = house.agent("bot").get("/rough/large").begin().await;
    // The agent does not read, and sooner or later nobody can say more.
    let mut said = usize::MAX;
    while said != puppet.said_bytes() {
        said = puppet.said_bytes();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let grown = house.resident_bytes().saturating_sub(before);
    println!("{} KiB said of 100 MiB, memory grew by {} KiB", said / 1_024, grown / 1_024);
    assert!(said < FLOOD_BYTES / 2 && grown < MEMORY_BYTES_MAX, "{said} {grown}");
    drop(answering);
    serves_on(&house, 1).await;
}

/// A small body that would be a gigabyte: nobody here undoes it, so it is passed on as it is and paid for in full.
#[tokio::test]
async fn a_gzip_bomb_is_passed_on_as_it_came() {
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![0; 1_024 * 1_024];
    for _ in 0..256 {
        bomb.write_all(&zeros).unwrap();
    }
    let bomb = bomb.finish().unwrap();
    let house = house().await;
    let answer = Answer::default().header("content-encoding", "gzip").body(bomb.clone());
    let answer = answer.header("content-type", "application/json");
    house.upstream().on("/v1/chat/completions", Script::Answer(answer));
    let ask = || house.agent("bot").post("/model/v1/chat/completions").json(&json!({}));
    ask().send().await.is_ok();
    let before = house.resident_bytes();
    for _ in 0..5 {
        let reply = ask().send().await;
        assert_eq!(reply.is_ok().body, bomb);
        let record = reply.record();
        let outcome = house.journal().outcome(reply.decision_id()).await;
        assert_eq!(outcome.cost, record.est_cost, "what cannot be read costs its estimate");
    }
    let grown = house.resident_bytes().saturating_sub(before);
    println!(
        "5 bombs of 256 MiB in {} KiB: memory grew by {} KiB",
        bomb.len() / 1_024,
        grown / 1_024
    );
    assert!(grown < MEMORY_BYTES_MAX, "{grown}");
}
