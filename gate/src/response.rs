//! The head of an upstream's HTTP/1 response, read as strictly as a request, because upstreams may be hostile.
//!
//! Not here: what the answer says, and decoding it. Invariant: a connection is only fit for another call when the gate
//! has seen the whole of a response whose end nobody could dispute (RFC 9112 §§6.3, 9.3).

use crate::connection::persistence;
use crate::fields::{Field, Fields};
use crate::lines::{FirstLine, LineScan, Scanned, lines};
use crate::{BodyGate, Framing, Limits, Persistence, Refusal, Version};

/// What was asked, as far as it decides how the answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Plain,
    /// HEAD: the answer has the framing of a body, and no body.
    Head,
    /// A handshake, to which a `101` may be the answer.
    WebSocket,
}

/// Reads the heads of one response from a buffer that grows.
#[derive(Clone, Debug)]
pub struct ResponseGate {
    scan: LineScan,
    limits: Limits,
    asked: Asked,
    interim_left: u8,
}

/// What is known of the bytes so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseReading {
    /// More bytes are needed.
    Partial,
    /// A `1xx`: the caller takes this many bytes off its buffer and reads on.
    Interim {
        status: u16,
        bytes: usize,
    },
    Final(ResponseHead),
}

/// The head of a final response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    pub status: u16,
    pub body: ResponseBody,
    pub persistence: Persistence,
    /// How many bytes of the buffer the head takes; none if it came decoded.
    pub bytes: usize,
}

/// How a response goes on after its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseBody {
    Framed(Framing),
    /// Whether it is whole, nobody can tell.
    UntilClose,
    /// The connection is no longer HTTP.
    Tunnel,
}

/// More than any honest upstream sends before its answer.
const INTERIM_MAX: u8 = 8;

impl ResponseGate {
    pub fn new(asked: Asked, limits: Limits) -> Self {
        let scan = LineScan::new(FirstLine::Status, limits);
        Self { scan, limits, asked, interim_left: INTERIM_MAX }
    }

    /// Goes on where the last call stopped. `buffer` begins with all that it was given since the last interim response.
    pub fn read(&mut self, buffer: &[u8]) -> Result<ResponseReading, Refusal> {
        let Scanned::Complete { bytes } = self.scan.scan(buffer)? else {
            return Ok(ResponseReading::Partial);
        };
        let mut lines = lines(buffer.get(..bytes).unwrap_or_default());
        let (version, status) = status_line(lines.next().unwrap_or_default())?;
        let mut fields = Fields::default();
        for line in lines {
            fields.take_of_response(Field::parse(line)?)?;
        }
        if is_interim(status) {
            self.interim_left = self.interim_left.checked_sub(1).ok_or(Refusal::TooManyInterim)?;
            bodiless(&fields)?;
            self.scan = LineScan::new(FirstLine::Status, self.limits);
            return Ok(ResponseReading::Interim { status, bytes });
        }
        let body = body(status, self.asked, version, &fields)?;
        let persistence = persistence(&fields, version);
        Ok(ResponseReading::Final(ResponseHead { status, body, persistence, bytes }))
    }
}

impl ResponseHead {
    /// Whether the connection may carry another call: the body has passed this gate to its end, nothing came behind it,
    /// and neither side wants to close.
    pub fn leaves_reusable(&self, body: &BodyGate, bytes_behind: usize) -> bool {
        let is_framed = match self.body {
            ResponseBody::Framed(_) => true,
            ResponseBody::UntilClose | ResponseBody::Tunnel => false,
        };
        is_framed
            && body.has_ended()
            && bytes_behind == 0
            && self.persistence == Persistence::KeepAlive
    }
}

/// Checks a response whose lines another reader has already taken apart; what it was lenient about before, nobody can
/// see here. An interim response is one without a body.
pub fn check_response<'a>(
    status: u16,
    version: Version,
    asked: Asked,
    list: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
) -> Result<ResponseHead, Refusal> {
    let mut fields = Fields::default();
    for (name, value) in list {
        fields.take_of_response(Field::decoded(name, value)?)?;
    }
    let is_http2 = version == Version::Http2;
    if is_http2 && (fields.transfer_encoding.is_some() || fields.upgrade.is_some()) {
        return Err(Refusal::ConnectionHeader);
    }
    let body = if is_interim(status) {
        bodiless(&fields)?;
        ResponseBody::Framed(Framing::None)
    } else {
        match body(status, asked, version, &fields)? {
            // Frames say where it ends.
            ResponseBody::UntilClose if is_http2 => ResponseBody::Framed(Framing::None),
            body @ (ResponseBody::Framed(_) | ResponseBody::UntilClose | ResponseBody::Tunnel) => {
                body
            }
        }
    };
    Ok(ResponseHead { status, body, persistence: persistence(&fields, version), bytes: 0 })
}

fn is_interim(status: u16) -> bool {
    (100..200).contains(&status) && status != 101
}

/// `HTTP/1.x SP status SP reason`; many servers leave out the last space with the reason.
fn status_line(line: &[u8]) -> Result<(Version, u16), Refusal> {
    let (version, rest) = line.split_at_checked(9).ok_or(Refusal::StatusLine)?;
    let version = match version {
        b"HTTP/1.1 " => Version::Http11,
        b"HTTP/1.0 " => Version::Http10,
        _ => return Err(Refusal::StatusLine),
    };
    let (code, reason) = rest.split_at_checked(3).ok_or(Refusal::StatusLine)?;
    let is_plain = code.iter().all(u8::is_ascii_digit)
        && matches!(code.first(), Some(b'1'..=b'5'))
        && matches!(reason.first(), None | Some(b' '));
    let status = std::str::from_utf8(code).ok().filter(|_| is_plain);
    let status = status.and_then(|text| text.parse().ok()).ok_or(Refusal::StatusLine)?;
    Ok((version, status))
}

/// RFC 9112 §6.3, without its leniencies.
fn body(
    status: u16,
    asked: Asked,
    version: Version,
    fields: &Fields<'_>,
) -> Result<ResponseBody, Refusal> {
    if fields.transfer_encoding.is_some() && version == Version::Http10 {
        return Err(Refusal::OldChunked);
    }
    match (status, asked) {
        (101, Asked::WebSocket) => {
            let is_websocket =
                fields.upgrade.is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"));
            if !is_websocket || !fields.connection.upgrade {
                return Err(Refusal::SwitchUnasked);
            }
            bodiless(fields)?;
            Ok(ResponseBody::Tunnel)
        }
        (101, Asked::Plain | Asked::Head) => Err(Refusal::SwitchUnasked),
        (204, _) => {
            bodiless(fields)?;
            Ok(ResponseBody::Framed(Framing::None))
        }
        (304, _) | (_, Asked::Head) => {
            // Their framing is that of another answer, but it must be one.
            fields.framing()?;
            Ok(ResponseBody::Framed(Framing::None))
        }
        (_, Asked::Plain | Asked::WebSocket) => Ok(match fields.framing()? {
            Framing::None => ResponseBody::UntilClose,
            Framing::Length(bytes) => ResponseBody::Framed(Framing::Length(bytes)),
            Framing::Chunked => ResponseBody::Framed(Framing::Chunked),
        }),
    }
}

/// A body where none can be would be read as the next response. A length of zero is common, and harmless.
fn bodiless(fields: &Fields<'_>) -> Result<(), Refusal> {
    match fields.framing()? {
        Framing::None | Framing::Length(0) => Ok(()),
        Framing::Length(_) | Framing::Chunked => Err(Refusal::BodyOfBodilessResponse),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(asked: Asked, text: &str) -> Result<ResponseReading, Refusal> {
        ResponseGate::new(asked, Limits::RESPONSE).read(text.as_bytes())
    }

    fn body_of(asked: Asked, text: &str) -> Result<ResponseBody, Refusal> {
        match read(asked, text)? {
            ResponseReading::Final(head) => Ok(head.body),
            ResponseReading::Partial | ResponseReading::Interim { .. } => panic!("{text:?}"),
        }
    }

    #[test]
    fn a_plain_answer_says_where_it_ends() {
        for (asked, head, expected) in [
            (Asked::Plain, "200 OK\r\nContent-Length: 5", ResponseBody::Framed(Framing::Length(5))),
            (
                Asked::Plain,
                "200 OK\r\nTransfer-Encoding: chunked",
                ResponseBody::Framed(Framing::Chunked),
            ),
            (Asked::Plain, "200\r\nX: y", ResponseBody::UntilClose),
            (
                Asked::Plain,
                "204 No Content\r\nContent-Length: 0",
                ResponseBody::Framed(Framing::None),
            ),
            (
                Asked::Plain,
                "304 Not Modified\r\nContent-Length: 9",
                ResponseBody::Framed(Framing::None),
            ),
            (Asked::Head, "200 OK\r\nContent-Length: 9", ResponseBody::Framed(Framing::None)),
            (
                Asked::WebSocket,
                "403 No\r\nContent-Length: 2",
                ResponseBody::Framed(Framing::Length(2)),
            ),
            (
                Asked::WebSocket,
                "101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket",
                ResponseBody::Tunnel,
            ),
        ] {
            assert_eq!(body_of(asked, &format!("HTTP/1.1 {head}\r\n\r\n")), Ok(expected), "{head}");
        }
    }

    #[test]
    fn an_answer_whose_end_is_disputed_is_refused() {
        for (head, refusal) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
                Refusal::TwoFramings,
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5", Refusal::Repeated),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5", Refusal::ContentLength),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked", Refusal::TransferEncoding),
            ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked", Refusal::OldChunked),
            ("HTTP/1.1 204 No\r\nContent-Length: 5", Refusal::BodyOfBodilessResponse),
            ("HTTP/1.1 103 Hints\r\nTransfer-Encoding: chunked", Refusal::BodyOfBodilessResponse),
            ("HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket", Refusal::SwitchUnasked),
            ("HTTP/1.1 200 OK\r\nX : y", Refusal::HeaderName),
            ("HTTP/1.1 200 OK\r\n x: y", Refusal::Fold),
            ("HTTP/1.1\t200 OK", Refusal::StatusLine),
            ("HTTP/1.1  200 OK", Refusal::StatusLine),
            ("HTTP/1.1 20 OK", Refusal::StatusLine),
            ("HTTP/1.1 2000 OK", Refusal::StatusLine),
            ("HTTP/1.1 999 OK", Refusal::StatusLine),
            ("HTTP/0.9 200 OK", Refusal::StatusLine),
            ("HTTP/2.0 200 OK", Refusal::StatusLine),
            ("ICE/1.0 200 OK", Refusal::StatusLine),
            ("", Refusal::StatusLine),
        ] {
            let text = format!("{head}\r\n\r\n");
            assert_eq!(read(Asked::Plain, &text), Err(refusal), "{head:?}");
        }
    }

    #[test]
    fn a_decoded_answer_is_held_to_the_same_rules() {
        let check = |status, version, fields: &[(&str, &str)]| {
            let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            check_response(status, version, Asked::Plain, fields).map(|head| head.body)
        };
        let (length, chunked) = (("content-length", "5"), ("transfer-encoding", "chunked"));
        let framed = |framing| Ok(ResponseBody::Framed(framing));
        assert_eq!(check(200, Version::Http11, &[length]), framed(Framing::Length(5)));
        assert_eq!(check(200, Version::Http11, &[]), Ok(ResponseBody::UntilClose));
        assert_eq!(check(200, Version::Http2, &[]), framed(Framing::None));
        assert_eq!(check(103, Version::Http11, &[]), framed(Framing::None));
        for (status, version, fields, refusal) in [
            (200, Version::Http11, &[length, chunked][..], Refusal::TwoFramings),
            (200, Version::Http11, &[length, length], Refusal::Repeated),
            (103, Version::Http11, &[length], Refusal::BodyOfBodilessResponse),
            (101, Version::Http11, &[("upgrade", "websocket")], Refusal::SwitchUnasked),
            (200, Version::Http2, &[chunked], Refusal::ConnectionHeader),
            (200, Version::Http11, &[("x", "a\nb")], Refusal::HeaderValue),
            (200, Version::Http11, &[("x y", "a")], Refusal::HeaderName),
        ] {
            assert_eq!(check(status, version, fields), Err(refusal), "{fields:?}");
        }
    }

    #[test]
    fn interim_answers_are_counted() {
        let mut gate = ResponseGate::new(Asked::Plain, Limits::RESPONSE);
        let hint = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
        for _ in 0..INTERIM_MAX {
            let interim = ResponseReading::Interim { status: 103, bytes: hint.len() };
            assert_eq!(gate.read(hint), Ok(interim));
        }
        assert_eq!(gate.read(hint), Err(Refusal::TooManyInterim));
    }

    #[test]
    fn only_a_whole_undisputed_answer_leaves_the_connection_reusable() {
        let head = |text: &str| match read(Asked::Plain, text) {
            Ok(ResponseReading::Final(head)) => head,
            other => panic!("{text:?}: {other:?}"),
        };
        let framed = head("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
        let mut body = BodyGate::new(Framing::Length(2));
        assert!(!framed.leaves_reusable(&body, 0), "the body is missing");
        body.push(b"ok").unwrap();
        assert!(framed.leaves_reusable(&body, 0));
        assert!(!framed.leaves_reusable(&body, 1), "a byte too many");
        let closing = head("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n");
        assert!(!closing.leaves_reusable(&body, 0));
        let old = head("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n");
        assert!(!old.leaves_reusable(&body, 0));
        let endless = head("HTTP/1.1 200 OK\r\n\r\n");
        assert!(!endless.leaves_reusable(&body, 0));
    }
}
