//! Room 6: where a permitted call goes: resolved, checked, and dialled only with a permit.
//!
//! Not here: the call as it leaves (`prepare` in the corridor), resolving names (`resolve`) and moving bytes (Pingora).
//! Invariants: the address dialled is the one checked; connections are never shared between tenants, tools or credentials.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aegis_address::Dialable;
use aegis_conduit::upstream::{Speak, Trusted};
use aegis_config::{ClientCertificate, Protocol, ToolBinding};
use aegis_corridor::context::{Identified, Read};
use aegis_corridor::rooms::seal::Permit;
use aegis_domain::{Reason, Scheme};
use pingora_core::upstreams::peer::HttpPeer;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::wire::Gateway;

/// HTTP/2 streams on one upstream connection; Pingora's default is one.
const STREAMS_MAX: usize = 100;
const UPSTREAM_IDLE: Duration = Duration::from_secs(60);

/// How an upstream is to be reached this time.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    pub is_upgrade: bool,
    /// Connections that failed before.
    pub attempts: usize,
}

/// Resolves, checks and describes the upstream of a permitted call.
pub async fn peer(
    gateway: &Gateway,
    permit: &Permit,
    (identified, read): (&Identified, &Read),
    reach: Reach,
) -> Result<HttpPeer, Reason> {
    let (binding, call) = (&read.binding, &read.call);
    let address = address(gateway, permit, read, reach.attempts).await?;
    let is_tls = call.scheme == Scheme::Https;
    let mut peer = HttpPeer::new(address, is_tls, call.host.as_str().to_owned());
    peer.group_key = pool_of(identified, read);
    let options = &mut peer.options;
    options.connection_timeout = Some(binding.connect_timeout);
    options.total_connection_timeout = Some(binding.connect_timeout);
    options.read_timeout = Some(binding.read_timeout);
    options.write_timeout = Some(binding.read_timeout);
    options.idle_timeout = Some(UPSTREAM_IDLE);
    options.max_h2_streams = STREAMS_MAX;
    let trusted = if is_tls { trusted(binding) } else { Trusted::default() };
    let speak = match (binding.protocol, reach.is_upgrade) {
        (_, true) | (Protocol::Http1, _) => Speak::Http1,
        (Protocol::Http2, false) => Speak::Http2,
        (Protocol::Auto, false) if !is_tls => Speak::Http1,
        (Protocol::Auto, false) if gateway.spoken.is_http2(&peer) => Speak::Http2,
        (Protocol::Auto, false) => Speak::Either,
    };
    if gateway.trust.lead(&trusted, speak, &mut peer) { Ok(peer) } else { Err(Reason::Unavailable) }
}

/// How many addresses of an upstream are tried for a tunnel that is passed through.
const ADDRESSES_TRIED_MAX: usize = 3;

/// Connects a permitted tunnel that is not opened.
pub async fn dial(gateway: &Gateway, permit: &Permit, read: &Read) -> Result<TcpStream, Reason> {
    let mut failure = Reason::UpstreamUnreachable;
    for attempt in 0..ADDRESSES_TRIED_MAX {
        let address = address(gateway, permit, read, attempt).await?;
        match timeout(read.binding.connect_timeout, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Small messages of a handshake must not wait for one another.
                stream.set_nodelay(true).map_err(|_| Reason::UpstreamUnreachable)?;
                return Ok(stream);
            }
            Ok(Err(_)) => failure = Reason::UpstreamUnreachable,
            Err(_) => failure = Reason::UpstreamTimeout,
        }
    }
    Err(failure)
}

/// The checked address whose turn it is.
async fn address(
    gateway: &Gateway,
    permit: &Permit,
    Read { binding, call, .. }: &Read,
    attempts: usize,
) -> Result<SocketAddr, Reason> {
    tracing::debug!(record = permit.seq(), host = %call.host, "forwarding");
    let addresses = match binding.resolve.is_empty() {
        true => gateway.resolver.resolve(&call.host).await?,
        false => binding.resolve.clone(),
    };
    let dialable = Dialable::check(addresses, &binding.addresses).map_err(|error| {
        tracing::info!(host = %call.host, %error, "the upstream may not be dialled");
        error.reason()
    })?;
    // After a connection failed, the next address has its turn.
    let address = SocketAddr::new(dialable.turn(attempts), call.port);
    if gateway.is_itself(address) { Err(Reason::ProxyLoop) } else { Ok(address) }
}

/// Whom a tool's upstreams must be signed by, and what they are shown.
pub fn trusted(binding: &ToolBinding) -> Trusted {
    way(binding.ca_file.as_ref(), binding.client_certificate.as_ref())
}

pub fn way(ca_file: Option<&PathBuf>, shown: Option<&Arc<ClientCertificate>>) -> Trusted {
    Trusted { ca_file: ca_file.cloned(), identity: shown.map(|pair| pair.sha256) }
}

/// Calls share a connection only when tenant, tool, CA and client certificate are the same, and so the credential is.
fn pool_of(identified: &Identified, read: &Read) -> u64 {
    let mut hasher = DefaultHasher::new();
    identified.tenant.id.hash(&mut hasher);
    read.call.route.hash(&mut hasher);
    trusted(&read.binding).hash(&mut hasher);
    hasher.finish()
}
