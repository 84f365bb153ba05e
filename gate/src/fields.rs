//! Header fields: what a line must look like, and what the ones that frame and route say together.
//!
//! Not here: fields that only tools and policies read. Invariant: a name that some reader could take for one that
//! frames or routes is that very name or refused, and each of those comes at most once (RFC 9112 §§5, 6).

use crate::Refusal;
use crate::lines::is_control;

/// How long a message body is (RFC 9112 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No length is announced: no body, or in HTTP/2 one that its frames end.
    None,
    Length(u64),
    Chunked,
}

impl Framing {
    pub(crate) fn has_body(self) -> bool {
        match self {
            Framing::None | Framing::Length(0) => false,
            Framing::Length(_) | Framing::Chunked => true,
        }
    }
}

/// One header line, cut in two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) value: &'a [u8],
}

impl<'a> Field<'a> {
    /// Cuts a line that was scanned, so that its value holds no control byte but HTAB. Bytes from 0x80 pass: they are
    /// opaque to HTTP (RFC 9110 §5.5) and delimit nothing.
    pub(crate) fn parse(line: &'a [u8]) -> Result<Self, Refusal> {
        if line.first().is_some_and(|&byte| is_blank(byte)) {
            return Err(Refusal::Fold);
        }
        let colon = line.iter().position(|&byte| byte == b':').ok_or(Refusal::HeaderName)?;
        let (name, rest) = line.split_at_checked(colon).ok_or(Refusal::HeaderName)?;
        if !is_name(name) {
            return Err(Refusal::HeaderName);
        }
        let value = rest.strip_prefix(b":").unwrap_or_default();
        Ok(Self { name, value: trim(value) })
    }

    /// A field that was taken apart elsewhere: its value has no edge and no line end that would be read anew.
    pub(crate) fn decoded(name: &'a [u8], value: &'a [u8]) -> Result<Self, Refusal> {
        if !is_name(name) {
            return Err(Refusal::HeaderName);
        }
        if trim(value).len() != value.len() || value.iter().any(|&byte| is_control(byte)) {
            return Err(Refusal::HeaderValue);
        }
        Ok(Self { name, value })
    }
}

/// The fields that decide something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    ContentLength,
    TransferEncoding,
    Host,
    Upgrade,
    Expect,
    ContentType,
    Authorization,
    ProxyAuthorization,
    WebSocketKey,
    WebSocketVersion,
    Connection,
    KeepAlive,
    ProxyConnection,
    Te,
}

const NAMES: [(&str, Known); 14] = [
    ("content-length", Known::ContentLength),
    ("transfer-encoding", Known::TransferEncoding),
    ("host", Known::Host),
    ("upgrade", Known::Upgrade),
    ("expect", Known::Expect),
    ("content-type", Known::ContentType),
    ("authorization", Known::Authorization),
    ("proxy-authorization", Known::ProxyAuthorization),
    ("sec-websocket-key", Known::WebSocketKey),
    ("sec-websocket-version", Known::WebSocketVersion),
    ("connection", Known::Connection),
    ("keep-alive", Known::KeepAlive),
    ("proxy-connection", Known::ProxyConnection),
    ("te", Known::Te),
];

/// Names that must not be resembled: servers that turn names into variables merge punctuation.
const UNMISTAKABLE: [&str; 6] =
    ["contentlength", "transferencoding", "host", "connection", "upgrade", "expect"];

/// Beginnings of names that the door takes away or answers for; spelled with `_` they would get past it to servers
/// that read `_` and `-` alike.
const GUARDED: [&str; 5] = ["aegis-", "proxy-auth", "sec-websocket-", "x-forwarded-", "x-real-ip"];

/// Headers by which some servers take another method or path than the first line's.
const OVERRIDES: [&str; 7] = [
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-method",
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
];

/// Whether a name is one of those above, or would like to be.
pub(crate) fn recognise(name: &[u8]) -> Result<Option<Known>, Refusal> {
    let known = NAMES.iter().find(|(text, _)| name.eq_ignore_ascii_case(text.as_bytes()));
    if let Some((_, known)) = known {
        return Ok(Some(*known));
    }
    let is_disguised = name.contains(&b'_') && GUARDED.iter().any(|text| begins_like(name, text));
    if is_disguised || UNMISTAKABLE.iter().any(|text| has_letters_of(name, text)) {
        return Err(Refusal::LookAlike);
    }
    if OVERRIDES.iter().any(|text| name.len() == text.len() && begins_like(name, text)) {
        return Err(Refusal::Override);
    }
    Ok(None)
}

/// Whether dropping all that is no letter leaves `text`.
fn has_letters_of(name: &[u8], text: &str) -> bool {
    let letters = name.iter().filter(|byte| byte.is_ascii_alphabetic());
    letters.map(u8::to_ascii_lowercase).eq(text.bytes())
}

/// Whether the name begins with `text` to a reader that takes `_` for `-`.
fn begins_like(name: &[u8], text: &str) -> bool {
    let hyphened = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    name.get(..text.len()).is_some_and(|start| start.iter().map(hyphened).eq(text.bytes()))
}

/// What the known fields of one head said.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fields<'a> {
    pub(crate) content_length: Option<&'a [u8]>,
    pub(crate) transfer_encoding: Option<&'a [u8]>,
    pub(crate) host: Option<&'a [u8]>,
    pub(crate) upgrade: Option<&'a [u8]>,
    pub(crate) expect: Option<&'a [u8]>,
    pub(crate) websocket_key: Option<&'a [u8]>,
    pub(crate) websocket_version: Option<&'a [u8]>,
    content_type: Option<&'a [u8]>,
    authorization: Option<&'a [u8]>,
    proxy_authorization: Option<&'a [u8]>,
    pub(crate) connection: Connection,
}

/// The options of all `Connection` fields together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Connection {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
    /// A name that is no option: a hop that obeys would drop that field.
    pub(crate) other: bool,
}

impl<'a> Fields<'a> {
    pub(crate) fn take(&mut self, field: Field<'a>) -> Result<Option<Known>, Refusal> {
        let Some(known) = recognise(field.name)? else { return Ok(None) };
        let slot = match known {
            Known::ContentLength => &mut self.content_length,
            Known::TransferEncoding => &mut self.transfer_encoding,
            Known::Host => &mut self.host,
            Known::Upgrade => &mut self.upgrade,
            Known::Expect => &mut self.expect,
            Known::ContentType => &mut self.content_type,
            Known::Authorization => &mut self.authorization,
            Known::ProxyAuthorization => &mut self.proxy_authorization,
            Known::WebSocketKey => &mut self.websocket_key,
            Known::WebSocketVersion => &mut self.websocket_version,
            Known::Connection => {
                self.connection.take(field.value);
                return Ok(Some(known));
            }
            Known::KeepAlive | Known::ProxyConnection | Known::Te => return Ok(Some(known)),
        };
        match slot.replace(field.value) {
            None => Ok(Some(known)),
            Some(_) => Err(Refusal::Repeated),
        }
    }

    /// In a response only framing counts; what asks for another method there asks nobody.
    pub(crate) fn take_of_response(&mut self, field: Field<'a>) -> Result<(), Refusal> {
        match recognise(field.name) {
            Ok(Some(
                Known::ContentLength | Known::TransferEncoding | Known::Upgrade | Known::Connection,
            )) => self.take(field).map(|_| ()),
            Ok(Some(_) | None) | Err(Refusal::Override) => Ok(()),
            Err(refusal) => Err(refusal),
        }
    }

    pub(crate) fn framing(&self) -> Result<Framing, Refusal> {
        match (self.content_length, self.transfer_encoding) {
            (None, None) => Ok(Framing::None),
            (Some(digits), None) => parse_length(digits).map(Framing::Length),
            (None, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
            (None, Some(_)) => Err(Refusal::TransferEncoding),
            (Some(_), Some(_)) => Err(Refusal::TwoFramings),
        }
    }
}

impl Connection {
    fn take(&mut self, list: &[u8]) {
        for option in list.split(|&byte| byte == b',').map(trim) {
            let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
            self.close |= is("close");
            self.keep_alive |= is("keep-alive");
            self.upgrade |= is("upgrade");
            self.other |= !["close", "keep-alive", "upgrade", "te"].into_iter().any(is);
        }
    }
}

/// Digits only, without leading zeros, and few enough that no reader's integer overflows.
fn parse_length(digits: &[u8]) -> Result<u64, Refusal> {
    let is_plain = digits.iter().all(u8::is_ascii_digit)
        && (1..=18).contains(&digits.len())
        && (digits.first() != Some(&b'0') || digits.len() == 1);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_plain);
    text.and_then(|text| text.parse().ok()).ok_or(Refusal::ContentLength)
}

/// Optional white space (RFC 9110 §5.6.3).
pub(crate) fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

pub(crate) fn trim(mut value: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = value
        && is_blank(*first)
    {
        value = rest;
    }
    while let [rest @ .., last] = value
        && is_blank(*last)
    {
        value = rest;
    }
    value
}

/// A token (RFC 9110 §5.6.2).
pub(crate) fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|&byte| is_tchar(byte))
}

fn is_tchar(byte: u8) -> bool {
    matches!(byte,
        b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'0'..=b'9' | b'A'..=b'Z' | b'^'..=b'z' | b'|' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(lines: &[&str]) -> Result<Framing, Refusal> {
        let mut fields = Fields::default();
        for line in lines {
            fields.take(Field::parse(line.as_bytes())?)?;
        }
        fields.framing()
    }

    #[test]
    fn a_name_is_a_token_and_its_colon_follows_at_once() {
        let field = Field::parse(b"X-A_b.c!:\t v \t").unwrap();
        assert_eq!((field.name, field.value), (&b"X-A_b.c!"[..], &b"v"[..]));
        assert_eq!(Field::parse(b"a:").unwrap().value, b"");
        assert_eq!(Field::parse(b"a: caf\xe9").unwrap().value, b"caf\xe9");
        for line in ["a : b", ": b", "a", "a b: c", "a\u{e9}: b", "a\t: b", "(a): b"] {
            assert_eq!(Field::parse(line.as_bytes()).err(), Some(Refusal::HeaderName), "{line}");
        }
        for line in [" a: b", "\ta: b"] {
            assert_eq!(Field::parse(line.as_bytes()).err(), Some(Refusal::Fold), "{line}");
        }
    }

    #[test]
    fn a_length_is_one_plain_number() {
        assert_eq!(framing(&["Content-Length: 0"]), Ok(Framing::Length(0)));
        assert_eq!(framing(&["cONTENT-lENGTH:\t42  "]), Ok(Framing::Length(42)));
        let most = "9".repeat(18);
        assert!(framing(&[&format!("content-length: {most}")]).is_ok());
        for value in [
            "",
            "+2",
            "-2",
            "0x2",
            "2, 2",
            "2 2",
            "2;",
            "02",
            "00",
            "1e3",
            "٢",
            &format!("{most}9"),
        ] {
            let refused = framing(&[&format!("content-length: {value}")]);
            assert_eq!(refused, Err(Refusal::ContentLength), "{value}");
        }
    }

    #[test]
    fn chunked_stands_alone() {
        assert_eq!(framing(&["Transfer-Encoding: cHuNkEd"]), Ok(Framing::Chunked));
        for value in [
            "",
            "gzip, chunked",
            "chunked, identity",
            "xchunked",
            "\"chunked\"",
            "chunked;a",
            "chunked,",
        ] {
            let refused = framing(&[&format!("transfer-encoding: {value}")]);
            assert_eq!(refused, Err(Refusal::TransferEncoding), "{value}");
        }
        assert_eq!(
            framing(&["content-length: 2", "transfer-encoding: chunked"]),
            Err(Refusal::TwoFramings)
        );
    }

    #[test]
    fn what_may_come_once_comes_once() {
        for name in [
            "content-length",
            "Transfer-Encoding",
            "host",
            "content-type",
            "authorization",
            "expect",
        ] {
            let line = format!("{name}: 1");
            assert_eq!(framing(&[&line, &line]), Err(Refusal::Repeated), "{name}");
        }
    }

    #[test]
    fn a_name_that_resembles_one_that_frames_or_routes_is_refused() {
        for name in [
            "Transfer_Encoding",
            "transfer--encoding",
            "Transfer-Encoding-",
            "content_length",
            "Content.Length",
            "-Content-Length",
            "content-length1",
            "h-o-s-t",
            "Host_",
            "_connection",
            "up-grade",
            "Expect'",
            "Aegis_Attestation",
            "x_forwarded_for",
            "X-Forwarded_Host",
            "proxy_authorization",
        ] {
            assert_eq!(recognise(name.as_bytes()), Err(Refusal::LookAlike), "{name}");
        }
        for name in [
            "content-length-x",
            "x-host",
            "contentlengths",
            "proxy-connection",
            "accept",
            "dclk_imp",
            "x-forwarded-for",
            "aegis-authorization",
        ] {
            assert!(recognise(name.as_bytes()).is_ok(), "{name}");
        }
        for name in ["X-HTTP-Method-Override", "x_http_method_override", "X-Rewrite-URL"] {
            assert_eq!(recognise(name.as_bytes()), Err(Refusal::Override), "{name}");
        }
    }
}
