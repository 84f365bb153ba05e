//! The sockets: agents on plain and TLS ports, operators on one of their own.
//!
//! Not here: what is said on them. Invariant: a listener that cannot be built fails the start.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use parking_lot::Mutex;
use pingora_core::apps::HttpServerOptions;
use pingora_core::apps::http_app::HttpServer;
use pingora_core::listeners::ListenerConfig;
use pingora_core::protocols::l4::stream::L4BufferSettings;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{RunArgs, Server, ShutdownSignal, ShutdownSignalWatch};
use pingora_core::services::listening::Service;
use pingora_proxy::{ProcessCustomSession, ProxyServiceBuilder};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::door::front::{Encrypted, Front, Proxy};
use crate::door::{Ops, ToolRoute};
use crate::wire::Gateway;
use aegis_conduit::upstream::Dialler;
use aegis_config::TlsListen;

/// Idle connections kept to upstreams.
const POOL_MAX: usize = 1_024;
/// How often a call is tried that never reached an upstream; one try may only find out that HTTP/2 is to be spoken.
const RETRIES_MAX: usize = 3;

/// A Pingora server with our doors on it, not yet running.
pub struct Listeners {
    server: Server,
}

impl Listeners {
    pub fn new(gateway: &Arc<Gateway>) -> anyhow::Result<Self> {
        let config = &gateway.corridor.config;
        let tls = config.listen.tls.as_ref().map(|tls| tls.address);
        for address in config.listen.plain.into_iter().chain(tls).chain([config.listen.metrics]) {
            check_free(address)?;
        }
        let mut server = Server::new_with_opt_and_conf(None, server_conf());
        let tls = config.listen.tls.as_ref().map(encrypted).transpose()?;
        // Bound in this order: whoever finds the plain door open may use both (`Ops`).
        let addresses = tls.iter().map(|tls| tls.address).chain(config.listen.plain);
        let addresses: Vec<SocketAddr> = addresses.collect();
        let mut front = agents(gateway, &server.configuration, tls);
        for address in addresses {
            front.add_listener(ListenerConfig::tcp(address.to_string()).l4_buffer(buffers()));
        }
        let mut ops = Service::new(
            "operators".to_owned(),
            HttpServer::new_app(Ops::new(Arc::clone(gateway))),
        );
        ops.add_tcp(&config.listen.metrics.to_string());
        ops.threads = Some(1);
        server.bootstrap();
        server.add_service(front);
        server.add_service(ops);
        Ok(Self { server })
    }

    /// Serves until `stop` is ready, then closes the listeners and waits for calls to end.
    pub fn run_until(self, stop: impl Future<Output = ()> + Send + 'static) {
        let stop: StopFuture = Box::pin(stop);
        let signal = SignalWatch(Mutex::new(Some(stop)));
        self.server.run(RunArgs { shutdown_signal: Box::new(signal) });
    }
}

/// Room for a head with its attestation and a small body, so that both leave in one packet's send.
fn buffers() -> L4BufferSettings {
    L4BufferSettings::default().write(8 * 1_024)
}

/// Pingora takes a dialler of ours only together with a protocol of ours, and hands each connection of that to us, with
/// the proxy. So our front is, to it, such a protocol.
fn agents(
    gateway: &Arc<Gateway>,
    conf: &Arc<ServerConf>,
    tls: Option<Encrypted>,
) -> Service<Proxy> {
    let mut options = HttpServerOptions::default();
    options.force_custom = true;
    options.h2_idle_timeout = Some(gateway.corridor.config.limits.idle);
    let dialler = Dialler::new(Arc::clone(&gateway.trust));
    let (route, gateway) = (ToolRoute::new(Arc::clone(gateway)), Arc::clone(gateway));
    let connected: ProcessCustomSession<ToolRoute, Dialler> =
        Arc::new(move |proxy: Arc<Proxy>, stream, _| {
            let front = Front::new(proxy, Arc::clone(&gateway), tls.clone());
            Box::pin(async move {
                front.connected(stream).await;
                None
            })
        });
    let service = ProxyServiceBuilder::new(conf, route).name("agents").server_options(options);
    service.custom(dialler, connected).build()
}

fn encrypted(tls: &TlsListen) -> anyhow::Result<Encrypted> {
    Ok(Encrypted { address: tls.address, config: Arc::new(tls_config(tls)?) })
}

/// Whether certificate and key can be served.
pub fn check_tls(tls: &TlsListen) -> anyhow::Result<()> {
    tls_config(tls).map(drop)
}

fn tls_config(tls: &TlsListen) -> anyhow::Result<ServerConfig> {
    let about = |what: &str, path: &std::path::Path| {
        format!("the {what} {} cannot be used", path.display())
    };
    let chain = CertificateDer::pem_file_iter(&tls.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| about("certificate", &tls.certificate))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).with_context(|| about("key", &tls.key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_client_cert_verifier(client_verifier(tls, provider)?)
        .with_single_cert(chain, key)
        .with_context(|| about("certificate", &tls.certificate))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Asks agents for a certificate where there is someone to have signed it. Who has none may go on without: its token may
/// be enough. Who shows one that is not good is sent away.
fn client_verifier(
    tls: &TlsListen,
    provider: Arc<CryptoProvider>,
) -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
    let Some(path) = &tls.client_ca else { return Ok(WebPkiClientVerifier::no_client_auth()) };
    let about = || format!("the client CA {} cannot be used", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).with_context(about)? {
        roots.add(certificate.with_context(about)?).with_context(about)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    verifier.allow_unauthenticated().build().with_context(about)
}

/// Whether an address can be listened on. Pingora would try for half a minute and then panic in a task of its own.
fn check_free(address: SocketAddr) -> anyhow::Result<()> {
    std::net::TcpListener::bind(address)
        .map(drop)
        .with_context(|| format!("{address} cannot be listened on"))
}

fn server_conf() -> ServerConf {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    ServerConf {
        threads: cores,
        max_retries: RETRIES_MAX,
        upstream_keepalive_pool_size: POOL_MAX,
        // Stopping a runtime cancels its tasks, so our own drain has waited for every call before Pingora is told.
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    }
}

type StopFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Tells Pingora to stop when our own drain says so.
struct SignalWatch(Mutex<Option<StopFuture>>);

#[async_trait]
impl ShutdownSignalWatch for SignalWatch {
    async fn recv(&self) -> ShutdownSignal {
        let stop = self.0.lock().take();
        if let Some(stop) = stop {
            stop.await;
        }
        ShutdownSignal::GracefulTerminate
    }
}
