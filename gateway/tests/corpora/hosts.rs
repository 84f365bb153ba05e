//! What clients could write for the host of a URL, and what readers could make of it.
//!
//! Not here: which reading is right. Invariant: these lists only ever get longer than needed, so that a policy made of
//! them hides nothing and no way of saying a URL goes untried.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use aegis_domain::Host;
use url::Url;

/// The texts a client could put into `Host` for a URL: all between scheme and path, what stands behind a user in it, and
/// what the WHATWG parser makes of it.
pub(crate) fn written(url: &str) -> BTreeSet<String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let mut all = BTreeSet::from([authority.to_owned()]);
    if let Some((_, host)) = authority.rsplit_once('@') {
        all.insert(host.to_owned());
    }
    if let Some(standard) = standard(url) {
        all.insert(standard);
    }
    all
}

/// Host and port as browsers would send them.
fn standard(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let host = url.host_str().filter(|host| !host.is_empty())?;
    Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

/// A target for CONNECT.
pub(crate) fn with_port(authority: &str, default: u16) -> String {
    let after_literal = authority.rsplit(']').next().unwrap_or_default();
    let port = after_literal.rsplit_once(':').map(|(_, port)| port);
    let has_port = port.is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    if has_port { authority.to_owned() } else { format!("{authority}:{default}") }
}

/// Every port that is written anywhere, and those of the two schemes.
pub(crate) fn ports<'u>(urls: impl IntoIterator<Item = &'u String>) -> BTreeSet<u16> {
    let mut ports = BTreeSet::from([80, 443]);
    for url in urls {
        let pieces = url.split(':').skip(1);
        let digits =
            pieces.map(|piece| piece.chars().take_while(char::is_ascii_digit).collect::<String>());
        ports.extend(digits.filter_map(|digits| digits.parse::<u16>().ok()));
        ports.extend(Url::parse(url).ok().and_then(|url| url.port()));
    }
    // The system's choice, and the test's own name server.
    ports.remove(&0);
    ports.remove(&53);
    ports
}

/// Every host that any reader could find in these URLs, in the one spelling that policies are written in.
pub(crate) fn all<'u>(urls: impl IntoIterator<Item = &'u String>) -> BTreeSet<String> {
    let mut hosts = BTreeSet::new();
    for url in urls {
        let pieces = url.split(['/', '?', '#', '@', '\\', ' ', '&', '+']);
        let texts = pieces.map(str::to_owned).chain(written(url));
        for text in texts {
            let host = with_port(&text, 80);
            let host = host.rsplit_once(':').map_or("", |(host, _)| host);
            hosts.extend(spelled(host));
        }
        // A parser of addresses reads costumes that are none of ours.
        let read = Url::parse(url).ok().and_then(|url| url.host_str().map(spelled));
        hosts.extend(read.flatten());
    }
    hosts
}

/// The host as policies spell it, if it is one.
pub(crate) fn spelled(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    let literal = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let text = match literal {
        Some(inside) => inside.parse::<Ipv6Addr>().ok()?.to_string(),
        None => text.trim_end_matches('.').to_owned(),
    };
    Host::parse(&text).ok().map(String::from)
}
