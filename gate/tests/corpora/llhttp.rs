//! llhttp's own vectors: 131 strict requests and 75 responses, each marked as an error or not.

use std::collections::BTreeMap;

use aegis_gate::{
    Asked, BodyGate, Limits, Progress, Refusal, ResponseBody, ResponseGate, ResponseReading,
};
use serde_json::Value;

use crate::replay::{Door, End, replay, unsafe_because};
use crate::{BestPeer, base64, corpus, hold_above, json_lines};

fn vectors(kind: &str) -> Option<Vec<Value>> {
    let all = json_lines(corpus("llhttp")?.join("http1_vectors.jsonl"));
    Some(all.into_iter().filter(|vector| vector["type"] == kind).collect())
}

/// With a `Host`, so that a vector cannot be refused only for lacking one.
fn with_host(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let end = bytes.windows(2).position(|pair| pair == b"\r\n").map(|at| at + 2);
    match end {
        Some(end) if !text.contains("\r\nhost:") && end > 2 => {
            [&bytes[..end], b"Host: localhost\r\n", &bytes[end..]].concat()
        }
        _ => bytes.to_vec(),
    }
}

#[derive(Default)]
struct Tally {
    refused: usize,
    not_served: usize,
    unfinished: usize,
    closed: usize,
    clean: Vec<String>,
}

fn tally(vectors: &[Value], door: Door, prepare: fn(&[u8]) -> Vec<u8>) -> Tally {
    let mut tally = Tally::default();
    for vector in vectors {
        let (heads, end) = replay(&prepare(&base64(&vector["raw_b64"])), door);
        for head in &heads {
            assert_eq!(unsafe_because(head), None, "{}", vector["title"]);
        }
        match end {
            End::Refused(_) => tally.refused += 1,
            End::NotServed => tally.not_served += 1,
            End::Unfinished => tally.unfinished += 1,
            End::ClosedBefore => tally.closed += 1,
            End::Clean => tally.clean.push(vector["title"].to_string()),
        }
    }
    tally
}

#[test]
fn a_request_that_a_strict_parser_refuses_never_goes_on() {
    let Some(all) = vectors("request") else { return };
    let (bad, good): (Vec<_>, Vec<_>) = all.into_iter().partition(|it| !it["error"].is_null());
    println!(
        "| requests | refused | not served | unfinished | closed before | go on |\n|---|---|---|---|---|---|"
    );
    let as_is = |bytes: &[u8]| bytes.to_vec();
    let mut rows = Vec::new();
    for (name, set) in [("errors", &bad), ("valid", &good)] {
        for (form, prepare) in
            [("as they are", as_is as fn(&[u8]) -> Vec<u8>), ("with Host", with_host)]
        {
            for (door, door_name) in [(Door::ToolRoute, "tool route"), (Door::Forward, "forward")] {
                let row = tally(set, door, prepare);
                let Tally { refused, not_served, unfinished, closed, clean } = &row;
                println!(
                    "| {} {name}, {form}, {door_name} | {refused} | {not_served} | {unfinished} | {closed} | {} |",
                    set.len(),
                    clean.len()
                );
                rows.push((name, form, door_name, row));
            }
        }
    }
    let best = BestPeer { name: "nginx and Envoy", refused: 54, of: 63 };
    for (name, form, door, row) in &rows {
        if *name == "valid" {
            continue;
        }
        if !row.clean.is_empty() {
            println!("errors that go on {form} through the {door} door: {:?}", row.clean);
        }
        hold_above(
            &format!("llhttp errors, {form}, {door}"),
            bad.len() - row.clean.len(),
            bad.len(),
            best,
        );
    }
    // On a door that opens no tunnels; CONNECT is an error to llhttp only in that it stops there.
    let tool_route = rows.iter().filter(|row| row.0 == "errors" && row.2 == "tool route");
    tool_route.for_each(|row| assert!(row.3.clean.is_empty(), "{:?}", row.3.clean));
    assert_eq!((bad.len(), good.len()), (63, 68));
}

/// Whether another call may follow on the connection, as the door would decide it.
fn leaves_reusable(bytes: &[u8]) -> Result<bool, Refusal> {
    let mut rest = bytes;
    let mut gate = ResponseGate::new(Asked::Plain, Limits::RESPONSE);
    let head = loop {
        match gate.read(rest)? {
            ResponseReading::Partial => return Ok(false),
            ResponseReading::Interim { bytes, .. } => rest = &rest[bytes..],
            ResponseReading::Final(head) => break head,
        }
    };
    let ResponseBody::Framed(framing) = head.body else { return Ok(false) };
    let after_head = &rest[head.bytes..];
    let mut body = BodyGate::new(framing);
    match body.push(after_head)? {
        Progress::More => Ok(false),
        Progress::Ends { at } => Ok(head.leaves_reusable(&body, after_head.len() - at)),
    }
}

#[test]
fn a_connection_is_not_reused_after_a_response_that_a_strict_parser_refuses() {
    let Some(all) = vectors("response") else { return };
    println!(
        "| responses | refused | read, connection closed | read, connection reusable |\n|---|---|---|---|"
    );
    let mut counts: BTreeMap<(bool, u8), usize> = BTreeMap::new();
    for vector in &all {
        let is_error = !vector["error"].is_null();
        let outcome = match leaves_reusable(&base64(&vector["raw_b64"])) {
            Err(_) => 0,
            Ok(false) => 1,
            Ok(true) => 2,
        };
        assert!(!is_error || outcome < 2, "{}", vector["title"]);
        *counts.entry((is_error, outcome)).or_default() += 1;
    }
    for (is_error, name) in [(true, "errors"), (false, "valid")] {
        let of = |outcome| counts.get(&(is_error, outcome)).copied().unwrap_or(0);
        println!("| {} {name} | {} | {} | {} |", of(0) + of(1) + of(2), of(0), of(1), of(2));
    }
    assert_eq!(all.len(), 75);
}
