//! One kind of call, prepared once and sent many times, and where it goes.
//!
//! Not here: sending (`connection`). Invariant: a target is on loopback; no load leaves this machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::header::{HOST, HeaderMap, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Uri};
use http_body_util::Full;

use crate::tunnel::Secured;

/// Which HTTP version a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    Http1,
    Http2,
}

/// A server on this machine.
#[derive(Clone, Debug)]
pub struct Target {
    address: SocketAddr,
    protocol: Protocol,
    /// TLS, where it is spoken.
    secured: Option<Secured>,
}

/// Why load cannot go there.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("expected http://127.0.0.1:<port>/<path>")]
    Form,
    #[error("load goes to loopback addresses only")]
    NotLoopback,
}

impl Target {
    pub fn new(address: SocketAddr, protocol: Protocol) -> Result<Self, TargetError> {
        if !address.ip().is_loopback() {
            return Err(TargetError::NotLoopback);
        }
        Ok(Self { address, protocol, secured: None })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The same server, spoken to in TLS or through a tunnel.
    pub(crate) fn secured(self, secured: Secured) -> Self {
        Self { secured: Some(secured), ..self }
    }

    pub(crate) fn security(&self) -> Option<&Secured> {
        self.secured.as_ref()
    }
}

/// Splits `http://host:port/path` into an address and a path.
pub fn parse_url(text: &str) -> Result<(SocketAddr, PathAndQuery), TargetError> {
    let uri: Uri = text.parse().map_err(|_| TargetError::Form)?;
    if uri.scheme() != Some(&Scheme::HTTP) {
        return Err(TargetError::Form);
    }
    let host = uri.host().ok_or(TargetError::Form)?.trim_matches(['[', ']']);
    let ip = match host {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        literal => literal.parse().map_err(|_| TargetError::Form)?,
    };
    let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    Ok((SocketAddr::new(ip, uri.port_u16().unwrap_or(80)), path))
}

/// A call as it will be sent.
#[derive(Clone, Debug)]
pub struct Call {
    method: Method,
    path: PathAndQuery,
    headers: HeaderMap,
    body: Bytes,
}

impl Call {
    pub fn new(method: Method, path: PathAndQuery, headers: HeaderMap, body: Bytes) -> Self {
        Self { method, path, headers, body }
    }

    pub(crate) fn request(&self, target: &Target) -> Result<Request<Full<Bytes>>, http::Error> {
        let host = match &target.secured {
            Some(secured) => secured.authority().to_owned(),
            None => target.address.to_string(),
        };
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = self.headers.clone();
        let mut parts = http::uri::Parts::default();
        parts.path_and_query = Some(self.path.clone());
        match target.protocol {
            Protocol::Http1 => {
                request.headers_mut().insert(HOST, HeaderValue::from_str(&host)?);
            }
            Protocol::Http2 => {
                let is_tls = target.secured.is_some();
                parts.scheme = Some(if is_tls { Scheme::HTTPS } else { Scheme::HTTP });
                parts.authority = Some(Authority::try_from(host)?);
            }
        }
        *request.uri_mut() = Uri::from_parts(parts)?;
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_stays_on_this_machine() {
        let elsewhere = "192.0.2.1:80".parse().unwrap();
        let refused = Target::new(elsewhere, Protocol::Http1).err();
        assert_eq!(refused, Some(TargetError::NotLoopback));
        assert!(Target::new("127.0.0.1:80".parse().unwrap(), Protocol::Http1).is_ok());
        assert!(Target::new("[::1]:80".parse().unwrap(), Protocol::Http2).is_ok());
    }

    #[test]
    fn a_url_is_an_address_and_a_path() {
        let (address, path) = parse_url("http://localhost:8080/pay/v1?x=1").unwrap();
        assert_eq!(
            (address.to_string().as_str(), path.as_str()),
            ("127.0.0.1:8080", "/pay/v1?x=1")
        );
        for bad in ["localhost:80", "https://127.0.0.1/", "http://example.com/", "http://", ""] {
            assert_eq!(parse_url(bad), Err(TargetError::Form), "{bad}");
        }
    }
}
