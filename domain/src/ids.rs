//! Names that people and machines give to things: parsed once, safe everywhere afterwards.
//!
//! Not here: what the names mean. Invariant: no id holds a byte that is unsafe in a route, a log line,
//! a file name, a Redis key or a header.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Why a text is not the id it was offered as. The text itself is never quoted: it may be caller data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("{what} is empty")]
    Empty { what: &'static str },
    #[error("{what} is longer than {max} bytes")]
    TooLong { what: &'static str, max: usize },
    #[error("{what} may hold only {allowed}")]
    Alphabet { what: &'static str, allowed: &'static str },
    #[error("{what} is not written in its one canonical form")]
    Form { what: &'static str },
}

fn checked(
    text: &str,
    what: &'static str,
    max: usize,
    allowed: &'static str,
    is_allowed: fn(u8) -> bool,
) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty { what });
    }
    if text.len() > max {
        return Err(IdError::TooLong { what, max });
    }
    if !text.bytes().all(is_allowed) {
        return Err(IdError::Alphabet { what, allowed });
    }
    Ok(())
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal, $allowed:literal, $is_allowed:expr
        $(, $has_form:path)?) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// The most bytes one may have.
            pub const MAX_BYTES: usize = $max;

            /// Checks the text and takes it over.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                checked(text, $what, $max, $allowed, $is_allowed)?;
                $(if !$has_form(text) {
                    return Err(IdError::Form { what: $what });
                })?
                Ok(Self(text.into()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.into()
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

fn is_label(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-')
}

fn is_name(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-')
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':' | b'/' | b'@')
}

/// Crockford's alphabet: no `I`, `L`, `O` or `U`. Ranges, because a verifier asks this 26 times a record.
fn is_crockford(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'A'..=b'H' | b'J' | b'K' | b'M' | b'N' | b'P'..=b'T' | b'V'..=b'Z')
}

text_id!(
    /// A tenant's name: 1 to 63 of `a-z 0-9 -`, so it is safe in a route, a Redis key and a file name.
    TenantId, "a tenant id", 63, "a-z 0-9 -", is_label
);
text_id!(
    /// An organisation's name: 1 to 63 of `a-z 0-9 -`.
    OrgId, "an org id", 63, "a-z 0-9 -", is_label
);
text_id!(
    /// A region's name, such as `eu-west-1`: 1 to 63 of `a-z 0-9 -`.
    Region, "a region", 63, "a-z 0-9 -", is_label
);
text_id!(
    /// An agent's name within its tenant: 1 to 128 of `A-Z a-z 0-9 . _ - : / @` (a SPIFFE id fits).
    AgentId, "an agent id", 128, "A-Z a-z 0-9 . _ - : / @", is_token
);
text_id!(
    /// A team's name within its tenant: 1 to 63 of `a-z 0-9 . _ -`.
    TeamId, "a team id", 63, "a-z 0-9 . _ -", is_name
);
text_id!(
    /// A tool's name, such as `payments.create`: 1 to 128 of `a-z 0-9 . _ -`.
    ToolName, "a tool name", 128, "a-z 0-9 . _ -", is_name
);
text_id!(
    /// The name of a tool as its MCP server announces it: 1 to 128 of `A-Z a-z 0-9 . _ - : / @`.
    McpTool, "an MCP tool name", 128, "A-Z a-z 0-9 . _ - : / @", is_token
);
text_id!(
    /// A rule's or check's name, as reported in a decision: 1 to 128 of `A-Z a-z 0-9 . _ - : / @`.
    RuleId, "a rule id", 128, "A-Z a-z 0-9 . _ - : / @", is_token
);
text_id!(
    /// A token's `jti` claim (RFC 7519 §4.1.7): 1 to 128 printable ASCII bytes without space.
    Jti, "a jti", 128, "printable ASCII without space", |byte| byte.is_ascii_graphic()
);
text_id!(
    /// A key's `kid` (RFC 7517 §4.5): 1 to 128 printable ASCII bytes without space.
    KeyId, "a key id", 128, "printable ASCII without space", |byte| byte.is_ascii_graphic()
);
text_id!(
    /// A host as it is judged and dialled: lower-case DNS name, IPv4 address, or IPv6 address without brackets.
    /// Each has one spelling, so two hosts are the same exactly when their texts are (`docs/spec/addresses.md`).
    Host, "a host", 253, "a-z 0-9 . - _ :", is_host_byte, is_canonical_host
);

fn is_host_byte(byte: u8) -> bool {
    is_name(byte) || byte == b':'
}

/// An IPv6 address in RFC 5952's spelling, a dotted quad, or a name that no resolver could take for an address.
fn is_canonical_host(text: &str) -> bool {
    if text.contains(':') {
        return text.parse::<Ipv6Addr>().is_ok_and(|address| address.to_string() == text);
    }
    let mut labels = text.split('.');
    let is_label = |label: &str| {
        (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    let is_last_number = text.rsplit('.').next().is_some_and(is_number);
    if is_last_number { text.parse::<Ipv4Addr>().is_ok() } else { labels.all(is_label) }
}

/// What an address parser reads as a number (WHATWG URL, "ends in a number checker"), so `0x7f.1` is no name.
fn is_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x");
    let is_hex = hex.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    is_hex || (!label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit()))
}

impl Host {
    /// Whether `parse` accepts the text; for readers that keep nothing.
    pub fn is_host(text: &str) -> bool {
        text.len() <= Self::MAX_BYTES && text.bytes().all(is_host_byte) && is_canonical_host(text)
    }

    /// The address this host is, unless it is a name.
    pub fn address(&self) -> Option<IpAddr> {
        self.0.parse().ok()
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        Self(address.to_string().into())
    }
}

impl KeyId {
    /// The name a key has by itself (RFC 7638 §3): SHA-256 over its canonical JWK, base64url, 43 characters.
    pub fn thumbprint(canonical_jwk: &[u8]) -> Self {
        Self(URL_SAFE_NO_PAD.encode(Sha256::digest(canonical_jwk)).into())
    }
}

/// One of the things the scanner looks for; the name is what policies and records say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Detector {
    /// US social security number.
    Ssn,
    /// E-mail address.
    Email,
    /// Date of birth: a date with a word or field name beside it that says so.
    Dob,
    /// Payment card number.
    Card,
    /// API key, token or private key.
    Secret,
}

impl Detector {
    /// Every detector, in the order reports list them.
    pub const ALL: [Detector; 5] =
        [Detector::Ssn, Detector::Email, Detector::Dob, Detector::Card, Detector::Secret];

    /// The detector of that name, if there is one.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|detector| detector.as_str() == name)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Detector::Ssn => "ssn",
            Detector::Email => "email",
            Detector::Dob => "dob",
            Detector::Card => "card",
            Detector::Secret => "secret",
        }
    }
}

/// A decision's name: a ULID (48-bit milliseconds, 80 random bits), 26 characters of Crockford base 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DecisionId([u8; 26]);

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl DecisionId {
    /// Builds one from a time and ten random bytes, both of which the caller brings.
    pub fn new(unix_ms: u64, random: [u8; 10]) -> Self {
        let mut value = u128::from(unix_ms & 0xFFFF_FFFF_FFFF);
        for byte in random {
            value = (value << 8) | u128::from(byte);
        }
        let mut text = [b'0'; 26];
        for slot in text.iter_mut().rev() {
            let digit = usize::try_from(value & 31).unwrap_or(0);
            *slot = CROCKFORD.get(digit).copied().unwrap_or(b'0');
            value >>= 5;
        }
        Self(text)
    }

    pub fn parse(text: &str) -> Result<Self, IdError> {
        let what = "a decision id";
        match <[u8; 26]>::try_from(text.as_bytes()) {
            // A verifier reads millions; to look at every byte is faster than to stop early.
            Ok(bytes) if bytes.iter().fold(true, |all, byte| all & is_crockford(*byte)) => {
                Ok(Self(bytes))
            }
            _ => {
                checked(text, what, 26, "Crockford base 32", is_crockford)?;
                Err(IdError::Empty { what })
            }
        }
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The time it was built from.
    pub fn unix_ms(&self) -> u64 {
        let time = self.0.iter().take(10);
        time.fold(0, |ms, byte| {
            let digit = CROCKFORD.iter().position(|letter| letter == byte).unwrap_or_default();
            (ms << 5) | u64::try_from(digit).unwrap_or_default()
        })
    }
}

impl TryFrom<String> for DecisionId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(&text)
    }
}

impl From<DecisionId> for String {
    fn from(id: DecisionId) -> String {
        id.as_str().to_owned()
    }
}

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A W3C trace context: where a call hangs in the agent's trace (<https://www.w3.org/TR/trace-context/>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
    pub flags: u8,
}

impl TraceContext {
    /// Reads a `traceparent` header. `None` for anything the specification calls invalid.
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let version_byte = hex::<1>(version)?;
        if version_byte == [0xff] || (version_byte == [0] && parts.next().is_some()) {
            return None;
        }
        let (trace_id, span_id) = (hex::<16>(trace)?, hex::<8>(span)?);
        let [flags] = hex::<1>(flags)?;
        (trace_id != [0; 16] && span_id != [0; 8]).then_some(Self { trace_id, span_id, flags })
    }

    /// The `traceparent` header for the next hop, which sees `span_id` as its parent.
    pub fn header(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace_id_hex(), to_hex(&self.span_id), self.flags)
    }

    pub fn trace_id_hex(&self) -> String {
        to_hex(&self.trace_id)
    }

    pub fn span_id_hex(&self) -> String {
        to_hex(&self.span_id)
    }
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let bytes = text.as_bytes();
    let lower_hex = bytes.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if bytes.len() != N.checked_mul(2)? || !lower_hex {
        return None;
    }
    let mut out = [0; N];
    for (slot, pair) in out.iter_mut().zip(bytes.chunks_exact(2)) {
        *slot = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(out)
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_never_holds_a_byte_that_is_unsafe_in_a_route_or_key() {
        for bad in ["", "A", "a b", "a/b", "a\n", "ü", &"a".repeat(64)] {
            assert!(TenantId::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(TenantId::parse("acme-1").unwrap().as_str(), "acme-1");
    }

    #[test]
    fn a_host_has_one_spelling_and_a_name_is_never_an_address_in_disguise() {
        for good in [
            "api.example.com",
            "payment_api",
            "xn--bcher-kva.example",
            "r3---sn.example",
            "192.0.2.1",
            "::1",
            "2001:db8::1",
            "1.2.3.4.example",
            "0x7f.1.example",
        ] {
            assert_eq!(Host::parse(good).map(String::from), Ok(good.to_owned()));
            assert!(Host::is_host(good), "{good:?}");
        }
        for bad in [
            "a.",
            ".a",
            "a..b",
            "-a",
            "a-.b",
            "A",
            "127.1",
            "0x7f.1",
            "017700000001",
            "1.2.3.04",
            "0x",
            "a.0x1f",
            "::0",
            "0:0:0:0:0:0:0:1",
            "[::1]",
            "::1:",
            "a:80",
            "2001:DB8::1",
        ] {
            assert!(Host::parse(bad).is_err() && !Host::is_host(bad), "{bad:?}");
        }
        let long = format!("{}.example", "a".repeat(64));
        assert!(Host::parse(&long).is_err() && !Host::is_host(&long));
    }

    #[test]
    fn an_address_is_a_host_and_the_host_is_that_address() {
        for text in ["192.0.2.1", "::ffff:192.0.2.1", "::1.2.3.4", "64:ff9b::1", "::"] {
            let address: IpAddr = text.parse().unwrap();
            let host = Host::from(address);
            assert_eq!(Host::parse(host.as_str()).unwrap().address(), Some(address), "{host}");
        }
        assert_eq!(Host::parse("example.com").unwrap().address(), None);
    }

    #[test]
    fn a_key_thumbprint_is_that_of_rfc_8037() {
        // RFC 8037 appendix A.3.
        let jwk =
            br#"{"crv":"Ed25519","kty":"OKP","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        let id = KeyId::thumbprint(jwk);
        assert_eq!(id.as_str(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert_eq!(KeyId::parse(id.as_str()), Ok(id));
    }

    #[test]
    fn a_decision_id_sorts_by_time_and_round_trips() {
        let (early, late) = (DecisionId::new(1, [255; 10]), DecisionId::new(2, [0; 10]));
        assert!(early < late);
        for ms in [0, 1, 1_800_000_000_000, 0xFFFF_FFFF_FFFF] {
            assert_eq!(DecisionId::new(ms, [255; 10]).unix_ms(), ms);
        }
        assert_eq!(DecisionId::parse(early.as_str()).unwrap(), early);
        assert!(DecisionId::parse("short").is_err());
        for byte in 0..=u8::MAX {
            let text = String::from_utf8_lossy(&[byte]).repeat(26);
            assert_eq!(DecisionId::parse(&text).is_ok(), CROCKFORD.contains(&byte), "{byte}");
        }
    }

    #[test]
    fn traceparent_is_continued_only_when_the_specification_calls_it_valid() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(TraceContext::parse(good).unwrap().header(), good);
        for bad in [
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            "",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
    }
}
