//! Says bytes to the gateway and hears what it answers.
//!
//! Not here: which bytes. Invariant: waiting has an end, and an end that is too late fails the test.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(60);

/// Everything that was answered on one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard(pub(crate) Vec<u8>);

impl Heard {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }

    /// The status of the first answer; 0 for none.
    pub(crate) fn status(&self) -> u16 {
        let text = self.text();
        let after = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        after.and_then(|digits| digits.parse().ok()).unwrap_or(0)
    }

    /// Why the gateway refused, in the order of its answers.
    pub(crate) fn reasons(&self) -> Vec<String> {
        let text = self.text();
        let found = text.split("\"reason\":\"").skip(1);
        found.map(|rest| rest.split('"').next().unwrap_or_default().to_owned()).collect()
    }
}

/// A connection to the gateway on this port.
pub(crate) async fn dial(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// TLS that trusts one authority alone, and offers these protocols.
pub(crate) fn trusting(pem: &str, alpn: &[&str]) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// Says this and listens until the gateway hangs up.
pub(crate) async fn say<S>(stream: &mut S, bytes: &[u8]) -> Heard
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut heard = Vec::new();
    let whole = async {
        // A gateway that has heard enough may have hung up; what it said before counts.
        if stream.write_all(bytes).await.is_ok() {
            drop(stream.flush().await);
        }
        while stream.read_buf(&mut heard).await.unwrap_or(0) > 0 {}
    };
    let ended = tokio::time::timeout(PATIENCE, whole).await;
    assert!(ended.is_ok(), "the gateway neither speaks nor hangs up: {:?}", Heard(heard).text());
    Heard(heard)
}
