//! Our reader beside two others: the WHATWG parser (`url`) and the one the gateway's HTTP library uses (`http`).
//!
//! Not here: fixed cases (`corpora`). Invariant: where we accept a text, whoever else accepts it reads the same host and
//! the same port.
#![cfg(test)]

use aegis_address::{Authority, HttpUrl, parse_host};
use proptest::prelude::*;

/// What tricks are made of.
const PIECES: &[&str] = &[
    "http://",
    "https://",
    "HTTP://",
    "http:/",
    "//",
    "/",
    "\\",
    "?",
    "#",
    "@",
    ":",
    ":80",
    ":0",
    ":65536",
    ":080",
    "a",
    "b.example",
    "A.Example",
    ".",
    "..",
    "-",
    "--",
    "_",
    "1",
    "127.0.0.1",
    "127.1",
    "0x7f",
    "0X7F",
    "017",
    "256",
    "[::1]",
    "[::ffff:1.2.3.4]",
    "[",
    "]",
    "::",
    "fe80::1",
    "%25",
    "%2e",
    "%",
    "xn--",
    "xn--bcher-kva",
    "bücher",
    "ß",
    "ς",
    "Σ",
    "İ",
    "K",
    "。",
    "．",
    "１",
    "①",
    "ﬁ",
    "\u{ad}",
    "\u{200d}",
    "\u{200c}",
    "א",
    "\t",
    "\n",
    " ",
    "\0",
];

fn texts(most: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PIECES), 1..most).prop_map(|pieces| pieces.concat())
}

/// Host and port of the WHATWG parser; an IPv6 host as an address, since its spelling differs.
fn whatwg(url: &str) -> Option<(String, u16)> {
    let url = url::Url::parse(url).ok()?;
    let host = match url.host()? {
        url::Host::Domain(name) => name.to_owned(),
        url::Host::Ipv4(address) => address.to_string(),
        url::Host::Ipv6(address) => address.to_string(),
    };
    Some((host, url.port_or_known_default()?))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]

    #[test]
    fn a_url_we_accept_has_one_host(rest in texts(8), is_plain in any::<bool>()) {
        let text = if is_plain { format!("http://{rest}") } else { rest };
        if let Ok(url) = HttpUrl::parse(&text) {
            let ours = (url.authority.host.to_string(), url.port());
            prop_assert_eq!(whatwg(&text), Some(ours.clone()), "{:?}", text);
            if let Ok(uri) = text.parse::<http::Uri>() {
                let host = uri.host().unwrap_or_default();
                prop_assert_eq!(parse_host(host).map(String::from), Ok(ours.0), "{:?}", text);
                prop_assert!(uri.port_u16().is_none_or(|port| port == ours.1), "{:?}", text);
            }
        }
    }

    #[test]
    fn an_authority_we_accept_has_one_host(text in texts(5)) {
        if let Ok(authority) = Authority::parse(&text) {
            let ours = (authority.host.to_string(), authority.port.unwrap_or(80));
            prop_assert_eq!(whatwg(&format!("http://{text}/")), Some(ours), "{:?}", text);
        }
    }
}
