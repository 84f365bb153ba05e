//! A host with an optional port, as it stands in `Host`, `:authority`, CONNECT and absolute-form targets.
//!
//! Not here: which names and addresses may be called; numbers in disguise are names to this file. Invariant: there is
//! no userinfo, no escape, no zone and no list in it, so every reader sees the same host (RFC 3986 §3.2).

use std::net::Ipv6Addr;

use crate::Refusal;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    host: &'a str,
    port: Option<u16>,
}

/// DNS names have at most 253 characters (RFC 1035 §2.3.4), and one more with the root's dot.
const HOST_BYTES_MAX: usize = 254;

impl<'a> Authority<'a> {
    pub fn parse(text: &'a str) -> Result<Self, Refusal> {
        let end = match text.strip_prefix('[') {
            Some(inner) => inner.find(']').map(|at| at.saturating_add(2)),
            None => Some(text.find(':').unwrap_or(text.len())),
        };
        let (host, rest) =
            end.and_then(|at| text.split_at_checked(at)).ok_or(Refusal::Authority)?;
        let port = match rest.strip_prefix(':') {
            Some(digits) => Some(parse_port(digits).ok_or(Refusal::Authority)?),
            None if rest.is_empty() => None,
            None => return Err(Refusal::Authority),
        };
        if is_host(host) { Ok(Self { host, port }) } else { Err(Refusal::Authority) }
    }

    /// The name or address as it was written; an IPv6 address keeps its brackets.
    pub fn host(&self) -> &'a str {
        self.host
    }

    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether both name the same host and port, where a port that is not written is `default`.
    pub fn is_same(&self, other: &Self, default: u16) -> bool {
        self.host.eq_ignore_ascii_case(other.host)
            && self.port.unwrap_or(default) == other.port.unwrap_or(default)
    }
}

/// 1 to 65535 without leading zeros, which some readers take for octal.
fn parse_port(digits: &str) -> Option<u16> {
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    is_plain.then(|| digits.parse().ok()).flatten()
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let is_name =
        host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    let labels = host.strip_suffix('.').unwrap_or(host);
    is_name && host.len() <= HOST_BYTES_MAX && labels.split('.').all(|label| !label.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_a_host_and_perhaps_a_port() {
        let authority = Authority::parse("API.example.com:8443").unwrap();
        assert_eq!((authority.host(), authority.port()), ("API.example.com", Some(8443)));
        for text in
            ["gw", "a_b.internal", "127.0.0.1:1", "[::1]:443", "[2001:db8::1]", "example.com."]
        {
            assert!(Authority::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_two_readers_could_split_differently_is_no_authority() {
        for text in [
            "",
            ":80",
            ".",
            "a..b",
            ".a",
            "user@host",
            "a:b@c",
            "a,b",
            "a b",
            "a%00b",
            "a%2eb",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "a:",
            "a:0",
            "a:080",
            "a:65536",
            "a:+1",
            "a:1:2",
            "::1",
            "[::1",
            "[::1]x",
            "[fe80::1%25eth0]",
            "[v1.x]",
            "[1.2.3.4]",
            "a;b",
            "a=b",
            "ex\u{e4}mple",
            "[]",
        ] {
            assert_eq!(Authority::parse(text), Err(Refusal::Authority), "{text}");
        }
    }

    #[test]
    fn authorities_are_the_same_across_case_and_the_default_port() {
        let same = |one, other| {
            Authority::parse(one).unwrap().is_same(&Authority::parse(other).unwrap(), 80)
        };
        assert!(same("A.test", "a.test:80"));
        assert!(!same("a.test", "a.test:443"));
        assert!(!same("a.test", "a.test."));
        assert!(!same("a.test", "b.test"));
    }
}
