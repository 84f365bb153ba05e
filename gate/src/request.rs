//! The head of an HTTP/1 request, read once and strictly, while its bytes arrive.
//!
//! Not here: HTTP/2 (`http2`), bodies (`body`), what becomes of the connection (`connection`), and who may ask for what. Invariant: a head that is returned has one
//! framing, one authority, one method and one path for every conforming reader (RFC 9112 §§2.2, 3.2, 6.1).

use crate::connection::{Persistence, Upgrade, persistence, upgrade};
use crate::fields::{Field, Fields};
use crate::lines::{FirstLine, LineScan, Scanned, lines};
use crate::method::parse_method;
use crate::target::IsConnect;
use crate::{Authority, Framing, Limits, Refusal, Target};

/// Reads one head from a buffer that grows.
#[derive(Clone, Debug)]
pub struct HeadGate {
    scan: LineScan,
    limits: Limits,
}

/// What is known of the bytes so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading<'a> {
    /// More bytes are needed.
    Partial,
    /// The client speaks HTTP/2 with prior knowledge (RFC 9113 §3.4).
    Http2Preface,
    Complete(Head<'a>),
}

/// A request head that may go on to be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    pub method: &'a str,
    pub target: Target<'a>,
    /// What `Host`, `:authority` and the target agree on; in the spelling of `Host` if the target is absolute.
    pub authority: Authority<'a>,
    pub version: Version,
    pub framing: Framing,
    pub upgrade: Upgrade,
    /// The client waits for a `100` before it sends its body; one of HTTP/1.0 never does.
    pub expects_continue: bool,
    pub persistence: Persistence,
    /// How many bytes of the buffer the head takes; none in HTTP/2.
    pub bytes: usize,
    raw: &'a [u8],
    raw_target: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http10,
    Http11,
    Http2,
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl HeadGate {
    pub fn new(limits: Limits) -> Self {
        Self { scan: LineScan::new(FirstLine::Request, limits), limits }
    }

    /// Goes on where the last call stopped. `buffer` begins with all that it was given before.
    pub fn read<'a>(&mut self, buffer: &'a [u8]) -> Result<Reading<'a>, Refusal> {
        if buffer.starts_with(PREFACE) {
            return Ok(Reading::Http2Preface);
        }
        if PREFACE.starts_with(buffer) {
            return Ok(Reading::Partial);
        }
        match self.scan.scan(buffer)? {
            Scanned::Partial => Ok(Reading::Partial),
            Scanned::Complete { bytes } => {
                let raw = buffer.get(..bytes).unwrap_or_default();
                Head::parse(raw, self.limits).map(Reading::Complete)
            }
        }
    }
}

impl<'a> Head<'a> {
    /// Reads a buffer in one go.
    pub fn read(buffer: &'a [u8], limits: Limits) -> Result<Reading<'a>, Refusal> {
        HeadGate::new(limits).read(buffer)
    }

    /// The head anew with its target in normal form, or `None` where it came so: this is what a second reader of the
    /// same bytes must be given, or it would see another target than the one that is judged. A host in it is spelled as
    /// in `Host`: readers that compare bytes would refuse `http://a:80/` beside `Host: A`, which are the same.
    pub fn rewritten(&self) -> Option<Vec<u8>> {
        let target = self.target.write(self.authority);
        let is_rewritten = !self.raw.is_empty() && target.as_bytes() != self.raw_target;
        let before = self.method.len().saturating_add(1);
        let after = before.saturating_add(self.raw_target.len());
        let parts = (self.raw.get(..before), self.raw.get(after..));
        let (Some(start), Some(rest)) = parts else { return None };
        is_rewritten.then(|| [start, target.as_bytes(), rest].concat())
    }

    fn parse(raw: &'a [u8], limits: Limits) -> Result<Self, Refusal> {
        let mut lines = lines(raw);
        let start = StartLine::parse(lines.next().unwrap_or_default(), limits)?;
        let mut fields = Fields::default();
        for line in lines {
            fields.take(Field::parse(line)?)?;
        }
        if fields.connection.other {
            return Err(Refusal::ConnectionOption);
        }
        let is_connect = if start.method == "CONNECT" { IsConnect::Yes } else { IsConnect::No };
        let target = Target::parse(start.target, is_connect)?;
        let authority = authority(&target, &fields, start.version)?;
        let framing = framing(&fields, start)?;
        Ok(Self {
            method: start.method,
            target,
            authority,
            version: start.version,
            framing,
            upgrade: upgrade(&fields, (start.method, start.version), framing)?,
            expects_continue: expects_continue(&fields, framing)?
                && start.version == Version::Http11,
            persistence: persistence(&fields, start.version),
            bytes: raw.len(),
            raw,
            raw_target: start.target,
        })
    }

    /// A head that came without bytes of its own, decoded by an HTTP/2 library.
    pub(crate) fn decoded(
        method: &'a str,
        target: Target<'a>,
        authority: Authority<'a>,
        fields: &Fields<'a>,
    ) -> Result<Self, Refusal> {
        let start = StartLine { method, target: b"", version: Version::Http2 };
        let framing = framing(fields, start)?;
        Ok(Self {
            method,
            target,
            authority,
            version: Version::Http2,
            framing,
            upgrade: Upgrade::No,
            expects_continue: fields.expect.is_some(),
            persistence: Persistence::KeepAlive,
            bytes: 0,
            raw: b"",
            raw_target: b"",
        })
    }
}

#[derive(Clone, Copy)]
struct StartLine<'a> {
    method: &'a str,
    target: &'a [u8],
    version: Version,
}

impl<'a> StartLine<'a> {
    fn parse(line: &'a [u8], limits: Limits) -> Result<Self, Refusal> {
        let mut parts = line.split(|&byte| byte == b' ');
        let parts = (parts.next(), parts.next(), parts.next(), parts.next());
        let (Some(method), Some(target), Some(version), None) = parts else {
            return Err(Refusal::StartLine);
        };
        if method.is_empty() || target.is_empty() {
            return Err(Refusal::StartLine);
        }
        if target.len() > limits.target_bytes_max {
            return Err(Refusal::TargetTooLong);
        }
        Ok(Self { method: parse_method(method)?, target, version: parse_version(version)? })
    }
}

/// A name and two numbers is some version; anything else is no version at all, as in HTTP/0.9.
fn parse_version(version: &[u8]) -> Result<Version, Refusal> {
    match version {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(Refusal::Version)
        }
        _ => Err(Refusal::StartLine),
    }
}

/// What `Host` and the target agree on (RFC 9112 §3.2, RFC 9110 §7.2).
fn authority<'a>(
    target: &Target<'a>,
    fields: &Fields<'a>,
    version: Version,
) -> Result<Authority<'a>, Refusal> {
    let host = fields.host.map(|value| std::str::from_utf8(value).map_err(|_| Refusal::Authority));
    let host = host.transpose()?.map(Authority::parse).transpose()?;
    let (named, default_port) = match target {
        Target::Origin(_) => return host.ok_or(Refusal::HostMissing),
        Target::Absolute { scheme, authority, .. } => (*authority, scheme.default_port()),
        // Clients leave the port out of `Host` here, whichever it is.
        Target::Authority { authority, port } => (*authority, *port),
    };
    match (host, target) {
        (Some(host), _) if !host.is_same(&named, default_port) => Err(Refusal::HostMismatch),
        (Some(host), Target::Absolute { .. }) => Ok(host),
        (Some(_), _) => Ok(named),
        // Python before 3.12 sends CONNECT in HTTP/1.0 and without a Host.
        (None, _) if version == Version::Http10 => Ok(named),
        (None, _) => Err(Refusal::HostMissing),
    }
}

/// The framing, for a method that may have a body: peers disagree whether GET and HEAD do (RFC 9110 §§9.3.1, 9.3.6).
fn framing(fields: &Fields<'_>, start: StartLine<'_>) -> Result<Framing, Refusal> {
    if fields.transfer_encoding.is_some() && start.version == Version::Http10 {
        return Err(Refusal::OldChunked);
    }
    let framing = fields.framing()?;
    let is_bodiless = matches!(start.method, "GET" | "HEAD" | "CONNECT");
    if is_bodiless && framing.has_body() {
        return Err(Refusal::BodyOfBodiless);
    }
    Ok(framing)
}

/// An expectation without a body to wait with has no meaning that peers share (RFC 9110 §10.1.1).
fn expects_continue(fields: &Fields<'_>, framing: Framing) -> Result<bool, Refusal> {
    match fields.expect {
        None => Ok(false),
        Some(value) if value.eq_ignore_ascii_case(b"100-continue") && framing.has_body() => {
            Ok(true)
        }
        Some(_) => Err(Refusal::Expect),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scheme;

    fn head(text: &str) -> Result<Head<'_>, Refusal> {
        match Head::read(text.as_bytes(), Limits::REQUEST)? {
            Reading::Complete(head) => Ok(head),
            Reading::Partial | Reading::Http2Preface => panic!("{text:?} is no whole head"),
        }
    }

    /// The refusal of a request line and header lines that are otherwise fine.
    fn refusal(lines: &[&str]) -> Option<Refusal> {
        head(&format!("{}\r\n\r\n", lines.join("\r\n"))).err()
    }

    #[test]
    fn a_plain_head_is_read_whole_and_its_body_left_alone() {
        let text = "POST /pay/x?a=1 HTTP/1.1\r\nHost: gw:8080\r\nContent-Length: 2\r\n\r\n";
        let with_body = format!("{text}ab");
        let head = head(&with_body).unwrap();
        assert_eq!((head.method, head.bytes), ("POST", text.len()));
        assert_eq!((head.authority.host(), head.authority.port()), ("gw", Some(8080)));
        assert_eq!((head.framing, head.upgrade), (Framing::Length(2), Upgrade::No));
        assert_eq!((head.persistence, head.rewritten()), (Persistence::KeepAlive, None));
    }

    #[test]
    fn a_connection_that_begins_with_the_preface_is_http2() {
        let read = |text: &'static str| Head::read(text.as_bytes(), Limits::REQUEST);
        assert_eq!(read("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nrest"), Ok(Reading::Http2Preface));
        assert_eq!(read("PRI * HTTP/2.0\r\n\r\n"), Ok(Reading::Partial));
        assert_eq!(read(""), Ok(Reading::Partial));
        assert_eq!(read("PRI * HTTP/2.0\r\n\r\nXM"), Err(Refusal::UnknownMethod));
    }

    #[test]
    fn a_start_line_is_three_words() {
        for (line, refused) in [
            ("GET / HTTP/1.1 ", Refusal::StartLine),
            ("GET  / HTTP/1.1", Refusal::StartLine),
            (" GET / HTTP/1.1", Refusal::StartLine),
            ("GET /a b HTTP/1.1", Refusal::StartLine),
            ("GET\t/ HTTP/1.1", Refusal::StartLine),
            ("GET /", Refusal::StartLine),
            ("GET / HTTP/1.10", Refusal::StartLine),
            ("GET / http/1.1", Refusal::StartLine),
            ("GET / ICE/1.0", Refusal::StartLine),
            ("GET / HTTP/0.9", Refusal::Version),
            ("GET / HTTP/1.2", Refusal::Version),
            ("GET / HTTP/2.0", Refusal::Version),
            ("get / HTTP/1.1", Refusal::Method),
            ("GE,T / HTTP/1.1", Refusal::Method),
            ("TRACE / HTTP/1.1", Refusal::EchoMethod),
            ("TRACK / HTTP/1.1", Refusal::EchoMethod),
        ] {
            assert_eq!(refusal(&[line, "Host: gw"]), Some(refused), "{line:?}");
        }
        assert_eq!(refusal(&["", "GET / HTTP/1.1", "Host: gw"]), Some(Refusal::StartLine));
    }

    #[test]
    fn an_absolute_target_goes_on_with_its_host_as_host_says_it() {
        for (target, host, written) in [
            ("http://A.test:80/x", "a.test", "http://a.test/x"),
            ("http://a.test?q", "A.test:80", "http://A.test:80/?q"),
            ("HTTP://a.test:81/", "a.TEST:81", "http://a.TEST:81/"),
        ] {
            let bytes = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let Ok(Reading::Complete(head)) = Head::read(bytes.as_bytes(), Limits::REQUEST) else {
                panic!("{target} is refused")
            };
            let expected = format!("GET {written} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(head.rewritten().as_deref(), Some(expected.as_bytes()), "{target}");
        }
    }

    #[test]
    fn host_is_there_once_and_agrees_with_the_target() {
        for (lines, refused) in [
            (&["GET / HTTP/1.1"][..], Some(Refusal::HostMissing)),
            (&["GET / HTTP/1.0"], Some(Refusal::HostMissing)),
            (&["GET / HTTP/1.1", "Host:"], Some(Refusal::Authority)),
            (&["GET / HTTP/1.1", "Host: a", "Host: a"], Some(Refusal::Repeated)),
            (&["GET / HTTP/1.1", "Host: a@b"], Some(Refusal::Authority)),
            (&["GET / HTTP/1.1", "Host: a, b"], Some(Refusal::Authority)),
            (&["GET http://a.test/x HTTP/1.1", "Host: A.test:80"], None),
            (&["GET http://a.test HTTP/1.1", "Host: a.test"], None),
            (&["GET https://a.test/ HTTP/1.1", "Host: a.test:443"], None),
            (&["GET http://a.test/ HTTP/1.0"], None),
            (&["GET http://a.test/ HTTP/1.1"], Some(Refusal::HostMissing)),
            (&["GET http://a.test/ HTTP/1.1", "Host: b.test"], Some(Refusal::HostMismatch)),
            (&["GET http://a.test/ HTTP/1.1", "Host: a.test:81"], Some(Refusal::HostMismatch)),
            (&["GET http://u@a.test/ HTTP/1.1", "Host: a.test"], Some(Refusal::Authority)),
            (&["GET http://a.test\\@b.test/ HTTP/1.1", "Host: a.test"], Some(Refusal::TargetByte)),
            (&["GET http:/a.test/ HTTP/1.1", "Host: a.test"], Some(Refusal::TargetForm)),
            (&["GET ftp://a.test/ HTTP/1.1", "Host: a.test"], Some(Refusal::TargetForm)),
            (&["GET a.test:80 HTTP/1.1", "Host: a.test:80"], Some(Refusal::TargetForm)),
            (&["OPTIONS * HTTP/1.1", "Host: a"], Some(Refusal::TargetForm)),
            (&["CONNECT a.test:443 HTTP/1.1", "Host: a.test:443"], None),
            (&["CONNECT a.test:443 HTTP/1.1", "Host: a.test"], None),
            (&["CONNECT a.test:443 HTTP/1.0"], None),
            (&["CONNECT a.test:443 HTTP/1.1"], Some(Refusal::HostMissing)),
            (&["CONNECT a.test:443 HTTP/1.1", "Host: b.test"], Some(Refusal::HostMismatch)),
            (&["CONNECT a.test HTTP/1.1", "Host: a.test"], Some(Refusal::PortMissing)),
            (&["CONNECT /x HTTP/1.1", "Host: a.test"], Some(Refusal::Authority)),
            (&["CONNECT http://a.test:80/ HTTP/1.1", "Host: a.test"], Some(Refusal::Authority)),
        ] {
            assert_eq!(refusal(lines), refused, "{lines:?}");
        }
    }

    #[test]
    fn a_body_is_only_where_everyone_expects_one() {
        let length = "Content-Length: 5";
        let chunked = "Transfer-Encoding: chunked";
        for (line, field, refused) in [
            ("GET / HTTP/1.1", length, Some(Refusal::BodyOfBodiless)),
            ("GET / HTTP/1.1", chunked, Some(Refusal::BodyOfBodiless)),
            ("HEAD / HTTP/1.1", length, Some(Refusal::BodyOfBodiless)),
            ("CONNECT gw:1 HTTP/1.1", length, Some(Refusal::BodyOfBodiless)),
            ("POST / HTTP/1.0", chunked, Some(Refusal::OldChunked)),
            ("GET / HTTP/1.1", "Content-Length: 0", None),
            ("POST / HTTP/1.0", length, None),
            ("DELETE / HTTP/1.1", length, None),
        ] {
            assert_eq!(refusal(&[line, "Host: gw", field]), refused, "{line} {field}");
        }
    }

    #[test]
    fn connection_names_options_and_no_header() {
        for value in ["close", "keep-alive, Upgrade", "TE", "upgrade,te"] {
            let line = format!("Connection: {value}");
            assert_eq!(refusal(&["GET / HTTP/1.1", "Host: gw", &line]), None, "{value}");
        }
        for value in
            ["Authorization", "close, host", "", "close,", "http2-settings", "content-length"]
        {
            let line = format!("Connection: {value}");
            let refused = refusal(&["GET / HTTP/1.1", "Host: gw", "Connection: close", &line]);
            assert_eq!(refused, Some(Refusal::ConnectionOption), "{value}");
        }
    }

    #[test]
    fn an_expectation_is_100_continue_before_a_body() {
        let expects = |lines: &[&str]| {
            head(&format!("{}\r\n\r\n", lines.join("\r\n"))).map(|head| head.expects_continue)
        };
        let (post, host, length) = ("POST / HTTP/1.1", "Host: gw", "Content-Length: 5");
        assert_eq!(expects(&[post, host, length, "Expect: 100-Continue"]), Ok(true));
        assert_eq!(expects(&[post, host, length]), Ok(false));
        let old = "POST / HTTP/1.0";
        assert_eq!(expects(&[old, host, length, "Expect: 100-continue"]), Ok(false));
        for lines in [
            &[post, host, length, "Expect: y 100-continue"][..],
            &[post, host, length, "Expect:"],
            &[post, host, "Expect: 100-continue"],
            &["GET / HTTP/1.1", host, "Expect: 100-continue"],
        ] {
            assert_eq!(refusal(lines), Some(Refusal::Expect), "{lines:?}");
        }
    }

    #[test]
    fn a_target_that_was_escaped_is_written_into_the_head() {
        let text = "GET http://a.test?q={x}#y HTTP/1.1\r\nHost: a.test\r\n\r\n";
        let head = head(text).unwrap();
        let plain = "GET http://a.test/?q=%7Bx%7D%23y HTTP/1.1\r\nHost: a.test\r\n\r\n";
        assert_eq!(head.rewritten().as_deref(), Some(plain.as_bytes()));
        let Target::Absolute { scheme, resource, .. } = head.target else { panic!() };
        assert_eq!((scheme, &*resource.path), (Scheme::Http, "/"));
    }
}
