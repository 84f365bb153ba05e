//! Room 6: where a permitted call goes: resolved, checked, and dialled only with a permit.
//!
//! Not here: the call as it leaves (`prepare` in the corridor), resolving names (`resolve`) and moving bytes (Pingora).
//! Invariants: the address dialled is the one checked; connections are never shared between tenants, tools or credentials.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aegis_address::Dialable;
use aegis_config::Protocol;
use aegis_corridor::context::{Identified, Read};
use aegis_corridor::rooms::seal::Permit;
use aegis_domain::{Reason, Scheme};
use pingora_core::protocols::ALPN;
use pingora_core::protocols::tls::CaType;
use pingora_core::upstreams::peer::HttpPeer;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::wire::Gateway;

/// HTTP/2 streams on one upstream connection; Pingora's default is one.
const STREAMS_MAX: usize = 100;
const UPSTREAM_IDLE: Duration = Duration::from_secs(60);

/// Certificate authorities that tools name, parsed once.
#[derive(Default)]
pub struct TrustStore(BTreeMap<PathBuf, Arc<CaType>>);

impl std::fmt::Debug for TrustStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

/// Why a CA file is not one.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("the CA file {file} cannot be read")]
    Read { file: String, source: rustls::pki_types::pem::Error },
    #[error("the CA file {file} holds a certificate that is none")]
    Certificate { file: String },
    #[error("the CA file {file} holds no certificate")]
    Empty { file: String },
}

impl TrustStore {
    /// Reads a CA file of a tool; reading one twice is cheap.
    pub fn add(&mut self, path: &PathBuf) -> Result<(), TrustError> {
        use pingora_core::utils::tls::{WrappedX509, parse_x509};
        use rustls::pki_types::{CertificateDer, pem::PemObject as _};

        if self.0.contains_key(path) {
            return Ok(());
        }
        let file = || path.display().to_string();
        let read = |source| TrustError::Read { file: file(), source };
        let mut roots = rustls::RootCertStore::empty();
        let mut authorities = Vec::new();
        for certificate in CertificateDer::pem_file_iter(path).map_err(read)? {
            let certificate = certificate.map_err(read)?;
            // Pingora's own parser panics on a bad certificate, so rustls looks first.
            roots.add(certificate.clone()).map_err(|_| TrustError::Certificate { file: file() })?;
            authorities.push(WrappedX509::new(certificate.to_vec(), parse_x509));
        }
        if authorities.is_empty() {
            return Err(TrustError::Empty { file: file() });
        }
        self.0.insert(path.clone(), authorities.into());
        Ok(())
    }
}

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
    options.ca = binding.ca_file.as_ref().and_then(|path| gateway.trust.0.get(path)).cloned();
    options.alpn = match (binding.protocol, reach.is_upgrade) {
        (_, true) | (Protocol::Http1, _) => ALPN::H1,
        (Protocol::Http2, false) => ALPN::H2,
        (Protocol::Auto, false) => ALPN::H2H1,
    };
    if binding.protocol == Protocol::Http2 && !is_tls && !reach.is_upgrade {
        options.set_http_version(2, 2);
    }
    Ok(peer)
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

/// Calls share a connection only when tenant, tool and CA are the same, and so the credential is.
fn pool_of(identified: &Identified, read: &Read) -> u64 {
    let mut hasher = DefaultHasher::new();
    identified.tenant.id.hash(&mut hasher);
    read.call.route.hash(&mut hasher);
    read.binding.ca_file.hash(&mut hasher);
    hasher.finish()
}
