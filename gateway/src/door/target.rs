//! Where a request asks to go: a tool of ours, or an origin through the forward proxy.
//!
//! Not here: whether it may (`corridor`). Invariant: the target, the `Host` header and, in a tunnel, the name the tunnel
//! was opened for are one; a request in which they differ is refused, never interpreted.

use aegis_address::Authority;
use aegis_corridor::context::{Asked, Presented, Stands, Target};
use aegis_corridor::credential;
use aegis_domain::{Host, Reason, Scheme};
use aegis_identity::CertificateThumbprint;
use http::header::HOST;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::tls::SslDigest;
use pingora_http::RequestHeader;
use pingora_http::authority::{RawTargetAuthority, raw_target_authority};

/// What a CONNECT said, for everything inside its tunnel.
#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) host: Host,
    pub(super) port: u16,
    pub(super) presented: Presented,
}

/// What a request asks for, of whom, and with which token.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) target: Target,
    pub(super) presented: Presented,
    pub(super) asked: Asked,
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

/// The certificate that an agent's handshake proved. Without one Pingora tells the digest of nothing.
pub(super) fn certificate(tls: Option<&SslDigest>) -> Option<CertificateThumbprint> {
    let digest: [u8; 32] = tls?.cert_digest.as_slice().try_into().ok()?;
    Some(CertificateThumbprint::from_bytes(digest))
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
        return Ok(Ask { target, presented: tunnel.presented.clone(), asked: Asked::Server });
    }
    let certificate = certificate(session.digest().and_then(|digest| digest.ssl_digest.as_deref()));
    match raw {
        RawTargetAuthority::None => {
            let told = credential::in_headers(&header.headers);
            let told = told.map_err(|reason| (reason, Asked::Server))?;
            let presented = Presented { told, stands: Stands::InHeaders, certificate };
            Ok(Ask { target: Target::Route, presented, asked: Asked::Server })
        }
        RawTargetAuthority::Absolute { scheme, authority, .. } => {
            let ask = absolute(header, (scheme, authority), certificate);
            ask.map_err(|reason| (reason, Asked::Proxy))
        }
        RawTargetAuthority::AmbiguousAuthority => Err((Reason::MalformedRequest, Asked::Server)),
    }
}

/// `http://host/path`, as a client says it to a proxy (RFC 9112 §3.2.2).
fn absolute(
    header: &RequestHeader,
    (scheme, authority): (&[u8], &[u8]),
    certificate: Option<CertificateThumbprint>,
) -> Result<Ask, Reason> {
    let authority =
        std::str::from_utf8(authority).ok().and_then(|text| Authority::parse(text).ok());
    let is_http = scheme.eq_ignore_ascii_case(b"http");
    let authority = authority.filter(|_| is_http).ok_or(Reason::MalformedRequest)?;
    let port = authority.port.unwrap_or(80);
    if !says(header, Scheme::Http, &authority.host, port) {
        return Err(Reason::MalformedRequest);
    }
    let told = credential::to_proxy(&header.headers)?;
    Ok(Ask {
        target: Target::Origin { scheme: Scheme::Http, host: authority.host, port },
        presented: Presented { told, stands: Stands::ToProxy, certificate },
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
            let authority = text.and_then(|text| Authority::parse(text).ok());
            authority.is_some_and(|authority| {
                let said = authority.port.unwrap_or(default_port(scheme));
                &authority.host == host && said == port
            })
        })
}
