//! The 28 requests by which proxies are commonly told apart, each with the answer of this gate.
#![expect(clippy::panic, reason = "fixtures stand outside test functions")]

use aegis_gate::{BodyGate, Framing, Head, Limits, Progress, Reading, Refusal};

/// Reads a head and what follows it, as far as the first message goes.
fn judge(bytes: &[u8]) -> Result<Framing, Refusal> {
    match Head::read(bytes, Limits::REQUEST)? {
        Reading::Complete(head) => {
            BodyGate::new(head.framing).push(bytes.get(head.bytes..).unwrap_or_default())?;
            Ok(head.framing)
        }
        other => panic!("{other:?}"),
    }
}

/// A POST with these header lines and this body.
fn post(lines: &str, body: &str) -> String {
    format!("POST /p HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n{body}")
}

type Probe = (&'static str, String, Result<Framing, Refusal>);

fn hold(probes: &[Probe]) {
    for (name, probe, expected) in probes {
        assert_eq!(judge(probe.as_bytes()), *expected, "{name}");
    }
}

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
const HOST: &str = "Host: localhost\r\n\r\n";

#[test]
fn ten_probes_of_framing_have_one_reading_or_none() {
    let probes: [Probe; 10] = [
        ("list of lengths", post("Content-Length: 5,5\r\n", "hello"), Err(Refusal::ContentLength)),
        (
            "length twice",
            post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
            Err(Refusal::Repeated),
        ),
        (
            "length and chunked",
            post(&format!("Content-Length: 5\r\n{CHUNKED}"), "0\r\n\r\n"),
            Err(Refusal::TwoFramings),
        ),
        (
            "gzip, chunked",
            post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
            Err(Refusal::TransferEncoding),
        ),
        ("mixed case", post("Transfer-Encoding: cHuNkEd\r\n", "0\r\n\r\n"), Ok(Framing::Chunked)),
        (
            "extension with LF",
            post(CHUNKED, "5;\n\r\nhello\r\n0\r\n\r\n"),
            Err(Refusal::ChunkExtension),
        ),
        ("chunk line with LF", post(CHUNKED, "5\nhello\r\n0\r\n\r\n"), Err(Refusal::ChunkSize)),
        ("0x chunk", post(CHUNKED, "0x5\r\nhello\r\n0\r\n\r\n"), Err(Refusal::ChunkSize)),
        (
            "chunk overflow",
            post(CHUNKED, "fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
            Err(Refusal::ChunkSize),
        ),
        (
            "trailer with a length",
            post(CHUNKED, "0\r\nContent-Length: 5\r\n\r\n"),
            Err(Refusal::TrailerName),
        ),
    ];
    hold(&probes);
}

#[test]
fn eighteen_probes_of_heads_have_one_reading_or_none() {
    let many = "X: y\r\n".repeat(300);
    let wide = format!("X: {}\r\n", "a".repeat(70_000));
    let probes: [Probe; 18] = [
        ("no Host", "GET / HTTP/1.1\r\n\r\n".into(), Err(Refusal::HostMissing)),
        ("LF only", "GET / HTTP/1.1\nHost: localhost\n\n".into(), Err(Refusal::LineEnd)),
        (
            "Connection: Authorization",
            post("Connection: Authorization\r\n", ""),
            Err(Refusal::ConnectionOption),
        ),
        ("dots", format!("GET /a/../b HTTP/1.1\r\n{HOST}"), Err(Refusal::DotSegment)),
        (
            "escaped dots",
            format!("GET /a/%2e%2e/b HTTP/1.1\r\n{HOST}"),
            Err(Refusal::HiddenCharacter),
        ),
        (
            "escaped NUL",
            "GET http://host%00.evil/ HTTP/1.1\r\nHost: host%00.evil\r\n\r\n".into(),
            Err(Refusal::Authority),
        ),
        (
            "CONNECT without a port",
            format!("CONNECT localhost HTTP/1.1\r\n{HOST}"),
            Err(Refusal::PortMissing),
        ),
        ("Host twice", post("Host: localhost\r\n", ""), Err(Refusal::Repeated)),
        (
            "another Host",
            format!("GET http://other.test/ HTTP/1.1\r\n{HOST}"),
            Err(Refusal::HostMismatch),
        ),
        (
            "chunked in 1.0",
            format!("POST / HTTP/1.0\r\n{CHUNKED}{HOST}0\r\n\r\n"),
            Err(Refusal::OldChunked),
        ),
        ("folded line", post("X: a\r\n b\r\n", ""), Err(Refusal::Fold)),
        ("300 headers", post(&many, ""), Err(Refusal::TooManyHeaders)),
        ("70 KB header", post(&wide, ""), Err(Refusal::LineTooLong)),
        (
            "early upgrade",
            format!("GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: x\r\n{HOST}GET /2"),
            Err(Refusal::Upgrade),
        ),
        (
            "Expect with the body at once",
            post("Expect: 100-continue\r\nContent-Length: 5\r\n", "hello"),
            Ok(Framing::Length(5)),
        ),
        (
            "GET with a body",
            format!("GET / HTTP/1.1\r\nContent-Length: 5\r\n{HOST}hello"),
            Err(Refusal::BodyOfBodiless),
        ),
        ("a@b in Host", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n".into(), Err(Refusal::Authority)),
        ("comma in the method", format!("GE,T / HTTP/1.1\r\n{HOST}"), Err(Refusal::Method)),
    ];
    hold(&probes);
}

#[test]
fn what_stands_behind_a_message_is_not_taken_for_part_of_it() {
    let hidden = b"GET /smuggled HTTP/1.1\r\n";
    let body = b"5\r\nhello\r\n0\r\n\r\n";
    let mut gate = BodyGate::new(Framing::Chunked);
    let progress = gate.push(&[&body[..], hidden].concat()).unwrap();
    assert_eq!(progress, Progress::Ends { at: body.len() });
}
