//! One spelling for each `http` and `https` URI, so that the URI in a proof and the URI of its request can be
//! compared (RFC 9449 §4.3 step 9).
//!
//! Not here: which hosts may be dialled (`address`). Invariant: two URIs get one spelling only if every client and
//! server takes them for one resource: syntax- and scheme-based normalisation (RFC 3986 §6.2.2, §6.2.3), no more.

use std::net::Ipv6Addr;

const URI_BYTES_MAX: usize = 8 * 1_024;

/// Scheme, authority and path of a URI in their one spelling; query and fragment are left out. `None` for what is
/// no such URI, and for one that names a user.
pub(crate) fn normalised(uri: &str) -> Option<String> {
    if uri.len() > URI_BYTES_MAX || !uri.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let (scheme, rest) = uri.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let default_port = match scheme.as_str() {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let rest = rest.split(['?', '#']).next()?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = host_and_port(authority)?;
    let port = port.filter(|port| *port != default_port);
    let port = port.map_or_else(String::new, |port| format!(":{port}"));
    Some(format!("{scheme}://{host}{port}{}", without_dots(&unescaped(path)?)))
}

fn host_and_port(authority: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (address, after) = rest.split_once(']')?;
        (format!("[{}]", address.parse::<Ipv6Addr>().ok()?), after)
    } else {
        let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
        let is_host =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~');
        if host.is_empty() || !host.bytes().all(is_host) {
            return None;
        }
        (host.to_ascii_lowercase(), port)
    };
    match port.strip_prefix(':') {
        None if port.is_empty() => Some((host, None)),
        None => None,
        Some("") => Some((host, None)),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some((host, Some(digits.parse().ok()?)))
        }
        Some(_) => None,
    }
}

/// Decodes what needed no escape and writes the other escapes in capitals (RFC 3986 §6.2.2.1, §6.2.2.2).
fn unescaped(path: &str) -> Option<String> {
    let is_unreserved =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let mut plain = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        let (digits, after) = after.split_at_checked(2)?;
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let byte = u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
        plain.push_str(before);
        if is_unreserved(byte) {
            plain.push(char::from(byte));
        } else {
            plain.push_str(&format!("%{byte:02X}"));
        }
        rest = after;
    }
    plain.push_str(rest);
    Some(plain)
}

/// Removes dot segments (RFC 3986 §5.2.4); an empty path is `/` (§6.2.3).
fn without_dots(path: &str) -> String {
    let mut kept = Vec::new();
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            other => kept.push(other),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is(uri: &str, spelt: &str) {
        assert_eq!(normalised(uri).as_deref(), Some(spelt), "{uri}");
    }

    #[test]
    fn one_resource_has_one_spelling() {
        is("https://gw.example.com", "https://gw.example.com/");
        is("HTTPS://GW.Example.COM:443", "https://gw.example.com/");
        is("https://gw.example.com:/", "https://gw.example.com/");
        is("http://gw.example.com:80/a?b#c", "http://gw.example.com/a");
        is("https://gw.example.com?b=/c", "https://gw.example.com/");
        is("https://gw.example.com#x", "https://gw.example.com/");
        is("https://gw.example.com:0443/", "https://gw.example.com/");
        is("https://gw.example.com:80/", "https://gw.example.com:80/");
        is("https://[::1]:8443/A", "https://[::1]:8443/A");
        is("https://[2001:DB8:0:0::1]", "https://[2001:db8::1]/");
        is("https://a/%7efoo/%41%2f%3a", "https://a/~foo/A%2F%3A");
        // RFC 3986 §5.2.4 and §6.2.2.
        is("https://a/b/c/./../../g", "https://a/g");
        is("https://a/./b/../b/%63/%7bfoo%7d", "https://a/b/c/%7Bfoo%7D");
        is("https://a/mid/content=5/../6", "https://a/mid/6");
        is("https://a/b/..", "https://a/");
        is("https://a/b/.", "https://a/b/");
        is("https://a/%2e%2E/b", "https://a/b");
        is("https://a/../../b", "https://a/b");
    }

    #[test]
    fn different_resources_stay_different() {
        for (one, other) in [
            ("https://a/b", "http://a/b"),
            ("https://a/b", "https://a/B"),
            ("https://a/b", "https://a/b/"),
            ("https://a/b", "https://a//b"),
            ("https://a/b%2Fc", "https://a/b/c"),
            ("https://a/b", "https://a:8443/b"),
            ("https://a/b", "https://a.b/b"),
            ("https://a/", "https://a./"),
        ] {
            assert_ne!(normalised(one), normalised(other), "{one} {other}");
        }
    }

    #[test]
    fn what_is_no_plain_http_uri_has_no_spelling() {
        for bad in [
            "",
            "/a",
            "gw.example.com/a",
            "https:/a",
            "https:///a",
            "https://user@a/",
            "https://user:pass@a/",
            "https://a:b/",
            "https://a:+1/",
            "https://a:65536/",
            "https://a b/",
            "https://ü/",
            "https://[::1/",
            "https://[::1]x/",
            "https://[fe80::1%25eth0]/",
            "https://a/%",
            "https://a/%4",
            "https://a/%+1",
            "https://%61/",
            "ftp://a/",
            "javascript://a/",
            "https://a/\n",
        ] {
            assert_eq!(normalised(bad), None, "{bad}");
        }
        assert_eq!(normalised(&format!("https://a/{}", "b".repeat(8_192))), None);
    }

    proptest! {
        #[test]
        fn a_spelling_is_its_own_spelling(path in "(/[a-zA-Z0-9._~%/-]{0,12}){0,4}", port in 0..=65_535_u16) {
            let uri = format!("https://Host.example:{port}{path}");
            if let Some(once) = normalised(&uri) {
                prop_assert_eq!(normalised(&once), Some(once));
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = normalised(&text);
            let _ = normalised(&format!("https://{text}"));
        }
    }
}
