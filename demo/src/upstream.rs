//! The demo's own upstream on loopback over TLS: three services behind one listener, told apart by Host.
//!
//! Not here: what each service does (`payments`, `patients`, `chat`). Invariant: it keeps the last call each host
//! received, so that the scenario can show what really left.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::{chat, demo_file, patients, payments};

pub(crate) type Reply = Response<BoxBody<Bytes, Infallible>>;

/// One call as an upstream got it.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) body: Bytes,
}

/// A running demo upstream.
#[derive(Clone, Debug, Default)]
pub struct DemoUpstream {
    last: Arc<Mutex<BTreeMap<String, Received>>>,
}

impl DemoUpstream {
    /// The last call that a host received.
    pub(crate) fn last(&self, host: &str) -> Option<Received> {
        self.last.lock().get(host).cloned()
    }

    fn remember(&self, host: &str, received: &Received) {
        self.last.lock().insert(host.to_owned(), received.clone());
    }
}

/// Binds the port and serves it on a thread of its own, for as long as the process lives.
pub fn start(data_dir: &Path, port: u16) -> anyhow::Result<DemoUpstream> {
    let acceptor = acceptor(data_dir)?;
    let upstream = DemoUpstream::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime
        .block_on(TcpListener::bind(("127.0.0.1", port)))
        .with_context(|| format!("the demo upstream cannot listen on 127.0.0.1:{port}"))?;
    let served = upstream.clone();
    std::thread::Builder::new().name("demo-upstream".into()).spawn(move || {
        runtime.block_on(accept(listener, acceptor, served));
    })?;
    Ok(upstream)
}

fn acceptor(data_dir: &Path) -> anyhow::Result<TlsAcceptor> {
    let certificate = CertificateDer::from_pem_file(demo_file(data_dir, "upstream.pem"))?;
    let key = PrivateKeyDer::from_pem_file(demo_file(data_dir, "upstream.key"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, upstream: DemoUpstream) {
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        let (acceptor, upstream) = (acceptor.clone(), upstream.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(socket).await else { return };
            let service =
                hyper::service::service_fn(move |request| serve(request, upstream.clone()));
            let served = Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "a demo upstream connection ended early");
            }
        });
    }
}

async fn serve(request: Request<Incoming>, upstream: DemoUpstream) -> Result<Reply, Infallible> {
    let host = host_of(&request);
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|whole| whole.to_bytes()).unwrap_or_default();
    let received = Received { path: head.uri.path().to_owned(), body };
    upstream.remember(&host, &received);
    Ok(match host.as_str() {
        "api.payments.test" => payments::reply(&head.method, &received),
        "ehr.clinic.test" => patients::reply(&head.method, &received),
        "api.llm.test" => chat::reply(&received),
        _ => json(StatusCode::OK, &serde_json::json!({ "received": true })),
    })
}

fn host_of(request: &Request<Incoming>) -> String {
    let header = request.headers().get(http::header::HOST).and_then(|host| host.to_str().ok());
    let authority = request.uri().authority().map(http::uri::Authority::as_str).or(header);
    authority.and_then(|text| text.split(':').next()).unwrap_or_default().to_owned()
}

pub(crate) fn json(status: StatusCode, value: &serde_json::Value) -> Reply {
    let body = Full::new(Bytes::from(value.to_string())).boxed();
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    let content_type = http::HeaderValue::from_static("application/json");
    reply.headers_mut().insert(http::header::CONTENT_TYPE, content_type);
    reply
}
