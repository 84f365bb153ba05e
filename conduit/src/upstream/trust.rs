//! Whom upstreams must be signed by and what is shown to them, for each way there is, parsed once.
//!
//! Not here: reading files of keys (`config`), and when to use which (`gateway`). Invariant: a certificate is always
//! verified; there is no way without.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use pingora_core::protocols::ALPN;
use pingora_core::protocols::tls::{CaType, CustomALPN};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::utils::tls::{CertKey, WrappedX509, parse_x509};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// Why upstreams cannot be verified, or not be shown who we are.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("the CA file {file} cannot be read")]
    Read { file: String, source: pem::Error },
    #[error("the CA file {file} holds a certificate that is none")]
    Certificate { file: String },
    #[error("the CA file {file} holds no certificate")]
    Empty { file: String },
    #[error("the system's certificate authorities cannot be read")]
    System(#[source] Box<pingora_core::Error>),
    #[error("TLS to upstreams cannot be set up")]
    Tls(#[from] rustls::Error),
}

/// What tells one way from another: who may sign, and who we are.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Trusted {
    /// The system's authorities, or those of this file.
    pub ca_file: Option<PathBuf>,
    /// The digest of the identity that is shown, if any is.
    pub identity: Option<[u8; 32]>,
}

/// A certificate and its key, for upstreams that ask who calls.
pub struct ClientIdentity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

/// Which HTTP is to be spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speak {
    Http1,
    Http2,
    /// What the upstream chooses; where that is HTTP/2, the dialler finds out and lets the caller try again.
    Either,
}

/// Every way that a configuration names.
pub struct Trust {
    ways: BTreeMap<Trusted, Way>,
    by_number: Vec<Arc<ClientConfig>>,
}

struct Way {
    number: usize,
    /// What Pingora wants for the connections it dials itself.
    authorities: Option<Arc<CaType>>,
    identity: Option<Arc<CertKey>>,
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.ways.keys()).finish()
    }
}

impl Trust {
    /// Reads all CA files. The way of the system's authorities without an identity is always there.
    pub fn load(
        wanted: impl IntoIterator<Item = (Trusted, Option<ClientIdentity>)>,
    ) -> Result<Self, TrustError> {
        let mut trust = Self { ways: BTreeMap::new(), by_number: Vec::new() };
        trust.add(Trusted::default(), None)?;
        for (trusted, identity) in wanted {
            trust.add(trusted, identity)?;
        }
        Ok(trust)
    }

    fn add(
        &mut self,
        trusted: Trusted,
        identity: Option<ClientIdentity>,
    ) -> Result<(), TrustError> {
        if self.ways.contains_key(&trusted) {
            return Ok(());
        }
        let (roots, authorities) = match &trusted.ca_file {
            None => (system()?, None),
            Some(path) => file(path).map(|(roots, list)| (roots, Some(list)))?,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_root_certificates(roots);
        let pair = identity.as_ref().map(|identity| {
            let chain = identity.chain.iter().map(|certificate| certificate.to_vec()).collect();
            Arc::new(CertKey::new(chain, identity.key.secret_der().to_vec()))
        });
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(ClientIdentity { chain, key }) => builder.with_client_auth_cert(chain, key)?,
        };
        let way = Way { number: self.by_number.len(), authorities, identity: pair };
        self.by_number.push(Arc::new(config));
        self.ways.insert(trusted, way);
        Ok(())
    }

    /// Tells a peer how it is to be reached; false if no such way was loaded.
    #[must_use]
    pub fn lead(&self, trusted: &Trusted, speak: Speak, peer: &mut HttpPeer) -> bool {
        let Some(way) = self.ways.get(trusted) else { return false };
        match speak {
            // Pingora asks our dialler for peers of a protocol that it does not know.
            Speak::Http1 => peer.options.alpn = alpn(way.number, Offer::Http1),
            Speak::Either => peer.options.alpn = alpn(way.number, Offer::Both),
            Speak::Http2 => {
                peer.options.alpn = ALPN::H2;
                peer.options.ca = way.authorities.clone();
                peer.client_cert_key = way.identity.clone();
            }
        }
        true
    }

    pub(super) fn config(&self, number: usize) -> Option<&Arc<ClientConfig>> {
        self.by_number.get(number)
    }
}

/// What the dialler offers in a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Offer {
    Http1,
    Both,
}

impl Offer {
    pub(super) fn protocols(self) -> Vec<Vec<u8>> {
        match self {
            Self::Http1 => vec![b"http/1.1".to_vec()],
            Self::Both => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        }
    }
}

/// The name of a way, as the one field of a peer that reaches the dialler whole. It is never said to anybody.
fn alpn(number: usize, offer: Offer) -> ALPN {
    let letter = match offer {
        Offer::Http1 => 'o',
        Offer::Both => 'b',
    };
    ALPN::Custom(CustomALPN::new(format!("{letter}{number}").into_bytes()))
}

/// The way that a name stands for.
pub(super) fn named(name: &ALPN) -> Option<(usize, Offer)> {
    let ALPN::Custom(name) = name else { return None };
    let text = std::str::from_utf8(name.protocol()).ok()?;
    let (offer, number) = match text.split_at_checked(1)? {
        ("o", number) => (Offer::Http1, number),
        ("b", number) => (Offer::Both, number),
        _ => return None,
    };
    Some((number.parse().ok()?, offer))
}

fn system() -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    pingora_rustls::load_platform_certs_incl_env_into_store(&mut roots)
        .map_err(TrustError::System)?;
    Ok(roots)
}

fn file(path: &PathBuf) -> Result<(RootCertStore, Arc<CaType>), TrustError> {
    let file = || path.display().to_string();
    let read = |source| TrustError::Read { file: file(), source };
    let mut roots = RootCertStore::empty();
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
    Ok((roots, authorities.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_its_way_and_only_our_names_do() {
        for offer in [Offer::Http1, Offer::Both] {
            for number in [0, 7, 12_345] {
                assert_eq!(named(&alpn(number, offer)), Some((number, offer)));
            }
        }
        let other = ALPN::Custom(CustomALPN::new(b"spdy/1".to_vec()));
        assert_eq!([named(&other), named(&ALPN::H2H1)], [None, None]);
    }
}
