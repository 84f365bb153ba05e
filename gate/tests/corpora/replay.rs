//! One connection, replayed through the gate the way the door uses it.

use aegis_gate::{
    BodyGate, Head, HeadGate, Limits, Persistence, Progress, Reading, Refusal, Target,
};

/// Which targets the door serves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// `/<tool>/<path>` only.
    ToolRoute,
    /// Absolute targets and CONNECT as well.
    Forward,
}

/// What became of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// All was read, and every message went on.
    Clean,
    /// A message asked for the connection to close, and what came behind it was not read.
    ClosedBefore,
    /// More was to come: nothing of the last message goes on, and its deadline ends it.
    Unfinished,
    Refused(Refusal),
    /// A form of target that this door does not serve.
    NotServed,
}

/// The heads that went on, as bytes, and how it ended.
pub(crate) fn replay(bytes: &[u8], door: Door) -> (Vec<Vec<u8>>, End) {
    let mut forwarded = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let head = match HeadGate::new(Limits::REQUEST).read(rest) {
            Ok(Reading::Complete(head)) => head,
            Ok(Reading::Partial) => return (forwarded, End::Unfinished),
            Ok(Reading::Http2Preface) => return (forwarded, End::NotServed),
            Err(refusal) => return (forwarded, End::Refused(refusal)),
        };
        if door == Door::ToolRoute && !matches!(head.target, Target::Origin(_)) {
            return (forwarded, End::NotServed);
        }
        let after_head = &rest[head.bytes..];
        let end = match BodyGate::new(head.framing).push(after_head) {
            Ok(Progress::Ends { at }) => at,
            Ok(Progress::More) => return (forwarded, End::Unfinished),
            Err(refusal) => return (forwarded, End::Refused(refusal)),
        };
        forwarded.push(head.rewritten().unwrap_or_else(|| rest[..head.bytes].to_vec()));
        if is_connect(&head) {
            return (forwarded, End::Clean);
        }
        rest = &after_head[end..];
        if head.persistence == Persistence::Close && !rest.is_empty() {
            return (forwarded, End::ClosedBefore);
        }
    }
    (forwarded, End::Clean)
}

fn is_connect(head: &Head<'_>) -> bool {
    matches!(head.target, Target::Authority { .. })
}

/// Why a head that went on must not have: two framings, a framing in disguise, or a line that is two.
pub(crate) fn unsafe_because(head: &[u8]) -> Option<&'static str> {
    let mut lengths = 0;
    let mut codings = 0;
    for line in head.split_inclusive(|&byte| byte == b'\n') {
        let Some(line) = line.strip_suffix(b"\r\n") else { return Some("bare LF") };
        if line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return Some("CR, LF or NUL inside a line");
        }
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let (name, value) = line.split_at(colon);
        let value = String::from_utf8_lossy(&value[1..]).trim_matches([' ', '\t']).to_owned();
        let letters: String =
            name.iter().filter(|b| b.is_ascii_alphabetic()).map(|&b| char::from(b)).collect();
        match letters.to_ascii_lowercase().as_str() {
            "contentlength" if !name.eq_ignore_ascii_case(b"content-length") => {
                return Some("look-alike");
            }
            "transferencoding" if !name.eq_ignore_ascii_case(b"transfer-encoding") => {
                return Some("look-alike");
            }
            "contentlength"
                if !value.bytes().all(|byte| byte.is_ascii_digit()) || value.is_empty() =>
            {
                return Some("length is no number");
            }
            "transferencoding" if !value.eq_ignore_ascii_case("chunked") => {
                return Some("coding is not chunked");
            }
            "contentlength" => lengths += 1,
            "transferencoding" => codings += 1,
            _ => {}
        }
    }
    (lengths + codings > 1).then_some("two framings")
}

#[test]
fn the_rule_itself_finds_what_it_is_for() {
    let head = |lines: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5,5\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer_Encoding: chunked\r\n",
        "X: a\nb: c\r\n",
        "X: a\0\r\n",
    ] {
        assert!(unsafe_because(head(lines).as_bytes()).is_some(), "{lines:?}");
    }
    assert_eq!(unsafe_because(head("Content-Length: 5\r\n").as_bytes()), None);
    assert_eq!(replay(head("").as_bytes(), Door::ToolRoute).1, End::Clean);
}
