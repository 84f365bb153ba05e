//! WebSocket handshakes (RFC 6455 §4.1), and keeping Pingora's request side open until they are answered.
//!
//! Not here: whether the call may go out, and the frames that follow. Invariant: a handshake has no body, so nothing
//! gets past the judge inside it.
//!
//! Pingora 0.9.1 tells the upstream side that the body of the handshake has ended. When the upstream side reads that
//! after the `101`, it takes it for the end of the tunnel and closes it (`proxy_h1.rs`, the branch on
//! `was_upgraded`). So the session is told that a body may follow: nothing is handed on until the `101` turns the
//! connection into a tunnel.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use pingora_core::Result;
use pingora_core::protocols::http::ServerSession;
use pingora_http::RequestHeader;

use super::replay::{self, Return};

/// What a request's `Upgrade` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upgrade {
    No,
    WebSocket,
    /// Another protocol, or a handshake that could hide something.
    Refused,
}

pub(super) fn wanted(header: &RequestHeader) -> Upgrade {
    let Some(protocol) = header.headers.get(UPGRADE) else { return Upgrade::No };
    let is_handshake = protocol.as_bytes().eq_ignore_ascii_case(b"websocket")
        && is_bodiless(&header.headers)
        && header.method == http::Method::GET
        && header.version == http::Version::HTTP_11;
    if is_handshake { Upgrade::WebSocket } else { Upgrade::Refused }
}

fn is_bodiless(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(CONTENT_LENGTH).into_iter();
    lengths.all(|length| length == "0") && !headers.contains_key(TRANSFER_ENCODING)
}

/// Keeps the request side open. To be called before anything asks whether the body is done. What an agent sends
/// before the `101`, against RFC 6455 §4.1, is no chunk and fails the call.
pub(super) fn keep_open(session: &mut ServerSession) -> Result<()> {
    let header = session.req_header_mut();
    header.remove_header(&CONTENT_LENGTH);
    header.insert_header(TRANSFER_ENCODING, HeaderValue::from_static("chunked"))
}

/// The upstream answered with something else, so no body will follow after all.
pub(super) fn declined(session: &mut Box<ServerSession>) -> Return {
    session.set_keepalive(None);
    replay::install(session, Bytes::new())
}
