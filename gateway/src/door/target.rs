//! Where a request asks to go: a tool of ours, or an origin through the forward proxy.
//!
//! Not here: whether it may (`corridor`). Invariant: the target, the `Host` header and, in a tunnel, the name the tunnel
//! was opened for are one; a request in which they differ is refused, never interpreted.

use std::net::{IpAddr, Ipv6Addr};

use aegis_domain::{Host, Reason, Scheme, Secret};
use http::header::HOST;
use pingora_core::protocols::http::ServerSession;
use pingora_http::RequestHeader;
use pingora_http::authority::{RawTargetAuthority, raw_target_authority};

use crate::context::{Asked, Presented, Target};
use crate::rooms::identify;

/// A host and, where it is spelled out, a port (RFC 3986 §3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    pub(super) host: Host,
    pub(super) port: Option<u16>,
}

/// What a CONNECT said, for everything inside its tunnel.
#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) host: Host,
    pub(super) port: u16,
    pub(super) token: Secret<String>,
}

/// What a request asks for, of whom, and with which token.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) target: Target,
    pub(super) presented: Presented,
    pub(super) asked: Asked,
}

impl Authority {
    /// Reads `host`, `host:port`, `[v6]` or `[v6]:port`; no user, no zone, no second spelling of an address.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, rest) = rest.split_once(']')?;
                let address: Ipv6Addr = address.parse().ok()?;
                (Host::parse(&address.to_string()).ok()?, rest)
            }
            None => {
                let colon = text.find(':').unwrap_or(text.len());
                let (name, rest) = text.split_at_checked(colon)?;
                (plain_host(name)?, rest)
            }
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            None => return None,
            Some(digits) => Some(plain_port(digits)?),
        };
        Some(Self { host, port })
    }

    fn is(&self, scheme: Scheme, host: &Host, port: u16) -> bool {
        &self.host == host && self.port.unwrap_or(default_port(scheme)) == port
    }
}

/// A name, or an IPv4 address in its one usual spelling: resolvers read `127.1` and `0x7f.0.0.1` as addresses too.
fn plain_host(text: &str) -> Option<Host> {
    let host = Host::parse(&text.to_ascii_lowercase()).ok()?;
    let last = host.as_str().rsplit('.').next()?;
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    let is_usual = matches!(host.as_str().parse(), Ok(IpAddr::V4(v4)) if v4.to_string() == text);
    (!is_number || is_usual).then_some(host)
}

fn plain_port(digits: &str) -> Option<u16> {
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|_| is_plain)
}

fn default_port(scheme: Scheme) -> u16 {
    match scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    }
}

/// The tunnel a session runs in, if it does.
pub(super) fn tunnel(session: &ServerSession) -> Option<&Tunnel> {
    let proxy = session.digest()?.proxy_digest.as_ref()?;
    proxy.user_data.as_ref()?.downcast_ref()
}

/// Whether a request is for a route of ours, so that what is ours may answer it.
pub(super) fn is_route(session: &ServerSession) -> bool {
    tunnel(session).is_none()
        && matches!(raw_target_authority(session.req_header().raw_path()), RawTargetAuthority::None)
}

/// Reads what a request asks for.
pub(super) fn ask(session: &ServerSession) -> Result<Ask, (Reason, Asked)> {
    let header = session.req_header();
    let raw = raw_target_authority(header.raw_path());
    if let Some(tunnel) = tunnel(session) {
        let is_origin_form = matches!(raw, RawTargetAuthority::None);
        if !is_origin_form || !says(header, Scheme::Https, &tunnel.host, tunnel.port) {
            return Err((Reason::MalformedRequest, Asked::Server));
        }
        let target =
            Target::Origin { scheme: Scheme::Https, host: tunnel.host.clone(), port: tunnel.port };
        let presented = Presented::ToProxy(Secret::new(tunnel.token.expose().clone()));
        return Ok(Ask { target, presented, asked: Asked::Server });
    }
    match raw {
        RawTargetAuthority::None => {
            Ok(Ask { target: Target::Route, presented: Presented::InHeaders, asked: Asked::Server })
        }
        RawTargetAuthority::Absolute { scheme, authority, .. } => {
            absolute(header, (scheme, authority)).map_err(|reason| (reason, Asked::Proxy))
        }
        RawTargetAuthority::AmbiguousAuthority => Err((Reason::MalformedRequest, Asked::Server)),
    }
}

/// `http://host/path`, as a client says it to a proxy (RFC 9112 §3.2.2).
fn absolute(header: &RequestHeader, (scheme, authority): (&[u8], &[u8])) -> Result<Ask, Reason> {
    let authority = std::str::from_utf8(authority).ok().and_then(Authority::parse);
    let is_http = scheme.eq_ignore_ascii_case(b"http");
    let authority = authority.filter(|_| is_http).ok_or(Reason::MalformedRequest)?;
    let port = authority.port.unwrap_or(80);
    if !says(header, Scheme::Http, &authority.host, port) {
        return Err(Reason::MalformedRequest);
    }
    Ok(Ask {
        target: Target::Origin { scheme: Scheme::Http, host: authority.host, port },
        presented: Presented::ToProxy(identify::proxy_token(&header.headers)?),
        asked: Asked::Proxy,
    })
}

/// Whether every place that names a host names this one. HTTP/2 may leave `Host` out, and has `:authority`.
fn says(header: &RequestHeader, scheme: Scheme, host: &Host, port: u16) -> bool {
    let named = header.headers.get_all(HOST).into_iter().map(|value| value.to_str().ok());
    let own = header.uri.authority().map(|authority| Some(authority.as_str()));
    let mut all = named.chain(own).peekable();
    all.peek().is_some()
        && all.all(|text| {
            let authority = text.and_then(Authority::parse);
            authority.is_some_and(|authority| authority.is(scheme, host, port))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_a_host_and_perhaps_a_port() {
        let read = |text: &str| {
            let authority = Authority::parse(text)?;
            Some((authority.host.as_str().to_owned(), authority.port))
        };
        assert_eq!(read("api.example.com"), Some(("api.example.com".into(), None)));
        assert_eq!(read("API.example.com:8443"), Some(("api.example.com".into(), Some(8443))));
        assert_eq!(read("192.0.2.7:80"), Some(("192.0.2.7".into(), Some(80))));
        assert_eq!(read("[2001:DB8:0::7]:443"), Some(("2001:db8::7".into(), Some(443))));
    }

    #[test]
    fn what_two_readers_could_take_for_two_hosts_is_none() {
        for text in [
            "",
            ":443",
            "a:",
            "a:x",
            "a:65536",
            "a:0443",
            "a:+443",
            "user@a:443",
            "a@b",
            "a,b",
            "a b",
            "a%2eb",
            "127.1",
            "2130706433",
            "0x7f.0.0.1",
            "127.0.0.0x1",
            "0177.0.0.1",
            "127.0.0.01",
            "1.2.3.4.5",
            "[::1",
            "[::1]x",
            "[fe80::1%eth0]:443",
            "::1",
            "a:1:2",
            "é.example",
        ] {
            assert_eq!(Authority::parse(text), None, "{text}");
        }
    }
}
