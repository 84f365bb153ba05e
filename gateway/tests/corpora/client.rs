//! Says bytes to the gateway and hears what it answers.
//!
//! Not here: which bytes. Invariant: waiting has an end, and an end that is too late fails the test.

use std::sync::Arc;
use std::time::Duration;

use aegis_testkit::Building;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

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

    /// Whether every refusal among the answers is one of the gateway's own, which are those that have a record.
    pub(crate) fn is_ours(&self) -> bool {
        let text = self.text();
        let refusals = text.matches("HTTP/1.1 4").count() + text.matches("HTTP/1.1 5").count();
        refusals == self.reasons().len()
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

/// The gateway as an agent that uses it as a proxy.
pub(crate) struct Proxy {
    port: u16,
    credential: String,
    connector: TlsConnector,
}

impl Proxy {
    pub(crate) fn of(house: &Building, token: &str) -> Self {
        let pem = std::fs::read_to_string(house.data().join("ca/authority.pem")).unwrap();
        let start = pem.find("-----BEGIN CERTIFICATE-----").unwrap();
        Self {
            port: house.port(),
            credential: format!("Proxy-Authorization: Bearer {token}\r\n"),
            connector: TlsConnector::from(trusting(&pem[start..], &["http/1.1"])),
        }
    }

    /// `GET <url>` with this `Host`, both byte for byte.
    pub(crate) async fn absolute(&self, url: &[u8], host: &[u8]) -> Heard {
        self.traced(url, host, None).await
    }

    /// The same with a trace that names the call.
    pub(crate) async fn traced(&self, url: &[u8], host: &[u8], trace: Option<&str>) -> Heard {
        let trace = traceparent(trace);
        let call = [
            b"GET ".as_slice(),
            url,
            b" HTTP/1.1\r\nHost: ",
            host,
            b"\r\nConnection: close\r\n",
            self.credential.as_bytes(),
            trace.as_bytes(),
            b"\r\n",
        ];
        say(&mut dial(self.port).await, &call.concat()).await
    }

    /// A tunnel to this target, and a call in it; a tunnel that is refused, or whose TLS is, ends there.
    pub(crate) async fn connect(&self, target: &str) -> Heard {
        self.connect_traced(target, None).await
    }

    pub(crate) async fn connect_traced(&self, target: &str, trace: Option<&str>) -> Heard {
        let mut stream = dial(self.port).await;
        let connect =
            format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{}\r\n", self.credential);
        if stream.write_all(connect.as_bytes()).await.is_err() {
            return Heard::default();
        }
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let read = tokio::time::timeout(PATIENCE, stream.read_u8()).await;
            let Ok(byte) = read.expect("the gateway neither speaks nor hangs up") else {
                return Heard(head);
            };
            head.push(byte);
        }
        if Heard(head.clone()).status() != 200 {
            let rest = say(&mut stream, b"").await;
            return Heard([head, rest.0].concat());
        }
        let Some(name) = server_name(target) else { return Heard::default() };
        let opening = self.connector.connect(name, stream);
        let opened = tokio::time::timeout(PATIENCE, opening).await;
        let Ok(mut stream) = opened.expect("a handshake hangs") else { return Heard::default() };
        let call = format!(
            "GET / HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n{}\r\n",
            traceparent(trace)
        );
        say(&mut stream, call.as_bytes()).await
    }
}

fn traceparent(trace: Option<&str>) -> String {
    trace.map_or_else(String::new, |trace| format!("traceparent: 00-{trace}-{:016x}-01\r\n", 1))
}

/// What a client would ask for in the handshake.
fn server_name(target: &str) -> Option<ServerName<'static>> {
    let (host, _) = target.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    ServerName::try_from(host).ok()
}
