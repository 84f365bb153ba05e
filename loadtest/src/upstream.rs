//! A fake upstream on one thread: reads the call whole, answers 1 KB of JSON, keeps the connection.
//!
//! Not here: who calls it. Invariant: its work is the same for every call, so what differs is what stands before it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::call::TargetError;

/// Size of every answer's body.
pub const ANSWER_BYTES: usize = 1_024;

/// Where the fake upstream listens, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct Upstream {
    /// Where it listens; loopback only.
    #[arg(long)]
    pub listen: SocketAddr,
    /// Speak TLS with this certificate.
    #[arg(long, value_name = "PEM", requires = "key")]
    pub certificate: Option<PathBuf>,
    /// The certificate's key.
    #[arg(long, value_name = "PEM", requires = "certificate")]
    pub key: Option<PathBuf>,
}

/// Serves until the process is stopped.
pub fn run(options: &Upstream) -> anyhow::Result<()> {
    if !options.listen.ip().is_loopback() {
        return Err(TargetError::NotLoopback.into());
    }
    let tls = match (&options.certificate, &options.key) {
        (Some(certificate), Some(key)) => Some(acceptor(certificate, key)?),
        _ => None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(options.listen).await;
        let listener = listener.with_context(|| format!("cannot listen on {}", options.listen))?;
        accept(listener, tls).await
    })
}

fn acceptor(certificate: &Path, key: &Path) -> anyhow::Result<TlsAcceptor> {
    let chain = vec![CertificateDer::from_pem_file(certificate)?];
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>) -> anyhow::Result<()> {
    let body = answer();
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let (tls, body) = (tls.clone(), body.clone());
        tokio::spawn(async move {
            match tls {
                None => serve(TokioIo::new(socket), body).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(socket).await {
                        serve(TokioIo::new(stream), body).await;
                    }
                }
            }
        });
    }
}

async fn serve(io: impl Read + Write + Unpin, body: Bytes) {
    let service = hyper::service::service_fn(move |request| reply(request, body.clone()));
    // A caller that hangs up is none of our business.
    drop(http1::Builder::new().serve_connection(io, service).await);
}

async fn reply(
    request: Request<Incoming>,
    body: Bytes,
) -> Result<Response<Full<Bytes>>, Infallible> {
    // A call that breaks off has nobody left to be told.
    drop(request.into_body().collect().await);
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn answer() -> Bytes {
    let frame = r#"{"id":"po_1A2b3C4d","object":"payout","status":"pending","note":""}"#;
    let note = "x".repeat(ANSWER_BYTES.saturating_sub(frame.len()));
    Bytes::from(frame.replace(r#""note":"""#, &format!(r#""note":"{note}""#)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_one_kilobyte_of_json() {
        let body = answer();
        assert_eq!(body.len(), ANSWER_BYTES);
        assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok());
    }
}
