//! Connections: plain or TLS, HTTP/1.1 or HTTP/2, each with the certificate its peer proved.
//!
//! Not here: routes (`control/src/api`), and requests on a connection (`exchange`). Invariant: a peer that says nothing is hung up on, there is a most to how many connections
//! there are, and a certificate counts only once the handshake proved its key.

mod exchange;

use std::sync::Arc;
use std::time::Duration;

use aegis_identity::CertificateThumbprint;
use axum::Router;
use axum::response::Response;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tracing::warn;

use crate::exchange::{Floor, exchange};

const CONNECTIONS_MAX: usize = 1_024;
const HANDSHAKE: Duration = Duration::from_secs(10);
const DRAIN: Duration = Duration::from_secs(5);

/// How connections are served.
#[derive(Clone, Debug)]
pub enum Serving {
    /// For loopback, or behind something that terminates TLS.
    Plain,
    Tls(Arc<ServerConfig>),
}

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("the certificate or its key cannot be used for TLS")]
pub struct TlsError(#[from] rustls::Error);

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub certificate: Option<CertificateThumbprint>,
}

/// TLS that asks for a certificate and takes any: agents register theirs by thumbprint (RFC 8705 §2.2), so no authority has
/// to vouch for it.
pub fn tls_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(AnyCertificate(Arc::clone(&provider)));
    let config =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = config.with_client_cert_verifier(verifier).with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Takes whatever certificate the peer can prove.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyCertificate {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What is served, and what is answered instead once it ends.
#[derive(Clone, Debug)]
pub struct Served {
    pub router: Router,
    pub stopping: fn() -> Response,
}

/// Serves until `stop` is done. Then what only asks is answered with `stopping`, so that it asks elsewhere, and what changes
/// something and is under way has a few seconds to end.
pub async fn serve<F>(listener: TcpListener, served: Served, serving: Serving, stop: F)
where
    F: Future<Output = ()> + Send,
{
    let floor = Floor::new(served);
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let socket = match accepted {
            Ok((socket, _)) => socket,
            Err(error) => {
                warn!(cause = %error, "a connection to the control API was not accepted");
                // Out of file descriptors, most likely: some will be given back.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (floor, serving) = (floor.clone(), serving.clone());
        connections.spawn(async move {
            connection(socket, floor, serving).await;
            drop(permit);
        });
    }
    drop(listener);
    let done = async {
        floor.close().await;
        while connections.join_next().await.is_some() {}
    };
    tokio::time::timeout(DRAIN, done).await.ok();
}

async fn connection(socket: TcpStream, floor: Floor, serving: Serving) {
    // Answers are small; waiting for more of them helps nobody.
    socket.set_nodelay(true).ok();
    match serving {
        Serving::Plain => exchange(socket, floor, Peer { certificate: None }).await,
        Serving::Tls(config) => {
            let handshake = TlsAcceptor::from(config).accept(socket);
            // Whoever breaks off a handshake is not worth a line of log.
            let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, handshake).await else { return };
            let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let certificate = shown.map(|der| CertificateThumbprint::of_der(der));
            exchange(stream, floor, Peer { certificate }).await;
        }
    }
}
