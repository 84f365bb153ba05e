//! What holds for every input: no panic, one verdict however the bytes are split, and no leniency beyond httparse.
#![expect(clippy::unwrap_used, reason = "fixtures stand outside test functions")]

use aegis_gate::{
    Asked, BodyGate, Framing, Head, HeadGate, Limits, Progress, Reading, Refusal, ResponseGate,
    ResponseReading, Target, Version,
};
use proptest::prelude::*;

/// Pieces from which heads that nearly pass are made.
const PIECES: [&str; 40] = [
    "GET",
    "POST",
    "HEAD",
    "CONNECT",
    "get",
    " ",
    "  ",
    "/",
    "/a/b?c=d",
    "/%2e",
    "/{x}",
    "http://a.test/",
    "a.test:443",
    "*",
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/2.0",
    "\r\n",
    "\r\n",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    "Host: a.test",
    "Host: b",
    "Content-Length: 5",
    "Content-Length: 05",
    "Transfer-Encoding: chunked",
    "Transfer_Encoding: chunked",
    "Connection: close",
    "Connection: host",
    "Upgrade: websocket",
    "Expect: 100-continue",
    "X: y",
    "X : y",
    " fold",
    "X: \u{0}",
    "X: é",
    ":",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
];

/// Pieces of chunked bodies.
const CHUNKS: [&str; 18] = [
    "5\r\nhello\r\n",
    "5\r\nhel",
    "lo\r\n",
    "0\r\n",
    "0\r\n\r\n",
    "\r\n",
    "a\r\n0123456789\r\n",
    "5;x\r\n",
    "0x5\r\n",
    "5 \r\n",
    "\n",
    "X: y\r\n",
    "Host: a\r\n",
    "x: \u{0}",
    "ffffffffffffffff\r\n",
    "00000000000000000",
    "GET / HTTP/1.1\r\n",
    "F\r\n",
];

/// Small enough that random heads run into them.
const TIGHT: Limits =
    Limits { head_bytes_max: 160, headers_max: 4, line_bytes_max: 60, target_bytes_max: 20 };

fn glued(pieces: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(pieces), 0..most)
        .prop_map(|pieces| pieces.concat().into_bytes())
}

/// A head as it usually is, with a mistake at most.
fn nearly_plain() -> impl Strategy<Value = Vec<u8>> {
    let lines = prop::collection::vec(prop::sample::select(&PIECES[23..]), 0..4);
    let start = prop::sample::select(
        &["GET /a HTTP/1.1", "POST /a/{b}?c=#d HTTP/1.1", "PUT /x HTTP/1.0"][..],
    );
    (start, lines).prop_map(|(start, lines)| {
        format!("{start}\r\nHost: a.test\r\n{}\r\n\r\n", lines.join("\r\n")).into_bytes()
    })
}

/// The verdict when the bytes arrive cut at these places.
fn read_in_steps(bytes: &[u8], cuts: &[usize], limits: Limits) -> Result<Option<usize>, Refusal> {
    let mut gate = HeadGate::new(limits);
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    ends.sort_unstable();
    ends.push(bytes.len());
    for end in ends {
        match gate.read(bytes.get(..end).unwrap())? {
            Reading::Partial => {}
            Reading::Http2Preface => return Ok(Some(0)),
            Reading::Complete(head) => return Ok(Some(head.bytes)),
        }
    }
    Ok(None)
}

/// Where a body ends when it arrives in pieces.
fn push_in_steps(framing: Framing, pieces: &[&[u8]]) -> Result<Option<usize>, Refusal> {
    let mut gate = BodyGate::new(framing);
    if gate.has_ended() {
        return Ok(Some(0));
    }
    let mut before = 0;
    for piece in pieces {
        match gate.push(piece)? {
            Progress::More => before += piece.len(),
            Progress::Ends { at } => return Ok(Some(before + at)),
        }
    }
    Ok(None)
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_take_more_than_there_is(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        start in prop::sample::select(&["", "GET /", "GET / HTTP/1.1\r\nHost: a\r\n", "HTTP/1.1 200 "][..]),
    ) {
        let bytes = [start.as_bytes(), &bytes].concat();
        if let Ok(Reading::Complete(head)) = Head::read(&bytes, Limits::REQUEST) {
            prop_assert!(head.bytes <= bytes.len());
        }
        let response = ResponseGate::new(Asked::Plain, Limits::RESPONSE).read(&bytes);
        if let Ok(ResponseReading::Final(head)) = response {
            prop_assert!(head.bytes <= bytes.len());
        }
        if let Ok(Progress::Ends { at }) = BodyGate::new(Framing::Chunked).push(&bytes) {
            prop_assert!(at <= bytes.len());
        }
    }

    #[test]
    fn how_a_head_is_split_changes_nothing(
        bytes in prop_oneof![glued(&PIECES, 14), nearly_plain()],
        cuts in prop::collection::vec(any::<usize>(), 0..6),
    ) {
        for limits in [Limits::REQUEST, TIGHT] {
            let whole = read_in_steps(&bytes, &[], limits);
            prop_assert_eq!(read_in_steps(&bytes, &cuts, limits), whole);
            let every: Vec<usize> = (0..bytes.len()).collect();
            prop_assert_eq!(read_in_steps(&bytes, &every, limits), whole);
        }
    }

    #[test]
    fn how_a_body_is_split_changes_nothing(bytes in glued(&CHUNKS, 10), length in 0_u64..40) {
        for framing in [Framing::Chunked, Framing::Length(length)] {
            let whole = push_in_steps(framing, &[&bytes]);
            for at in 0..=bytes.len() {
                let (one, two) = bytes.split_at(at);
                prop_assert_eq!(push_in_steps(framing, &[one, two]), whole);
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(push_in_steps(framing, &single), whole);
        }
    }

    #[test]
    fn what_passes_passes_httparse_with_the_same_parts(
        bytes in prop_oneof![glued(&PIECES, 14), nearly_plain()],
    ) {
        let Ok(Reading::Complete(head)) = Head::read(&bytes, Limits::REQUEST) else { return Ok(()) };
        let written = head.rewritten().unwrap_or_else(|| bytes[..head.bytes].to_vec());
        let mut slots = [httparse::EMPTY_HEADER; 100];
        let mut other = httparse::Request::new(&mut slots);
        prop_assert_eq!(other.parse(&written), Ok(httparse::Status::Complete(written.len())));
        prop_assert_eq!(other.method, Some(head.method));
        prop_assert_eq!(other.version, Some(u8::from(head.version == Version::Http11)));
        if let Target::Origin(resource) = &head.target {
            let query = resource.query.iter().map(|query| format!("?{query}")).collect::<String>();
            prop_assert_eq!(other.path, Some(&*format!("{}{query}", resource.path)));
        }
        let host = other.headers.iter().find(|field| field.name.eq_ignore_ascii_case("host"));
        if let Some(host) = host {
            let value = std::str::from_utf8(host.value).unwrap();
            prop_assert!(value.starts_with(head.authority.host()));
        }
    }

    #[test]
    fn what_was_written_anew_reads_the_same(bytes in nearly_plain()) {
        let Ok(Reading::Complete(head)) = Head::read(&bytes, Limits::REQUEST) else { return Ok(()) };
        let Some(written) = head.rewritten() else { return Ok(()) };
        let again = Head::read(&written, Limits::REQUEST);
        let Ok(Reading::Complete(again)) = again else { panic!("{again:?}") };
        prop_assert_eq!(&again.target, &head.target);
        prop_assert_eq!((again.method, again.framing), (head.method, head.framing));
        prop_assert_eq!(again.rewritten(), None);
    }

    #[test]
    fn how_a_response_is_split_changes_nothing(
        status in prop::sample::select(&["100 C", "200 OK", "204 No", "101 S", "2 X"][..]),
        lines in prop::collection::vec(prop::sample::select(&PIECES[23..]), 0..4),
    ) {
        let text = format!("HTTP/1.1 {status}\r\n{}\r\n\r\n", lines.join("\r\n"));
        let bytes = text.as_bytes();
        let whole = ResponseGate::new(Asked::Plain, Limits::RESPONSE).read(bytes);
        let mut gate = ResponseGate::new(Asked::Plain, Limits::RESPONSE);
        let mut stepwise = Ok(ResponseReading::Partial);
        for end in 0..=bytes.len() {
            stepwise = gate.read(&bytes[..end]);
            if stepwise != Ok(ResponseReading::Partial) {
                break;
            }
        }
        prop_assert_eq!(stepwise, whole);
    }
}

/// What an SDK sends to a model provider through a base URL.
const TYPICAL: &[u8] = b"POST /openai/v1/chat/completions HTTP/1.1\r\n\
    Host: gateway.eu-west-1.example.com\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n\
    Accept: application/json\r\nContent-Type: application/json\r\nUser-Agent: OpenAI/Python 1.99.0\r\n\
    X-Stainless-Lang: python\r\nX-Stainless-Package-Version: 1.99.0\r\nX-Stainless-OS: Linux\r\n\
    Authorization: Bearer 0123456789abcdef0123456789abcdef\r\nContent-Length: 412\r\n\r\n";

#[test]
fn a_typical_head_is_read_without_allocating() {
    let measured = allocation_counter::measure(|| {
        assert!(matches!(Head::read(TYPICAL, Limits::REQUEST), Ok(Reading::Complete(_))));
    });
    assert_eq!(measured.count_total, 0);
}
