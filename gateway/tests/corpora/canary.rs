//! Listens for every address there is, on the ports of a corpus, and writes down which one was dialled.
//!
//! The address a connection was made to is what the kernel says of the accepted socket, so no gateway can say otherwise.
//! It speaks HTTP/1.1, and TLS to those who begin with it, under whatever name they ask for, so that a connect that should
//! not have been made succeeds in full.
//! Not here: which addresses are forbidden (`ssrf`). Invariant: a connection is on the list before a byte of it is read.

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;

use aegis_testkit::Authority;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::LazyConfigAcceptor;

pub(crate) struct Canary {
    authority: Authority,
    /// What `/redirect/<n>` answers with.
    redirects: Vec<String>,
    arrivals: Mutex<Vec<SocketAddr>>,
    requests: Mutex<Vec<Request>>,
}

/// One request, and the address its connection was made to.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) dialled: SocketAddr,
    pub(crate) is_tls: bool,
    /// The name the TLS handshake asked for.
    pub(crate) sni: Option<String>,
    pub(crate) host: String,
    pub(crate) traceparent: String,
}

impl Canary {
    pub(crate) async fn start(ports: &BTreeSet<u16>, redirects: Vec<String>) -> Arc<Self> {
        let canary = Arc::new(Self {
            authority: Authority::default(),
            redirects,
            arrivals: Mutex::default(),
            requests: Mutex::default(),
        });
        for port in ports {
            // Both families at once.
            let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, *port)).await.unwrap();
            tokio::spawn(Arc::clone(&canary).accept(listener));
        }
        canary
    }

    /// Who signs for every name it is asked for.
    pub(crate) fn pem(&self) -> &str {
        self.authority.pem()
    }

    /// Every address that was dialled, in order.
    pub(crate) fn arrivals(&self) -> Vec<SocketAddr> {
        self.arrivals.lock().clone()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().clone()
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            let Ok((socket, _)) = listener.accept().await else { continue };
            let local = socket.local_addr().unwrap();
            let dialled = SocketAddr::new(local.ip().to_canonical(), local.port());
            self.arrivals.lock().push(dialled);
            tokio::spawn(Arc::clone(&self).serve(socket, dialled));
        }
    }

    async fn serve(self: Arc<Self>, socket: TcpStream, dialled: SocketAddr) {
        let mut first = [0];
        if socket.peek(&mut first).await.unwrap_or(0) == 0 {
            return;
        }
        // The first byte of a TLS handshake record (RFC 8446 §5.1).
        if first != [0x16] {
            return self.answer(socket, (dialled, false, None)).await;
        }
        let Ok(start) = LazyConfigAcceptor::new(Default::default(), socket).await else { return };
        let sni = start.client_hello().server_name().map(str::to_owned);
        let name = sni.clone().unwrap_or_else(|| dialled.ip().to_string());
        let config = self.authority.server(&[&name], &["http/1.1"]);
        if let Ok(stream) = start.into_stream(config).await {
            self.answer(stream, (dialled, true, sni)).await;
        }
    }

    async fn answer<S>(
        &self,
        mut stream: S,
        (dialled, is_tls, sni): (SocketAddr, bool, Option<String>),
    ) where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut bytes = Vec::new();
        loop {
            let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else {
                if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                    return;
                }
                continue;
            };
            let head: Vec<u8> = bytes.drain(..end + 4).collect();
            let head = String::from_utf8(head).unwrap();
            let header = |name: &str| {
                let mut fields = head.lines().filter_map(|line| line.split_once(": "));
                let found = fields.find(|(known, _)| known.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.to_owned()).unwrap_or_default()
            };
            let (host, traceparent) = (header("host"), header("traceparent"));
            let sni = sni.clone();
            self.requests.lock().push(Request { dialled, is_tls, sni, host, traceparent });
            let answer = match self.redirect(&head) {
                Some(url) => {
                    format!("HTTP/1.1 302 Found\r\nlocation: {url}\r\ncontent-length: 0\r\n\r\n")
                }
                None => "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\ncanary".to_owned(),
            };
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    fn redirect(&self, head: &str) -> Option<&String> {
        let number = head.strip_prefix("GET /redirect/")?.split(' ').next()?;
        self.redirects.get(number.parse::<usize>().ok()?)
    }
}
