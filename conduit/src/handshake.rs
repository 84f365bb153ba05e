//! WebSocket handshakes: keeping Pingora's request side open until they are answered.
//!
//! Not here: which requests are handshakes (`gate`; they have no body), and the frames that follow. Invariant: the
//! upstream is told of no body, and gets nothing before its `101`.
//!
//! Pingora 0.9.1 tells the upstream side that the body of the handshake has ended. When the upstream side reads that
//! after the `101`, it takes it for the end of the tunnel and closes it (`proxy_h1.rs`, the branch on
//! `was_upgraded`). So the session is told that a body may follow: nothing is handed on until the `101` turns the
//! connection into a tunnel.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use pingora_core::Result;
use pingora_core::protocols::http::ServerSession;

use crate::stand_in::{self, Return};

/// Keeps the request side open. To be called before anything asks whether the body is done. What an agent sends
/// before the `101`, against RFC 6455 §4.1, is no chunk and fails the call.
pub fn keep_open(session: &mut ServerSession) -> Result<()> {
    let header = session.req_header_mut();
    header.remove_header(&CONTENT_LENGTH);
    header.insert_header(TRANSFER_ENCODING, HeaderValue::from_static("chunked"))
}

/// The upstream answered with something else, so no body will follow after all.
pub fn declined(session: &mut Box<ServerSession>) -> Return {
    session.set_keepalive(None);
    stand_in::replay(session, Bytes::new())
}
