//! Pingora with nothing of ours in it: forwards every call to one upstream. What the gateway's cost is measured against.
//!
//! Not here: any decision. The only room of the load test that knows Pingora. Invariant: threads, pool and allocator are
//! those of the gateway, so that what differs is the gateway's work.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use pingora_core::protocols::ALPN;
use pingora_core::protocols::tls::CaType;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{RunArgs, Server};
use pingora_core::services::listening::Service;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::utils::tls::{WrappedX509, parse_x509};
use pingora_proxy::{ProxyHttp, Session, http_proxy};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use crate::certificates::UPSTREAM_NAME;

const POOL_MAX: usize = 1_024;

/// Where a bare proxy listens and forwards to.
#[derive(Clone, Debug, clap::Args)]
pub struct BarePingora {
    /// Where it listens.
    #[arg(long)]
    pub listen: SocketAddr,
    /// Where every call goes.
    #[arg(long)]
    pub upstream: SocketAddr,
    /// Speak TLS to the upstream and trust this CA.
    #[arg(long, value_name = "PEM")]
    pub upstream_ca: Option<std::path::PathBuf>,
}

struct Forward {
    upstream: SocketAddr,
    ca: Option<Arc<CaType>>,
}

#[async_trait]
impl ProxyHttp for Forward {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _ctx: &mut (),
    ) -> pingora_core::Result<Box<HttpPeer>> {
        let mut peer = HttpPeer::new(self.upstream, self.ca.is_some(), UPSTREAM_NAME.to_owned());
        peer.options.ca = self.ca.clone();
        peer.options.alpn = ALPN::H1;
        Ok(Box::new(peer))
    }
}

/// Serves until SIGINT.
pub fn run(options: &BarePingora) -> anyhow::Result<()> {
    let ca = options.upstream_ca.as_deref().map(authority).transpose()?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let conf = ServerConf {
        threads: cores,
        upstream_keepalive_pool_size: POOL_MAX,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    let forward = Forward { upstream: options.upstream, ca };
    let mut service = Service::new("bare".to_owned(), http_proxy(&server.configuration, forward));
    service.add_tcp(&options.listen.to_string());
    server.bootstrap();
    server.add_service(service);
    server.run(RunArgs::default());
    Ok(())
}

fn authority(path: &Path) -> anyhow::Result<Arc<CaType>> {
    let certificate = CertificateDer::from_pem_file(path)
        .with_context(|| format!("{} holds no certificate", path.display()))?;
    Ok([WrappedX509::new(certificate.to_vec(), parse_x509)].into())
}
