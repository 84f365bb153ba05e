//! Mutual TLS between voters: who may be one, and which one it is.
//!
//! Not here: sockets (`peers`, `server`). Invariant: a peer is the node its certificate's URI names
//! (`aegis://<cluster>/voters/<id>`), under the authority of the voters, which signs nothing else.

use std::sync::Arc;

use parking_lot::RwLock;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use crate::disk::Identity;

/// Why a voter cannot speak to others.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the certificates or the key are not PEM")]
    Pem(#[from] rustls::pki_types::pem::Error),
    #[error("the certificates or the key cannot be used")]
    Unusable(#[from] rustls::Error),
    #[error("the authority's certificate cannot be used")]
    Authority(#[from] rustls::server::VerifierBuilderError),
    #[error("the certificate does not name node {node} of {cluster}")]
    Stranger { cluster: String, node: u64 },
}

/// What a voter proves itself with, as PEM.
#[derive(Clone)]
pub struct Credentials {
    /// The authority of the cluster's voters.
    pub authority: Vec<u8>,
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Both ends of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    pub(crate) client: Arc<ClientConfig>,
    pub(crate) server: Arc<ServerConfig>,
}

/// What new connections use. It is renewed while the node runs; connections that stand go on under what they began with.
#[derive(Clone, Debug)]
pub(crate) struct Current(Arc<RwLock<Tls>>);

impl Current {
    pub(crate) fn new(tls: Tls) -> Self {
        Self(Arc::new(RwLock::new(tls)))
    }

    pub(crate) fn get(&self) -> Tls {
        self.0.read().clone()
    }

    pub(crate) fn renew(&self, tls: Tls) {
        *self.0.write() = tls;
    }
}

impl Tls {
    pub(crate) fn new(credentials: &Credentials, own: &Identity) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(&credentials.authority) {
            roots.add(root?)?;
        }
        let roots = Arc::new(roots);
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(&credentials.certificate).collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(&credentials.key)?;
        if identity(&chain).as_ref() != Some(own) {
            return Err(TlsError::Stranger { cluster: own.cluster.clone(), node: own.node });
        }
        let peers =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(peers.build()?)
            .with_single_cert(chain.clone(), key.clone_key())?;
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Voters { roots, provider }))
            .with_client_auth_cert(chain, key)?;
        Ok(Self { client: Arc::new(client), server: Arc::new(server) })
    }
}

/// Whom the first certificate of a chain names.
pub(crate) fn identity(chain: &[CertificateDer<'_>]) -> Option<Identity> {
    let (_, certificate) =
        x509_parser::certificate::X509Certificate::from_der(chain.first()?).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let mut uris = names.value.general_names.iter().filter_map(|name| {
        let GeneralName::URI(uri) = name else { return None };
        Some(*uri)
    });
    let uri = uris.next()?;
    // Two names would be two nodes.
    if uris.next().is_some() {
        return None;
    }
    let (cluster, node) = uri.strip_prefix("aegis://")?.split_once("/voters/")?;
    let node = node.parse().ok().filter(|number: &u64| number.to_string() == node)?;
    Some(Identity { cluster: cluster.to_owned(), node })
}

/// Checks a voter's chain. Its name is in a URI, which a server's name never is, so whoever connects compares it.
#[derive(Debug)]
struct Voters {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Voters {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(certificate)?;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
