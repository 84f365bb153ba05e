//! Dials upstreams for Pingora where HTTP/1 is or may be spoken, and remembers their TLS sessions.
//!
//! Not here: which address it is (the peer says it), the pool (Pingora's), and HTTP/2 (Pingora dials it by itself).
//! Invariant: sessions are resumed only among the connections of one pool, so never for another tenant, tool or identity.

use std::any::Any;
use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lru::LruCache;
use parking_lot::Mutex;
use pingora_core::ErrorType::{
    ConnectTimedout, Custom, InternalError, TLSHandshakeFailure, TLSHandshakeTimedout,
};
use pingora_core::connectors::http::custom::{Connection, Connector};
use pingora_core::protocols::l4::ext;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream as Socket;
use pingora_core::protocols::{GetSocketDigest as _, SocketDigest, Stream};
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_core::{Error, OrErr as _, Result};
use pingora_http::ResponseHeader;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use std::os::fd::AsRawFd as _;
use tokio_rustls::TlsConnector;

use super::answers::Answers;
use super::trust::{Offer, Trust, named};

/// Pools whose TLS sessions are kept, and how many of each.
const POOLS_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1_023);
const SESSIONS_MAX: usize = 8;

/// What a failed connection is called whose upstream chose HTTP/2.
const CHOSE_HTTP2: &str = "the upstream chose HTTP/2";

/// Whether a connection failed only because the upstream wants HTTP/2 spoken to it.
pub fn speaks_http2(error: &Error) -> bool {
    *error.etype() == Custom(CHOSE_HTTP2)
}

/// Pingora's connector for the peers that `Trust::lead` names ways to.
pub struct Dialler {
    trust: Arc<Trust>,
    pools: Mutex<LruCache<(u64, Offer), Arc<ClientConfig>>>,
}

impl Dialler {
    pub fn new(trust: Arc<Trust>) -> Self {
        Self { trust, pools: Mutex::new(LruCache::new(POOLS_MAX)) }
    }

    async fn dial(&self, peer: &HttpPeer) -> Result<Stream> {
        let (number, offer) =
            named(&peer.options.alpn).ok_or_else(|| Error::explain(InternalError, "no way"))?;
        let limit = peer.options.connection_timeout;
        let socket = within(limit, ConnectTimedout, connect(&peer._address)).await?;
        let head = Box::new(ResponseHeader::build(200, Some(0))?);
        if !peer.is_tls() {
            return Ok(Box::new(Answers::new(socket, head)));
        }
        let config = self.config(peer, number, offer)?;
        let name = ServerName::try_from(peer.sni.clone())
            .or_err(TLSHandshakeFailure, "the upstream's name is none that TLS knows")?;
        let handshake = TlsConnector::from(config).connect(name, socket);
        let tls = within(limit, TLSHandshakeTimedout, async {
            handshake.await.or_err(TLSHandshakeFailure, "with the upstream")
        });
        let tls = tls.await?;
        if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
            return Err(Error::explain(Custom(CHOSE_HTTP2), "which Pingora dials by itself"));
        }
        Ok(Box::new(Answers::new(tls, head)))
    }

    fn config(&self, peer: &HttpPeer, number: usize, offer: Offer) -> Result<Arc<ClientConfig>> {
        let key = (peer.reuse_hash(), offer);
        let mut pools = self.pools.lock();
        if let Some(config) = pools.get(&key) {
            return Ok(Arc::clone(config));
        }
        let base = self.trust.config(number);
        let base = base.ok_or_else(|| Error::explain(InternalError, "no such way"))?;
        let mut config = ClientConfig::clone(base);
        config.alpn_protocols = offer.protocols();
        config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        let config = Arc::new(config);
        pools.put(key, Arc::clone(&config));
        Ok(config)
    }
}

async fn within<T>(
    limit: Option<Duration>,
    late: pingora_core::ErrorType,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let Some(limit) = limit else { return work.await };
    let done = tokio::time::timeout(limit, work).await;
    done.unwrap_or_else(|_| Err(Error::explain(late, "connecting to an upstream")))
}

async fn connect(address: &SocketAddr) -> Result<Socket> {
    let SocketAddr::Inet(inet) = address else {
        return Err(Error::explain(InternalError, "upstreams are reached by address"));
    };
    let tcp = ext::connect(inet, None).await?;
    let digest = SocketDigest::from_raw_fd(tcp.as_raw_fd());
    let mut socket = Socket::from(tcp);
    socket.set_nodelay()?;
    socket.set_socket_digest(digest);
    Ok(socket)
}

#[async_trait]
impl Connector for Dialler {
    /// There is no other protocol: all that is dialled here is read as HTTP/1.
    type Session = ();

    async fn get_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        peer: &P,
    ) -> Result<(Connection<()>, bool)> {
        let peer: &dyn Any = peer;
        let peer = peer.downcast_ref::<HttpPeer>();
        let peer = peer.ok_or_else(|| Error::explain(InternalError, "not a peer of ours"))?;
        let limit = peer.options.total_connection_timeout;
        let stream = within(limit, ConnectTimedout, self.dial(peer)).await?;
        Ok((Connection::Stream(stream), false))
    }

    async fn reused_http_session<P: Peer + Send + Sync + 'static>(&self, _peer: &P) -> Option<()> {
        None
    }

    async fn release_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        _session: (),
        _peer: &P,
        _idle_timeout: Option<Duration>,
    ) {
    }
}
