//! The first strict reading of an HTTP/1 request head, before Pingora sees it.
//!
//! Not here: reading bytes off the socket (`front`) and HTTP/2, whose framing the h2 library checks.
//! Invariant: what passes has exactly one framing, one Host and plain line endings (RFC 9112 §§2.2, 3.2, 6.1).

use aegis_config::{HEADERS_CEILING, HeadLimits};
use aegis_domain::Reason;

/// What is known of the bytes read so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadState {
    /// More bytes are needed.
    Partial,
    /// The client speaks HTTP/2 without TLS (RFC 9113 §3.4).
    Http2Preface,
    /// A whole, acceptable HTTP/1 head of this many bytes.
    Complete { bytes: usize },
    /// The same, and it asks for a tunnel.
    Connect,
}

/// Where a request comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On a socket of ours, where we are a server and a proxy.
    Listener,
    /// In a tunnel, where we are the one origin it was opened for.
    Tunnel,
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Looks at the first bytes of a connection or of its next request.
pub(super) fn inspect(bytes: &[u8], limits: HeadLimits, place: Place) -> Result<HeadState, Reason> {
    if bytes.starts_with(PREFACE) {
        return Ok(HeadState::Http2Preface);
    }
    if !bytes.is_empty() && PREFACE.starts_with(bytes) {
        return Ok(HeadState::Partial);
    }
    let mut slots = [httparse::EMPTY_HEADER; HEADERS_CEILING];
    let mut request = httparse::Request::new(&mut slots);
    match request.parse(bytes) {
        Ok(httparse::Status::Partial) if bytes.len() > limits.bytes_max => {
            Err(Reason::HeadTooLarge)
        }
        Ok(httparse::Status::Partial) => Ok(HeadState::Partial),
        Ok(httparse::Status::Complete(length)) if length > limits.bytes_max => {
            Err(Reason::HeadTooLarge)
        }
        Ok(httparse::Status::Complete(length)) => {
            has_plain_lines(bytes.get(..length).unwrap_or_default())?;
            check_request(&request, limits)?;
            check_target(&request, place)?;
            match request.method {
                Some("CONNECT") => Ok(HeadState::Connect),
                Some(_) | None => Ok(HeadState::Complete { bytes: length }),
            }
        }
        Err(httparse::Error::TooManyHeaders) => Err(Reason::HeadTooLarge),
        Err(_) => Err(Reason::MalformedRequest),
    }
}

/// Every LF has its CR, and no CR stands alone: peers disagree on the rest.
fn has_plain_lines(head: &[u8]) -> Result<(), Reason> {
    let mut previous = 0;
    for &byte in head {
        if (byte == b'\n') != (previous == b'\r') {
            return Err(Reason::MalformedRequest);
        }
        previous = byte;
    }
    Ok(())
}

fn check_request(request: &httparse::Request<'_, '_>, limits: HeadLimits) -> Result<(), Reason> {
    if request.headers.len() > limits.headers_max {
        return Err(Reason::HeadTooLarge);
    }
    let count = |name: &str| {
        request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name)).count()
    };
    let (lengths, encodings) = (count("content-length"), count("transfer-encoding"));
    let hosts_wrong = count("host") > 1 || (count("host") == 0 && request.version == Some(1));
    let is_old_and_chunked = request.version == Some(0) && encodings > 0;
    if hosts_wrong
        || lengths > 1
        || encodings > 1
        || (lengths + encodings) > 1
        || is_old_and_chunked
    {
        return Err(Reason::MalformedRequest);
    }
    request.headers.iter().try_for_each(check_framing_value)
}

/// The forms of RFC 9112 §3.2 that are meant here; a target that names a host names the one in `Host`.
fn check_target(request: &httparse::Request<'_, '_>, place: Place) -> Result<(), Reason> {
    let path = request.path.ok_or(Reason::MalformedRequest)?;
    let host = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("host"));
    let is_host =
        |name: &str| host.is_some_and(|header| header.value.eq_ignore_ascii_case(name.as_bytes()));
    let has_body = request.headers.iter().any(|header| {
        let name = header.name;
        name.eq_ignore_ascii_case("transfer-encoding")
            || (name.eq_ignore_ascii_case("content-length") && header.value != b"0")
    });
    let is_fine = match (request.method, place) {
        (Some("TRACE" | "TRACK") | None, _) => false,
        (Some("CONNECT"), Place::Tunnel) => false,
        // Python's standard library asks in HTTP/1.0, without a Host; others leave the port out of theirs.
        (Some("CONNECT"), Place::Listener) => {
            let name = path.rsplit_once(':').map_or(path, |(name, _)| name);
            (host.is_none() || is_host(path) || is_host(name)) && !has_body
        }
        (Some(_), _) if path.starts_with('/') => true,
        (Some(_), Place::Listener) => {
            let rest = path.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://"));
            let authority = rest.and_then(|_| path.get(7..)?.split(['/', '?', '#']).next());
            authority.is_some_and(is_host)
        }
        (Some(_), Place::Tunnel) => false,
    };
    if is_fine { Ok(()) } else { Err(Reason::MalformedRequest) }
}

/// Framing headers in their one canonical spelling, and no header value with control bytes.
fn check_framing_value(header: &httparse::Header<'_>) -> Result<(), Reason> {
    let is_fine = if header.name.eq_ignore_ascii_case("content-length") {
        (1..=18).contains(&header.value.len()) && header.value.iter().all(u8::is_ascii_digit)
    } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
        header.value.eq_ignore_ascii_case(b"chunked")
    } else {
        header.value.iter().all(|&byte| byte == b'\t' || (byte >= 0x20 && byte != 0x7f))
    };
    if is_fine { Ok(()) } else { Err(Reason::MalformedRequest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes_max: 1_024, headers_max: 16 };

    fn judge(text: &str) -> Result<HeadState, Reason> {
        inspect(text.as_bytes(), LIMITS, Place::Listener)
    }

    #[test]
    fn a_plain_head_passes_and_its_length_leaves_the_body_alone() {
        let head = "POST /pay/x HTTP/1.1\r\nHost: gw\r\nContent-Length: 2\r\n\r\n";
        assert_eq!(judge(&format!("{head}ab")), Ok(HeadState::Complete { bytes: head.len() }));
        assert_eq!(judge("POST /pay/x HTTP/1.1\r\nHost:"), Ok(HeadState::Partial));
        assert_eq!(judge("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Ok(HeadState::Http2Preface));
        assert_eq!(judge("PRI * HT"), Ok(HeadState::Partial));
    }

    #[test]
    fn ambiguous_framing_is_refused() {
        for headers in [
            "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 2\r\nContent-Length: 2\r\n",
            "Content-Length: 2, 2\r\n",
            "Content-Length: +2\r\n",
            "Content-Length: 0x2\r\n",
            "Content-Length:\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding : chunked\r\n",
            "Transfer-Encoding:\u{b}chunked\r\n",
            "X: a\r\n b\r\n",
            "X: a\u{0}b\r\n",
            "Host: other\r\n",
        ] {
            let head = format!("POST / HTTP/1.1\r\nHost: gw\r\n{headers}\r\n");
            assert_eq!(judge(&head), Err(Reason::MalformedRequest), "{headers:?}");
        }
    }

    #[test]
    fn line_endings_targets_and_methods_are_plain() {
        for head in [
            "GET / HTTP/1.1\nHost: gw\n\n",
            "GET / HTTP/1.1\r\nHost: gw\r\nX: a\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET http://other/ HTTP/1.1\r\nHost: gw\r\n\r\n",
            "GET https://gw/ HTTP/1.1\r\nHost: gw\r\n\r\n",
            "CONNECT a:443 HTTP/1.1\r\nHost: b:443\r\n\r\n",
            "CONNECT a:443 HTTP/1.1\r\nHost: a:444\r\n\r\n",
            "CONNECT a:443 HTTP/1.1\r\n\r\n",
            "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nContent-Length: 5\r\n\r\n",
            "TRACE / HTTP/1.1\r\nHost: gw\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: gw\r\n\r\n",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert_eq!(judge(head), Err(Reason::MalformedRequest), "{head:?}");
        }
    }

    #[test]
    fn a_proxy_is_asked_by_absolute_form_or_connect_and_a_tunnel_is_not() {
        let absolute = "GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n";
        assert!(matches!(judge(absolute), Ok(HeadState::Complete { .. })));
        let connect = "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n";
        for version in [connect, "CONNECT a.test:443 HTTP/1.0\r\n\r\n"] {
            assert_eq!(judge(version), Ok(HeadState::Connect));
        }
        assert_eq!(judge(&connect.replace("t:443\r\n\r", "t\r\n\r")), Ok(HeadState::Connect));
        for head in [absolute, connect] {
            let inside = inspect(head.as_bytes(), LIMITS, Place::Tunnel);
            assert_eq!(inside, Err(Reason::MalformedRequest), "{head}");
        }
    }

    #[test]
    fn a_head_over_its_limits_is_refused_before_it_ends() {
        let endless = format!("GET / HTTP/1.1\r\nHost: gw\r\nX: {}", "a".repeat(1_024));
        assert_eq!(judge(&endless), Err(Reason::HeadTooLarge));
        let many = "A: b\r\n".repeat(16);
        assert_eq!(
            judge(&format!("GET / HTTP/1.1\r\nHost: gw\r\n{many}\r\n")),
            Err(Reason::HeadTooLarge)
        );
    }
}
