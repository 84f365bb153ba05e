//! Connections: plain or TLS, HTTP/1.1 or HTTP/2, each with the certificate its peer proved.
//!
//! Not here: routes (`api`). Invariant: a peer that says nothing is hung up on, there is a most to how many connections
//! there are, and a certificate counts only once the handshake proved its key.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aegis_identity::CertificateThumbprint;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;
use tracing::warn;

const CONNECTIONS_MAX: usize = 1_024;
const HANDSHAKE: Duration = Duration::from_secs(10);
const HEAD: Duration = Duration::from_secs(10);
/// How long a connection may stay without a request. Whoever polls the feed asks again at once.
const IDLE: Duration = Duration::from_secs(30);
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

/// Serves until `stop` is done; what is under way has a few seconds more.
pub async fn serve<F>(listener: TcpListener, router: Router, serving: Serving, stop: F)
where
    F: Future<Output = ()> + Send,
{
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
        let (router, serving) = (router.clone(), serving.clone());
        connections.spawn(async move {
            connection(socket, router, serving).await;
            drop(permit);
        });
    }
    let done = async { while connections.join_next().await.is_some() {} };
    tokio::time::timeout(DRAIN, done).await.ok();
}

async fn connection(socket: TcpStream, router: Router, serving: Serving) {
    // Answers are small; waiting for more of them helps nobody.
    socket.set_nodelay(true).ok();
    match serving {
        Serving::Plain => exchange(socket, router, Peer { certificate: None }).await,
        Serving::Tls(config) => {
            let handshake = TlsAcceptor::from(config).accept(socket);
            // Whoever breaks off a handshake is not worth a line of log.
            let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, handshake).await else { return };
            let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let certificate = shown.map(|der| CertificateThumbprint::of_der(der));
            exchange(stream, router, Peer { certificate }).await;
        }
    }
}

async fn exchange<S>(stream: S, router: Router, peer: Peer)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let requests = Requests::default();
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        let router = router.clone();
        let under_way = requests.begin();
        async move {
            let answer = router.oneshot(request).await.unwrap_or_else(|never| match never {});
            drop(under_way);
            Ok::<_, Infallible>(answer)
        }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(64);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let (mut patience, mut before) = (HEAD, 0);
    loop {
        // How a connection ends is its peer's business. One that asks nothing is ended here, because neither the wait for
        // its first bytes nor HTTP/2 has a limit of its own.
        let ended = tokio::time::timeout(patience, connection.as_mut()).await.is_ok();
        let begun = requests.begun.load(Ordering::Relaxed);
        let is_idle = begun == before && requests.under_way.load(Ordering::Relaxed) == 0;
        if ended || is_idle {
            return;
        }
        (patience, before) = (IDLE, begun);
    }
}

/// What a connection asked.
#[derive(Debug, Default)]
struct Requests {
    begun: AtomicUsize,
    under_way: Arc<AtomicUsize>,
}

impl Requests {
    fn begin(&self) -> UnderWay {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(&self.under_way))
    }
}

/// A request until it is answered or given up.
#[derive(Debug)]
struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
