//! TLS to a host by its name, straight or through a tunnel that a forward proxy opens.
//!
//! Not here: the calls inside (`connection`) and proxies as processes (`peers`). Invariant: every certificate is verified,
//! so a proxy that made none for the host fails the run.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// An answer to CONNECT is not read beyond this.
const ANSWER_BYTES_MAX: usize = 4_096;

/// A forward proxy that opens tunnels with certificates of its own.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    tls: Arc<ClientConfig>,
    /// What `Proxy-Authorization` says.
    authorization: Option<String>,
}

/// How a connection is secured, and for whom.
#[derive(Clone, Debug)]
pub(crate) struct Secured {
    /// Host and port, as calls name them.
    authority: String,
    name: ServerName<'static>,
    tls: Arc<ClientConfig>,
    /// The CONNECT, where a proxy stands before the host.
    connect: Option<String>,
}

/// TLS that trusts one authority, and makes a full handshake every time.
fn trusting(authority: &Path) -> anyhow::Result<Arc<ClientConfig>> {
    let about = || format!("{} holds no certificate", authority.display());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).with_context(about)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

impl Proxy {
    pub(crate) fn new(
        address: SocketAddr,
        authority: &Path,
        token: Option<&str>,
    ) -> anyhow::Result<Self> {
        let authorization = token.map(|token| format!("Bearer {token}"));
        Ok(Self { address, tls: trusting(authority)?, authorization })
    }

    /// A tunnel to a host.
    pub(crate) fn to(&self, host: &str, port: u16) -> anyhow::Result<Secured> {
        let authority = format!("{host}:{port}");
        let who = self.authorization.as_ref();
        let who = who.map(|who| format!("proxy-authorization: {who}\r\n")).unwrap_or_default();
        let connect = format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n{who}\r\n");
        let name = ServerName::try_from(host.to_owned())?;
        Ok(Secured { authority, name, tls: Arc::clone(&self.tls), connect: Some(connect) })
    }
}

impl Secured {
    /// Straight to a host that this authority vouches for.
    pub(crate) fn straight(authority: &Path, host: &str, port: u16) -> anyhow::Result<Self> {
        let name = ServerName::try_from(host.to_owned())?;
        let tls = trusting(authority)?;
        Ok(Self { authority: format!("{host}:{port}"), name, tls, connect: None })
    }

    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// Asks for the tunnel where there is to be one, and shakes hands.
    pub(crate) async fn open(&self, mut stream: TcpStream) -> anyhow::Result<TlsStream<TcpStream>> {
        if let Some(connect) = &self.connect {
            stream.write_all(connect.as_bytes()).await?;
            established(&mut stream).await?;
        }
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        Ok(connector.connect(self.name.clone(), stream).await?)
    }
}

/// Reads a proxy's answer; behind it nothing comes before we have spoken.
async fn established(stream: &mut TcpStream) -> anyhow::Result<()> {
    let mut answer = Vec::with_capacity(256);
    while !answer.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut answer).await? == 0 || answer.len() > ANSWER_BYTES_MAX {
            bail!("the answer to CONNECT has no end");
        }
    }
    if !answer.starts_with(b"HTTP/1.1 200") {
        let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
        bail!("CONNECT was answered with {}", String::from_utf8_lossy(line));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;
    use crate::certificates::make_authority;

    /// A proxy that answers one CONNECT, and hears what it said.
    fn answering(answer: &'static [u8]) -> (SocketAddr, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut bytes = [0; 4_096];
            let count = socket.read(&mut bytes).unwrap();
            socket.write_all(answer).unwrap();
            String::from_utf8_lossy(&bytes[..count]).into_owned()
        });
        (address, heard)
    }

    #[tokio::test]
    async fn a_tunnel_that_is_refused_says_how() {
        let folder = tempfile::tempdir().unwrap();
        let authority = folder.path().join("authority.pem");
        make_authority(&authority).unwrap();
        for (answer, why) in [
            (
                &b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"[..],
                "CONNECT was answered with HTTP/1.1 407",
            ),
            (b"HTTP/1.1 200 OK\r\n", "the answer to CONNECT has no end"),
        ] {
            let (address, heard) = answering(answer);
            let proxy = Proxy::new(address, &authority, Some("token")).unwrap();
            let stream = TcpStream::connect(address).await.unwrap();
            let refused = proxy.to("a.test", 443).unwrap().open(stream).await.unwrap_err();
            assert!(refused.to_string().starts_with(why), "{refused}");
            let asked = "CONNECT a.test:443 HTTP/1.1\r\nhost: a.test:443\r\nproxy-authorization: Bearer token\r\n\r\n";
            assert_eq!(heard.join().unwrap(), asked);
        }
    }
}
