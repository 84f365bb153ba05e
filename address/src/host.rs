//! One reading of a host: a name, a dotted quad, or a bracketed IPv6 literal, and nothing in between.
//!
//! Not here: ports (`authority`) and what an address is worth (`class`). Invariant: where this accepts, a WHATWG URL
//! parser and a UTS #46 processor read the same host, and the `Host` is what is judged, asked for, dialled and verified.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use aegis_domain::Host;
use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};

/// Why a text is not a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    #[error("the host is empty")]
    Empty,
    #[error("the host is percent-encoded or has a zone id")]
    Percent,
    #[error("an IPv6 address stands in brackets, and nothing else does")]
    Brackets,
    #[error("the brackets hold no IPv6 address")]
    Ipv6,
    #[error("an IPv4 address is written as four decimal numbers")]
    Ipv4,
    #[error("the host has an empty label or a final dot")]
    EmptyLabel,
    #[error("the host is no domain name")]
    Name,
    #[error("the host holds characters that stand for others")]
    Mapped,
}

/// The ASCII that no label may hold: everything but letters, digits, hyphen (STD3) and the underscore, which names of
/// services on private networks have and no parser reads as anything else.
const DENIED: AsciiDenyList = AsciiDenyList::new(true, "!\"#$%&'()*+,/:;<=>?@[\\]^`{|}~");

/// Reads a host as it stands in a URL or an authority, IPv6 in brackets.
pub fn parse_host(text: &str) -> Result<Host, HostError> {
    if text.is_empty() {
        return Err(HostError::Empty);
    }
    if text.contains('%') {
        return Err(HostError::Percent);
    }
    if let Some(rest) = text.strip_prefix('[') {
        let inside = rest.strip_suffix(']').ok_or(HostError::Brackets)?;
        let address: Ipv6Addr = inside.parse().map_err(|_| HostError::Ipv6)?;
        return Ok(Host::from(IpAddr::V6(address)));
    }
    if text.contains(['[', ']', ':']) {
        return Err(HostError::Brackets);
    }
    name_or_quad(text)
}

fn name_or_quad(text: &str) -> Result<Host, HostError> {
    if text.split('.').any(str::is_empty) {
        return Err(HostError::EmptyLabel);
    }
    // UTS #46, nontransitional, with bidi and joiner rules. Hyphens in the third place stay: CDN nodes have them.
    let ascii = Uts46::new()
        .to_ascii(text.as_bytes(), DENIED, Hyphens::CheckFirstLast, DnsLength::Verify)
        .map_err(|_| HostError::Name)?;
    if !is_as_written(text, &ascii) {
        return Err(HostError::Mapped);
    }
    let is_quad = ascii.parse::<Ipv4Addr>().is_ok();
    if !is_quad && ends_in_number(&ascii) {
        return Err(HostError::Ipv4);
    }
    Host::parse(&ascii).map_err(|_| HostError::Name)
}

/// Mapping may change case and nothing else. So a fullwidth digit, a circled letter, an ideographic stop or a character
/// that vanishes is refused, because another reader may not map it.
fn is_as_written(text: &str, ascii: &str) -> bool {
    let (meant, valid) = Uts46::new().to_unicode(ascii.as_bytes(), DENIED, Hyphens::CheckFirstLast);
    let mut labels = text.split('.').zip(ascii.split('.').zip(meant.split('.')));
    let is_same = labels.all(|(written, (ascii, meant))| {
        // RFC 5891 §4.2.3.1: an A-label never stands for a label with `--` in the third place, such as another A-label.
        if ascii.starts_with("xn--") && meant.chars().skip(2).take(2).eq("--".chars()) {
            return false;
        }
        if written.is_ascii() {
            written.eq_ignore_ascii_case(ascii)
        } else {
            // The lower case of some is ASCII: KELVIN SIGN is a `k` to one reader only.
            let keeps = |c: char| c.is_ascii() || c.to_lowercase().all(|lower| !lower.is_ascii());
            written.chars().all(keeps)
                && written.chars().flat_map(char::to_lowercase).eq(meant.chars())
        }
    });
    valid.is_ok() && is_same && text.split('.').count() == ascii.split('.').count()
}

/// WHATWG URL, "ends in a number checker": what a parser of addresses would try to read as one.
fn ends_in_number(ascii: &str) -> bool {
    let last = ascii.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x");
    let is_hex = hex.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    is_hex || last.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<String, HostError> {
        parse_host(text).map(String::from)
    }

    #[test]
    fn a_host_is_read_into_its_one_spelling() {
        for (text, host) in [
            ("API.Example.COM", "api.example.com"),
            ("payment_api", "payment_api"),
            ("192.0.2.1", "192.0.2.1"),
            ("[2001:DB8:0:0:0:0:0:1]", "2001:db8::1"),
            ("[::ffff:7f00:1]", "::ffff:127.0.0.1"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.example", "xn--bcher-kva.example"),
            ("faß.de", "xn--fa-hia.de"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
            ("r3---sn-apo3.example", "r3---sn-apo3.example"),
            ("1.2.3.4.example", "1.2.3.4.example"),
        ] {
            assert_eq!(read(text), Ok(host.to_owned()), "{text}");
        }
    }

    #[test]
    fn an_ipv4_address_in_any_other_costume_is_refused_and_never_a_name() {
        for costume in [
            "2130706433",
            "0x7f000001",
            "0X7F.1",
            "0x7f.0.0.1",
            "017700000001",
            "0177.0.0.1",
            "127.1",
            "127.0.1",
            "127.0.0.01",
            "127.0.0.1.1",
            "256.0.0.1",
            "example.1",
            "example.0x",
            "1",
        ] {
            assert_eq!(read(costume), Err(HostError::Ipv4), "{costume}");
        }
        assert_eq!(read("127.0.0.1."), Err(HostError::EmptyLabel));
    }

    #[test]
    fn characters_that_stand_for_others_are_refused() {
        for text in [
            "１２７.0.0.1",
            "①②⑦.⓪.⓪.①",
            "ｅxample.com",
            "ⓔxample.com",
            "example。com",
            "exa\u{ad}mple.com",
            "ſtripe.com",
            "\u{212a}elvin.example",
            "bu\u{308}cher.example",
            "ﬁ.example",
            "a\u{200b}b.example",
            "xn--xn--a--gua.example",
        ] {
            assert!(matches!(read(text), Err(HostError::Mapped | HostError::Name)), "{text}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for (text, why) in [
            ("", HostError::Empty),
            ("example%2ecom", HostError::Percent),
            ("[fe80::1%25eth0]", HostError::Percent),
            ("::1", HostError::Brackets),
            ("[::1", HostError::Brackets),
            ("[::1]a", HostError::Brackets),
            ("[1.2.3.4]", HostError::Ipv6),
            ("[v1.a]", HostError::Ipv6),
            ("[example.com]", HostError::Ipv6),
            ("[::127.0.0.01]", HostError::Ipv6),
            ("example.com.", HostError::EmptyLabel),
            (".example.com", HostError::EmptyLabel),
            ("a..b", HostError::EmptyLabel),
            ("-a.example", HostError::Name),
            ("a b", HostError::Name),
            ("a\0b", HostError::Name),
            ("user@host", HostError::Name),
            ("xn--a.example", HostError::Name),
            ("xn--a", HostError::Name),
        ] {
            assert_eq!(read(text), Err(why), "{text:?}");
        }
        assert_eq!(read(&format!("{}.example", "a".repeat(64))), Err(HostError::Name));
        assert_eq!(read(&["a"; 128].join(".")), Err(HostError::Name));
    }

    proptest! {
        /// What is read is a fixed point, so no second reader can see another host.
        #[test]
        fn a_host_that_was_read_reads_as_itself(text in "\\PC{0,24}") {
            if let Ok(host) = parse_host(&text) {
                let literal = if host.as_str().contains(':') { format!("[{host}]") } else { host.to_string() };
                prop_assert_eq!(parse_host(&literal), Ok(host));
            }
        }

        /// The nouns and this reader agree. Only the check of an A-label needs tables that `domain` does not have.
        #[test]
        fn a_host_of_the_domain_crate_is_canonical_here(text in "(xn--)?[a-z0-9._:x-]{1,20}|[0-9a-f:.]{2,24}") {
            if let Ok(host) = Host::parse(&text) {
                let literal = if text.contains(':') { format!("[{text}]") } else { text.clone() };
                let read = parse_host(&literal);
                let is_bad_a_label = text.contains("xn--") && read == Err(HostError::Name);
                prop_assert!(is_bad_a_label || read == Ok(host), "{text}: {read:?}");
            }
        }
    }
}
