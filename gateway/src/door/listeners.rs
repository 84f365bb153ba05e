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
use pingora_core::listeners::tls::Acceptor;
use pingora_core::protocols::l4::stream::L4BufferSettings;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{RunArgs, Server, ShutdownSignal, ShutdownSignalWatch};
use pingora_core::services::listening::Service;
use pingora_proxy::http_proxy;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use crate::door::{Front, Ops, ToolRoute};
use crate::wire::Gateway;
use aegis_config::TlsListen;

/// What TLS clients may choose from, the better one first.
const ALPN_PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// Idle connections kept to upstreams.
const POOL_MAX: usize = 1_024;
/// How often a call that never reached an upstream is tried again.
const RETRIES_MAX: usize = 2;

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
        let front = front(gateway, &server.configuration)?;
        let mut front = Service::new("agents".to_owned(), front);
        // Bound in this order: whoever finds the plain door open may use both (`Ops`).
        if let Some(tls) = &config.listen.tls {
            // The handshake is the front's: it has a deadline there, and a place among the connections.
            front.add_listener(ListenerConfig::tcp(tls.address.to_string()).l4_buffer(buffers()));
        }
        if let Some(address) = config.listen.plain {
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

fn front(gateway: &Arc<Gateway>, conf: &Arc<ServerConf>) -> anyhow::Result<Front> {
    let mut proxy = http_proxy(conf, ToolRoute::new(Arc::clone(gateway)));
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    options.h2_idle_timeout = Some(gateway.corridor.config.limits.idle);
    proxy.server_options = Some(options);
    let tls = gateway.corridor.config.listen.tls.as_ref().map(server_config).transpose()?;
    let tls = tls.map(|config| Acceptor::from_server_config(Arc::new(config)));
    Ok(Front::new(proxy, Arc::clone(gateway), tls))
}

/// Whether certificate and key can be served.
pub fn check_tls(tls: &TlsListen) -> anyhow::Result<()> {
    server_config(tls).map(drop)
}

fn server_config(tls: &TlsListen) -> anyhow::Result<rustls::ServerConfig> {
    let about = |what: &str, path: &std::path::Path| {
        format!("the {what} {} cannot be used", path.display())
    };
    let chain = CertificateDer::pem_file_iter(&tls.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| about("certificate", &tls.certificate))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).with_context(|| about("key", &tls.key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .with_context(|| about("certificate", &tls.certificate))?;
    config.alpn_protocols = ALPN_PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(config)
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
