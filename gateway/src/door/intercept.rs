//! The server side of TLS inside tunnels: one certificate per host, minted when first needed.
//!
//! Not here: the authority (`authority`), and which tunnels are opened (`connect`). Invariant: a handshake succeeds only
//! for the name the tunnel was opened for.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use aegis_authority::{Authority, AuthorityError, LEAF_LIFE, LeafKey};
use aegis_domain::{Host, Timestamp};
use lru::LruCache;
use parking_lot::Mutex;
use pingora_core::listeners::tls::Acceptor;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};

/// How many hosts' certificates are kept.
const HOSTS_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(9_999);

/// Why tunnels cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum InterceptError {
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

/// Gives tunnels their certificates.
pub struct Intercept {
    authority: Authority,
    key: LeafKey,
    signer: Arc<dyn SigningKey>,
    provider: Arc<CryptoProvider>,
    tickets: Arc<dyn ProducesTickets>,
    hosts: Mutex<LruCache<Host, Opened>>,
}

impl std::fmt::Debug for Intercept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Intercept")
    }
}

/// What one host's handshakes need.
#[derive(Clone)]
struct Opened {
    config: Arc<ServerConfig>,
    renew_at: Timestamp,
}

impl Intercept {
    pub fn new(authority: Authority) -> Result<Self, InterceptError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = LeafKey::generate()?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.pkcs8_der().expose().clone()));
        let signer = provider.key_provider.load_private_key(der)?;
        Ok(Self {
            authority,
            key,
            signer,
            provider,
            tickets: rustls::crypto::ring::Ticketer::new()?,
            hosts: Mutex::new(LruCache::new(HOSTS_MAX)),
        })
    }

    /// Accepts a tunnel's TLS in the name of one host.
    pub(super) fn acceptor(&self, host: &Host, now: Timestamp) -> Result<Acceptor, InterceptError> {
        let known = self.hosts.lock().get(host).cloned();
        let opened = match known.filter(|opened| now < opened.renew_at) {
            Some(opened) => opened,
            None => {
                let opened = self.open(host, now)?;
                self.hosts.lock().put(host.clone(), opened.clone());
                opened
            }
        };
        Ok(Acceptor::from_server_config(opened.config))
    }

    fn open(&self, host: &Host, now: Timestamp) -> Result<Opened, InterceptError> {
        let leaf = self.authority.leaf(host, &self.key, now)?;
        let chain = vec![CertificateDer::from(leaf.der)];
        let certified = Arc::new(CertifiedKey::new(chain, Arc::clone(&self.signer)));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(OneHost { host: host.clone(), certified }));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = Arc::clone(&self.tickets);
        let half_life = aegis_domain::Ttl::from_ms(LEAF_LIFE.ms() / 2);
        Ok(Opened { config: Arc::new(config), renew_at: now.plus(half_life) })
    }
}

/// Knows one certificate and gives it for one name.
#[derive(Debug)]
struct OneHost {
    host: Host,
    certified: Arc<CertifiedKey>,
}

impl ResolvesServerCert for OneHost {
    /// Addresses have no SNI (RFC 6066 §3); a name must be said, and be the tunnel's.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let is_meant = match hello.server_name() {
            Some(name) => name.eq_ignore_ascii_case(self.host.as_str()),
            None => self.host.as_str().parse::<IpAddr>().is_ok(),
        };
        is_meant.then(|| Arc::clone(&self.certified))
    }
}
