//! What the sessions on a connection are told of it: the tunnel they run in, and how much patience is left with it.
//!
//! Not here: streams (`conduit`). Invariant: every session of ours finds its connection, in whatever layers of TLS and
//! tunnels it runs.

use std::sync::Arc;

use aegis_conduit::Patience;
use aegis_corridor::context::Presented;
use aegis_domain::Host;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_http::ResponseHeader;

/// How many calls of nobody we know are answered on one connection.
const STRANGERS_MAX: u32 = 16;
/// How many more may be on their way when the client is told to stop: the streams of HTTP/2.
const STRANGERS_LAST: u32 = STRANGERS_MAX + 100;

/// One connection, or one tunnel in it.
#[derive(Debug)]
pub(super) struct Connection {
    tunnel: Option<Tunnel>,
    patience: Arc<Patience>,
}

/// What a CONNECT said, for everything inside its tunnel.
#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) host: Host,
    pub(super) port: u16,
    pub(super) presented: Presented,
}

/// As much patience as a new connection gets.
pub(super) fn patience() -> Arc<Patience> {
    Arc::new(Patience::new(STRANGERS_MAX, STRANGERS_LAST))
}

/// How a stream carries it. Pingora has this place for what a CONNECT was answered, which nobody reads here.
pub(super) fn digest(tunnel: Option<Tunnel>, patience: Arc<Patience>) -> Option<Arc<ProxyDigest>> {
    let answer = ResponseHeader::build(200, Some(0)).ok()?;
    let connection = Connection { tunnel, patience };
    Some(Arc::new(ProxyDigest::new(Box::new(answer), Some(Box::new(connection)))))
}

fn of(session: &ServerSession) -> Option<&Connection> {
    let proxy = session.digest()?.proxy_digest.as_ref()?;
    proxy.user_data.as_ref()?.downcast_ref()
}

/// The tunnel a session runs in, if it does.
pub(super) fn tunnel(session: &ServerSession) -> Option<&Tunnel> {
    of(session)?.tunnel.as_ref()
}

/// Counts a call of nobody's. Whether its connection may carry on.
pub(super) fn strike(session: &ServerSession) -> bool {
    of(session).is_some_and(|connection| connection.patience.strike())
}
