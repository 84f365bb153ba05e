//! The head of an HTTP/2 request, as strictly as one of HTTP/1.
//!
//! Not here: floods (`frames`), and frames and HPACK, which the h2 library checks and bounds; it hands over what it decoded.
//! Invariant: what passes can be written as an HTTP/1 head without changing its meaning (RFC 9113 §§8.2, 8.3, 10.3).

use crate::fields::{Field, Fields, Known};
use crate::method::parse_method;
use crate::target::{IsConnect, Resource, Scheme};
use crate::{Authority, Head, Limits, Refusal, Target};

/// The pseudo headers of one request, and whether its stream goes on after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pseudo<'a> {
    pub method: &'a str,
    pub scheme: Option<&'a str>,
    pub authority: Option<&'a str>,
    pub path: Option<&'a str>,
    /// The HEADERS frame did not end the stream.
    pub has_body: bool,
}

/// What HPACK counts for a field beside its bytes (RFC 9113 §6.5.2).
const FIELD_OVERHEAD: usize = 32;

/// Checks one decoded request; `fields` are all others than the pseudo headers, in their order.
pub fn check_http2<'a>(
    pseudo: &Pseudo<'a>,
    fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    limits: Limits,
) -> Result<Head<'a>, Refusal> {
    let fields = check_fields(fields, limits)?;
    let method = parse_method(pseudo.method.as_bytes())?;
    let named = pseudo.authority.map(Authority::parse).transpose()?;
    let host = fields.host.map(|value| std::str::from_utf8(value).map_err(|_| Refusal::Authority));
    let host = host.transpose()?.map(Authority::parse).transpose()?;
    let authority = named.or(host).ok_or(Refusal::HostMissing)?;
    let (target, default_port) = target(pseudo, authority, limits)?;
    if host.is_some_and(|host| !host.is_same(&authority, default_port)) {
        return Err(Refusal::HostMismatch);
    }
    if pseudo.has_body && matches!(method, "GET" | "HEAD") {
        return Err(Refusal::BodyOfBodiless);
    }
    let is_expectation = |value: &[u8]| value.eq_ignore_ascii_case(b"100-continue");
    if fields.expect.is_some_and(|value| !is_expectation(value) || !pseudo.has_body) {
        return Err(Refusal::Expect);
    }
    Head::decoded(method, target, authority, &fields)
}

/// CONNECT has an authority and neither scheme nor path (RFC 9113 §8.5); every other method has all three.
fn target<'a>(
    pseudo: &Pseudo<'a>,
    authority: Authority<'a>,
    limits: Limits,
) -> Result<(Target<'a>, u16), Refusal> {
    match (pseudo.method, pseudo.scheme, pseudo.path) {
        ("CONNECT", None, None) => {
            let raw = pseudo.authority.ok_or(Refusal::PseudoHeader)?;
            let target = Target::parse(raw.as_bytes(), IsConnect::Yes)?;
            Ok((target, authority.port().ok_or(Refusal::PortMissing)?))
        }
        ("CONNECT", _, _) | (_, None, _) | (_, _, None) => Err(Refusal::PseudoHeader),
        (_, Some(_), Some(path)) if path.len() > limits.target_bytes_max => {
            Err(Refusal::TargetTooLong)
        }
        (_, Some(scheme), Some(path)) => {
            let scheme = Scheme::parse(scheme.as_bytes())?;
            let resource = Resource::parse(path.as_bytes())?;
            Ok((Target::Origin(resource), scheme.default_port()))
        }
    }
}

fn check_fields<'a>(
    list: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    limits: Limits,
) -> Result<Fields<'a>, Refusal> {
    let mut fields = Fields::default();
    let (mut count, mut bytes) = (0_usize, 0_usize);
    for (name, value) in list {
        count = count.saturating_add(1);
        let field_bytes = name.len().saturating_add(value.len()).saturating_add(FIELD_OVERHEAD);
        bytes = bytes.saturating_add(field_bytes);
        if count > limits.headers_max {
            return Err(Refusal::TooManyHeaders);
        }
        if name.len().saturating_add(value.len()) > limits.line_bytes_max {
            return Err(Refusal::LineTooLong);
        }
        if bytes > limits.head_bytes_max {
            return Err(Refusal::HeadTooLarge);
        }
        if name.iter().any(u8::is_ascii_uppercase) {
            return Err(Refusal::HeaderName);
        }
        let known = fields.take(Field::decoded(name, value)?)?;
        if known.is_some_and(|known| is_of_one_connection(known, value)) {
            return Err(Refusal::ConnectionHeader);
        }
    }
    Ok(fields)
}

/// Fields that HTTP/2 has no place for (RFC 9113 §8.2.2).
fn is_of_one_connection(known: Known, value: &[u8]) -> bool {
    match known {
        Known::TransferEncoding
        | Known::Upgrade
        | Known::Connection
        | Known::KeepAlive
        | Known::ProxyConnection => true,
        Known::Te => !value.eq_ignore_ascii_case(b"trailers"),
        Known::ContentLength
        | Known::Host
        | Known::Expect
        | Known::ContentType
        | Known::Authorization
        | Known::ProxyAuthorization
        | Known::WebSocketKey
        | Known::WebSocketVersion => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Framing, Version};

    const POST: Pseudo<'_> = Pseudo {
        method: "POST",
        scheme: Some("https"),
        authority: Some("api.test"),
        path: Some("/v1/x?a=1"),
        has_body: true,
    };

    fn check<'a>(pseudo: Pseudo<'a>, fields: &[(&'a str, &'a str)]) -> Result<Head<'a>, Refusal> {
        let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        check_http2(&pseudo, fields, Limits::REQUEST)
    }

    #[test]
    fn a_plain_request_passes() {
        let fields = [("content-length", "5"), ("te", "trailers"), ("host", "api.test:443")];
        let head = check(POST, &fields).unwrap();
        assert_eq!((head.method, head.version), ("POST", Version::Http2));
        assert_eq!((head.authority.host(), head.framing), ("api.test", Framing::Length(5)));
        assert_eq!(head.rewritten(), None);
        let Target::Origin(resource) = head.target else { panic!("{:?}", head.target) };
        assert_eq!((&*resource.path, resource.query.as_deref()), ("/v1/x", Some("a=1")));
    }

    #[test]
    fn what_http1_would_read_anew_is_refused() {
        for ((name, value), refusal) in [
            (("transfer-encoding", "chunked"), Refusal::ConnectionHeader),
            (("connection", "close"), Refusal::ConnectionHeader),
            (("keep-alive", "5"), Refusal::ConnectionHeader),
            (("proxy-connection", "close"), Refusal::ConnectionHeader),
            (("upgrade", "websocket"), Refusal::ConnectionHeader),
            (("te", "gzip"), Refusal::ConnectionHeader),
            (("transfer_encoding", "chunked"), Refusal::LookAlike),
            (("content-length", "+5"), Refusal::ContentLength),
            (("X-A", "b"), Refusal::HeaderName),
            (("x a", "b"), Refusal::HeaderName),
            ((":path", "/"), Refusal::HeaderName),
            (("", "b"), Refusal::HeaderName),
            (("x", "a\r\nb: c"), Refusal::HeaderValue),
            (("x", "a\nb"), Refusal::HeaderValue),
            (("x", "a\0b"), Refusal::HeaderValue),
            (("x", " a"), Refusal::HeaderValue),
            (("host", "other.test"), Refusal::HostMismatch),
            (("expect", "200-ok"), Refusal::Expect),
            (("x-original-url", "/admin"), Refusal::Override),
        ] {
            assert_eq!(check(POST, &[(name, value)]).err(), Some(refusal), "{name}: {value:?}");
        }
        let twice = [("content-length", "5"), ("content-length", "5")];
        assert_eq!(check(POST, &twice).err(), Some(Refusal::Repeated));
    }

    #[test]
    fn pseudo_headers_say_one_thing() {
        for (pseudo, refusal) in [
            (Pseudo { path: None, ..POST }, Refusal::PseudoHeader),
            (Pseudo { scheme: None, ..POST }, Refusal::PseudoHeader),
            (Pseudo { scheme: Some("ftp"), ..POST }, Refusal::TargetForm),
            (Pseudo { authority: None, ..POST }, Refusal::HostMissing),
            (Pseudo { authority: Some("u@api.test"), ..POST }, Refusal::Authority),
            (Pseudo { path: Some("*"), ..POST }, Refusal::TargetForm),
            (Pseudo { path: Some("/a/../b"), ..POST }, Refusal::DotSegment),
            (Pseudo { path: Some("/a b"), ..POST }, Refusal::TargetByte),
            (Pseudo { method: "TRACE", ..POST }, Refusal::EchoMethod),
            (Pseudo { method: "post", ..POST }, Refusal::Method),
            (Pseudo { method: "POST /x HTTP/1.1\r\nhost: a", ..POST }, Refusal::Method),
            (Pseudo { method: "GET", ..POST }, Refusal::BodyOfBodiless),
            (Pseudo { method: "CONNECT", ..POST }, Refusal::PseudoHeader),
        ] {
            assert_eq!(check(pseudo, &[]).err(), Some(refusal), "{pseudo:?}");
        }
        let tunnel = Pseudo {
            method: "CONNECT",
            scheme: None,
            authority: Some("api.test:443"),
            path: None,
            has_body: true,
        };
        assert!(check(tunnel, &[]).is_ok());
        let no_port = Pseudo { authority: Some("api.test"), ..tunnel };
        assert_eq!(check(no_port, &[]).err(), Some(Refusal::PortMissing));
    }

    #[test]
    fn sizes_are_bounded_as_in_http1() {
        let long = "a".repeat(9_000);
        let path = format!("/{long}");
        let refused = check(Pseudo { path: Some(&path), ..POST }, &[]);
        assert_eq!(refused.err(), Some(Refusal::TargetTooLong));
        let wide = "a".repeat(17 * 1_024);
        assert_eq!(check(POST, &[("x", &wide)]).err(), Some(Refusal::LineTooLong));
        let large = [("x", &*long); 4];
        assert_eq!(check(POST, &large).err(), Some(Refusal::HeadTooLarge));
        assert_eq!(check(POST, &[("x", "y"); 101]).err(), Some(Refusal::TooManyHeaders));
    }
}
