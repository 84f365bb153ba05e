//! How a message of a corpus becomes one that the gateway could let through: the least that makes it a call of ours.
//!
//! Every request line in the bytes, hidden ones too, gets three things: its target, where it begins with a slash, the
//! door's prefix; behind it the agent's token and a trace that names the message. `Host` is added where a message has
//! none, so that no refusal is for that alone, and says the target's host where the target names one. Nothing else is
//! touched: not the bytes of any other line, not the bodies.
//! Not here: the messages (`messages`). Invariant: what hides in a message is good for a call if it ever runs.

/// A way in, and what it takes to pass it.
pub(crate) struct Door {
    pub(crate) name: &'static str,
    /// What comes before a path: `/<tool>`, or `http://<host>`.
    pub(crate) prefix: String,
    /// The header line that identifies the agent, without its end.
    pub(crate) credential: String,
    /// The host that a target in absolute form names, and so must `Host`.
    pub(crate) host: Option<String>,
}

/// Where a piece of a message stands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Its first line is a request line, or was meant to be one.
    Start,
    /// It begins in the middle of a body.
    Rest,
}

/// The number that is the trace of the n-th request in a message.
pub(crate) fn trace(message: usize, nth: usize) -> String {
    format!("{message:024x}{:08x}", nth + 1)
}

/// The message of a trace.
pub(crate) fn message_of(traceparent: &str) -> Option<usize> {
    let trace = traceparent.split('-').nth(1)?;
    usize::from_str_radix(trace.get(..24)?, 16).ok()
}

impl Door {
    /// Rewrites one piece of a message; `nth` counts the requests of the message so far.
    pub(crate) fn adapt(
        &self,
        bytes: &[u8],
        piece: Piece,
        message: usize,
        nth: &mut usize,
    ) -> Vec<u8> {
        let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
        let mut out = Vec::new();
        let mut is_first = piece == Piece::Start;
        let mut keeps_host = true;
        for (at, line) in lines.iter().enumerate() {
            let is_empty = line.iter().all(u8::is_ascii_whitespace);
            if (is_first && !is_empty) || is_request_line(line) {
                is_first = false;
                let fields = lines[at + 1..].iter().take_while(|line| !is_blank(line));
                let hosts = fields.filter(|line| is_host(line)).count();
                keeps_host = self.host.is_none() || hosts != 1;
                out.extend(self.with_prefix(line));
                if line.ends_with(b"\n") {
                    out.extend(self.added(message, *nth, hosts).into_bytes());
                }
                *nth += 1;
            } else if is_host(line) && !keeps_host {
                let host = self.host.as_deref().unwrap_or_default();
                out.extend(format!("Host: {host}\r\n").into_bytes());
            } else {
                out.extend(*line);
            }
        }
        out
    }

    fn added(&self, message: usize, nth: usize, hosts: usize) -> String {
        let host = self.host.as_deref().unwrap_or("localhost");
        let host = if hosts == 0 { format!("Host: {host}\r\n") } else { String::new() };
        let trace = trace(message, nth);
        format!("{}\r\ntraceparent: 00-{trace}-{:016x}-01\r\n{host}", self.credential, nth + 1)
    }

    fn with_prefix(&self, line: &[u8]) -> Vec<u8> {
        let Some(at) = line.windows(2).position(|pair| pair == b" /") else { return line.to_vec() };
        [&line[..=at], self.prefix.as_bytes(), &line[at + 1..]].concat()
    }
}

/// `METHOD target HTTP/x`, which is a request wherever a reader takes it for the start of one.
fn is_request_line(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line);
    let words: Vec<&str> = text.trim_end().split(' ').collect();
    let [method, _, version] = words.as_slice() else { return false };
    let is_method = |byte: u8| byte.is_ascii_uppercase() || byte == b'-';
    !method.is_empty() && method.bytes().all(is_method) && version.starts_with("HTTP/")
}

fn is_blank(line: &[u8]) -> bool {
    matches!(line, b"\r\n" | b"\n")
}

fn is_host(line: &[u8]) -> bool {
    line.get(..5).is_some_and(|name| name.eq_ignore_ascii_case(b"host:"))
}

#[test]
fn every_request_of_a_message_becomes_a_call() {
    let door = |prefix: &str, host: Option<&str>| Door {
        name: "test",
        prefix: prefix.to_owned(),
        credential: "A: t".to_owned(),
        host: host.map(str::to_owned),
    };
    let text = |door: &Door, bytes: &str| {
        let adapted = door.adapt(bytes.as_bytes(), Piece::Start, 10, &mut 0);
        String::from_utf8(adapted).unwrap()
    };
    let added = "A: t\r\ntraceparent: 00-00000000000000000000000a0000000";
    assert_eq!(
        text(&door("/x", None), "GET /a HTTP/1.1\r\n\r\nPUT /b HTTP/1.0\r\nHOST: c\r\n\r\n"),
        format!(
            "GET /x/a HTTP/1.1\r\n{added}1-0000000000000001-01\r\nHost: localhost\r\n\r\n\
             PUT /x/b HTTP/1.0\r\n{added}2-0000000000000002-01\r\nHOST: c\r\n\r\n"
        )
    );
    assert_eq!(
        text(&door("http://h:1", Some("h:1")), "GET /a HTTP/1.1\r\nHost: c\r\n\r\nGET"),
        format!(
            "GET http://h:1/a HTTP/1.1\r\n{added}1-0000000000000001-01\r\nHost: h:1\r\n\r\nGET"
        )
    );
    assert_eq!(message_of("00-00000000000000000000000a00000001-01-01"), Some(10));
}
