//! One reading of an authority: `host` or `host:port`, as in Host, `:authority`, CONNECT and a URL.
//!
//! Not here: the host itself (`host`). Invariant: no user, no empty port, no second spelling of a port; what is printed
//! reads back as the same authority.

use std::fmt;

use aegis_domain::Host;

use crate::{HostError, parse_host};

/// Whom a request is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    pub host: Host,
    /// `None` where the scheme decides.
    pub port: Option<u16>,
}

/// Why a text is not an authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    #[error("the authority names a user")]
    User,
    #[error("the port is not 1 to 65535 in plain digits")]
    Port,
    #[error(transparent)]
    Host(#[from] HostError),
}

impl Authority {
    /// Reads the whole text or refuses it.
    pub fn parse(text: &str) -> Result<Self, AuthorityError> {
        if text.contains('@') {
            return Err(AuthorityError::User);
        }
        let after_literal = text.find(']').unwrap_or(0);
        let colon = text.get(after_literal..).and_then(|rest| rest.find(':'));
        let at = colon.and_then(|colon| after_literal.checked_add(colon));
        let Some((host, port)) = at.and_then(|at| text.split_at_checked(at)) else {
            return Ok(Self { host: parse_host(text)?, port: None });
        };
        if port.matches(':').count() > 1 {
            return Err(HostError::Brackets.into());
        }
        let port = port.strip_prefix(':').and_then(parse_port).ok_or(AuthorityError::Port)?;
        Ok(Self { host: parse_host(host)?, port: Some(port) })
    }
}

fn parse_port(text: &str) -> Option<u16> {
    let is_plain = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_plain { text.parse().ok() } else { None }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = &self.host;
        if host.as_str().contains(':') {
            write!(f, "[{host}]")?;
        } else {
            write!(f, "{host}")?;
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<String, AuthorityError> {
        Authority::parse(text).map(|authority| authority.to_string())
    }

    #[test]
    fn an_authority_is_a_host_with_or_without_a_port() {
        for (text, printed) in [
            ("example.com", "example.com"),
            ("Example.com:443", "example.com:443"),
            ("[::1]", "[::1]"),
            ("[0:0::1]:8080", "[::1]:8080"),
            ("192.0.2.1:65535", "192.0.2.1:65535"),
        ] {
            assert_eq!(read(text), Ok(printed.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_port_has_one_spelling() {
        for bad in [
            "a.example:",
            "a.example:0",
            "a.example:080",
            "a.example:65536",
            "a.example:+80",
            "a.example:8o",
            "[::1]:",
            "[::1]:x",
            "a.example: 80",
        ] {
            assert_eq!(read(bad), Err(AuthorityError::Port), "{bad}");
        }
    }

    #[test]
    fn a_user_and_a_bare_ipv6_address_are_refused() {
        for bad in ["user@a.example", "user:pw@a.example:80", "@a.example", "a@b@c"] {
            assert_eq!(read(bad), Err(AuthorityError::User), "{bad}");
        }
        for bad in ["::1", "::1:80", "a:b:80", "[::1]:80:80", "[::1]x", "[::1]x:80", "x[::1]"] {
            assert_eq!(read(bad), Err(HostError::Brackets.into()), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(text in "\\[?[a-z0-9:.]{1,12}\\]?(:[0-9]{1,5})?|\\PC{0,20}") {
            if let Ok(authority) = Authority::parse(&text) {
                prop_assert_eq!(Authority::parse(&authority.to_string()), Ok(authority));
            }
        }
    }
}
