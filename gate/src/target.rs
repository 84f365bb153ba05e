//! The request target in its three served forms: origin, absolute and authority (RFC 9112 §3.2).
//!
//! Not here: whether the host is the one in `Host` (`request`). Invariant: a form that is not one of these three is
//! refused, `*` included, and path and query are in normal form.

use std::borrow::Cow;

use crate::path::{normal_path, normal_query};
use crate::{Authority, Refusal};

/// What a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// `/path?query`
    Origin(Resource<'a>),
    /// `http://host/path?query`, said to a forward proxy.
    Absolute { scheme: Scheme, authority: Authority<'a>, resource: Resource<'a> },
    /// `host:port`, and always for CONNECT.
    Authority { authority: Authority<'a>, port: u16 },
}

/// The part that an upstream is sent, in normal form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource<'a> {
    pub path: Cow<'a, str>,
    /// Without its question mark.
    pub query: Option<Cow<'a, str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    pub fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }

    pub(crate) fn parse(text: &[u8]) -> Result<Self, Refusal> {
        let schemes = [Scheme::Http, Scheme::Https];
        let found =
            schemes.into_iter().find(|it| text.eq_ignore_ascii_case(it.as_str().as_bytes()));
        found.ok_or(Refusal::TargetForm)
    }
}

impl<'a> Target<'a> {
    pub(crate) fn parse(raw: &'a [u8], is_connect: IsConnect) -> Result<Self, Refusal> {
        match (is_connect, raw.first()) {
            (IsConnect::Yes, _) => Self::authority(raw),
            (IsConnect::No, Some(b'/')) => Resource::parse(raw).map(Target::Origin),
            (IsConnect::No, Some(_) | None) => Self::absolute(raw),
        }
    }

    fn authority(raw: &'a [u8]) -> Result<Self, Refusal> {
        let authority = parse_authority(raw)?;
        let port = authority.port().ok_or(Refusal::PortMissing)?;
        Ok(Target::Authority { authority, port })
    }

    fn absolute(raw: &'a [u8]) -> Result<Self, Refusal> {
        let colon = raw.iter().position(|&byte| byte == b':').ok_or(Refusal::TargetForm)?;
        let (scheme, rest) = raw.split_at_checked(colon).ok_or(Refusal::TargetForm)?;
        let scheme = Scheme::parse(scheme)?;
        let rest = rest.strip_prefix(b"://").ok_or(Refusal::TargetForm)?;
        // A backslash ends the authority for some readers, so it must end it here, where it is refused.
        let is_end = |byte: &u8| matches!(byte, b'/' | b'?' | b'#' | b'\\');
        let end = rest.iter().position(is_end).unwrap_or(rest.len());
        let (authority, resource) = rest.split_at_checked(end).ok_or(Refusal::TargetForm)?;
        let authority = parse_authority(authority)?;
        Ok(Target::Absolute { scheme, authority, resource: Resource::parse_after_host(resource)? })
    }

    /// The target as Pingora may be given it: the normal form of what was sent, its host spelled as `said`.
    pub(crate) fn write(&self, said: Authority<'_>) -> String {
        match self {
            Target::Origin(resource) => resource.write(),
            Target::Absolute { scheme, resource, authority: _ } => {
                let port = said.port().map(|port| format!(":{port}")).unwrap_or_default();
                format!("{}://{}{port}{}", scheme.as_str(), said.host(), resource.write())
            }
            Target::Authority { authority, port } => format!("{}:{port}", authority.host()),
        }
    }
}

/// Whether the method was CONNECT, which alone takes the authority form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IsConnect {
    Yes,
    No,
}

impl<'a> Resource<'a> {
    pub(crate) fn parse(raw: &'a [u8]) -> Result<Self, Refusal> {
        let end = raw.iter().position(|&byte| byte == b'?').unwrap_or(raw.len());
        let (path, query) = raw.split_at_checked(end).ok_or(Refusal::TargetForm)?;
        let query = query.strip_prefix(b"?").map(normal_query).transpose()?;
        Ok(Self { path: normal_path(path)?, query })
    }

    /// After an authority the path may be missing, which means `/` (RFC 9112 §3.2.1).
    fn parse_after_host(raw: &'a [u8]) -> Result<Self, Refusal> {
        match raw.first() {
            Some(b'/') => Self::parse(raw),
            None => Ok(Self { path: Cow::Borrowed("/"), query: None }),
            Some(b'?') => {
                let query = raw.strip_prefix(b"?").map(normal_query).transpose()?;
                Ok(Self { path: Cow::Borrowed("/"), query })
            }
            Some(b'#') => Err(Refusal::Fragment),
            Some(_) => Err(Refusal::TargetByte),
        }
    }

    fn write(&self) -> String {
        let mut text = self.path.to_string();
        if let Some(query) = &self.query {
            text.push('?');
            text.push_str(query);
        }
        text
    }
}

fn parse_authority(raw: &[u8]) -> Result<Authority<'_>, Refusal> {
    Authority::parse(std::str::from_utf8(raw).map_err(|_| Refusal::Authority)?)
}
