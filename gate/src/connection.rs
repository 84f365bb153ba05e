//! What a request's head says of its connection: whether it goes on afterwards, and as what.
//!
//! Not here: the head itself (`request`). Invariant: a connection becomes a WebSocket by a whole handshake or not at all; no other
//! upgrade is let through.

use crate::fields::Fields;
use crate::{Framing, Refusal, Version};

/// What the connection is to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    No,
    /// After a `101`, a WebSocket (RFC 6455 §4.1).
    WebSocket,
}

/// What becomes of the connection after the message (RFC 9112 §9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    KeepAlive,
    Close,
}

/// Every condition of RFC 6455 §4.2.1 that a head can meet; other upgrades hide calls from the judge.
pub(crate) fn upgrade(
    fields: &Fields<'_>,
    (method, version): (&str, Version),
    framing: Framing,
) -> Result<Upgrade, Refusal> {
    let Some(protocol) = fields.upgrade else { return Ok(Upgrade::No) };
    let is_handshake = protocol.eq_ignore_ascii_case(b"websocket")
        && method == "GET"
        && version == Version::Http11
        && !framing.has_body()
        && fields.connection.upgrade
        && fields.websocket_key.is_some_and(is_key)
        && fields.websocket_version == Some(b"13");
    if is_handshake { Ok(Upgrade::WebSocket) } else { Err(Refusal::Upgrade) }
}

/// Sixteen bytes in base64.
fn is_key(key: &[u8]) -> bool {
    let body = key.strip_suffix(b"==").unwrap_or_default();
    body.len() == 22 && body.iter().all(|&b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
}

pub(crate) fn persistence(fields: &Fields<'_>, version: Version) -> Persistence {
    let stays = match version {
        Version::Http10 => fields.connection.keep_alive,
        Version::Http11 | Version::Http2 => true,
    };
    if stays && !fields.connection.close { Persistence::KeepAlive } else { Persistence::Close }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Head, Limits, Reading};

    fn head(text: &str) -> Result<Head<'_>, Refusal> {
        match Head::read(text.as_bytes(), Limits::REQUEST)? {
            Reading::Complete(head) => Ok(head),
            Reading::Partial | Reading::Http2Preface => panic!("{text:?} is no whole head"),
        }
    }

    /// The refusal of a request line and header lines that are otherwise fine.
    fn refusal(lines: &[&str]) -> Option<Refusal> {
        head(&format!("{}\r\n\r\n", lines.join("\r\n"))).err()
    }

    const HANDSHAKE: [&str; 6] = [
        "GET /chat HTTP/1.1",
        "Host: gw",
        "Connection: keep-alive, Upgrade",
        "Upgrade: WebSocket",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ];

    #[test]
    fn an_upgrade_is_a_whole_websocket_handshake_or_refused() {
        let text = format!("{}\r\n\r\n", HANDSHAKE.join("\r\n"));
        assert_eq!(head(&text).unwrap().upgrade, Upgrade::WebSocket);
        for (at, line) in [
            (0, "POST /chat HTTP/1.1"),
            (0, "GET /chat HTTP/1.0"),
            (2, "Connection: keep-alive"),
            (3, "Upgrade: h2c"),
            (3, "Upgrade: websocket, h2c"),
            (4, "Sec-WebSocket-Key: x"),
            (5, "Sec-WebSocket-Version: 8"),
        ] {
            let mut lines = HANDSHAKE;
            lines[at] = line;
            assert_eq!(refusal(&lines), Some(Refusal::Upgrade), "{line}");
        }
        let with_body = [&HANDSHAKE[..], &["Content-Length: 5"]].concat();
        assert_eq!(refusal(&with_body), Some(Refusal::BodyOfBodiless));
    }

    #[test]
    fn a_connection_persists_as_both_versions_have_it() {
        for (line, field, persistence) in [
            ("GET / HTTP/1.1", "X: y", Persistence::KeepAlive),
            ("GET / HTTP/1.1", "Connection: close", Persistence::Close),
            ("GET / HTTP/1.1", "Connection: keep-alive, close", Persistence::Close),
            ("GET / HTTP/1.0", "X: y", Persistence::Close),
            ("GET / HTTP/1.0", "Connection: Keep-Alive", Persistence::KeepAlive),
        ] {
            let text = format!("{line}\r\nHost: gw\r\n{field}\r\n\r\n");
            assert_eq!(head(&text).unwrap().persistence, persistence, "{line} {field}");
        }
    }
}
