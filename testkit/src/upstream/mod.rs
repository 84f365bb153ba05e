//! A real upstream on loopback that writes down what it receives and answers as it was told.
//!
//! Not here: what it should have received. Invariant: a call is on the list as soon as its head arrived, and marked
//! whole once its body did; without orders it answers `200 {"ok":true}`.

mod puppet;
mod script;
mod serve;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, Method, Version};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::Authority;

pub use puppet::{Puppet, Word};
pub use script::{Answer, Gate, Script};

const LOOPBACK: &str = "127.0.0.1";

/// A running upstream. Clones are the same one.
#[derive(Clone)]
pub struct Upstream {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    scripts: Mutex<HashMap<String, Script>>,
    calls: watch::Sender<Vec<Received>>,
    connections: AtomicUsize,
    handshakes: Mutex<Vec<Handshake>>,
}

/// One finished TLS handshake.
#[derive(Clone, Debug)]
pub struct Handshake {
    pub version: rustls::ProtocolVersion,
    pub is_resumed: bool,
    pub protocol: Option<Vec<u8>>,
    /// The leaf that the client showed, in DER.
    pub client: Option<Vec<u8>>,
}

/// One call as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// Calls on one connection have one number.
    pub connection: usize,
    pub version: Version,
    pub method: Method,
    /// Path and query.
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
    /// Whether the body arrived to its end.
    pub is_whole: bool,
}

impl Upstream {
    /// Speaks TLS under these names, HTTP/2 and HTTP/1.1 as negotiated.
    pub async fn tls(authority: &Authority, hosts: &[&str]) -> Self {
        Self::tls_at(LOOPBACK, authority, hosts).await
    }

    /// The same at another address of this machine.
    pub(crate) async fn tls_at(ip: &str, authority: &Authority, hosts: &[&str]) -> Self {
        let config = authority.server(hosts, &["h2", "http/1.1"]);
        Self::listen(ip, Some(TlsAcceptor::from(config))).await
    }

    /// Speaks TLS and no other protocols than these, by their names in ALPN.
    pub async fn negotiating(authority: &Authority, hosts: &[&str], protocols: &[&str]) -> Self {
        let config = authority.server(hosts, protocols);
        Self::listen(LOOPBACK, Some(TlsAcceptor::from(config))).await
    }

    /// Speaks TLS in a way of the test's own.
    pub async fn tls_of(config: Arc<rustls::ServerConfig>) -> Self {
        Self::listen(LOOPBACK, Some(TlsAcceptor::from(config))).await
    }

    /// Speaks HTTP/1.1, and HTTP/2 to those who begin with it.
    pub async fn plain() -> Self {
        Self::plain_at(LOOPBACK).await
    }

    /// The same at another address of this machine.
    pub(crate) async fn plain_at(ip: &str) -> Self {
        Self::listen(ip, None).await
    }

    async fn listen(ip: &str, acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            scripts: Mutex::default(),
            calls: watch::Sender::new(Vec::new()),
            connections: AtomicUsize::new(0),
            handshakes: Mutex::default(),
        });
        tokio::spawn(serve::accept(listener, acceptor, Arc::clone(&shared)));
        Self { port, shared }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on, calls of this path are answered so.
    pub fn on(&self, path: &str, script: Script) {
        self.shared.scripts.lock().insert(path.to_owned(), script);
    }

    /// Every call so far, in the order of their heads.
    pub fn calls(&self) -> Vec<Received> {
        self.shared.calls.borrow().clone()
    }

    pub fn count(&self) -> usize {
        self.shared.calls.borrow().len()
    }

    /// The latest call.
    pub fn last(&self) -> Received {
        self.shared.calls.borrow().last().expect("the upstream received a call").clone()
    }

    /// Connections that were made so far, whatever came of them.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Acquire)
    }

    /// The TLS handshakes that came to their end.
    pub fn handshakes(&self) -> Vec<Handshake> {
        self.shared.handshakes.lock().clone()
    }

    /// Waits until this many calls have begun.
    pub async fn reached(&self, count: usize) {
        let mut calls = self.shared.calls.subscribe();
        calls.wait_for(|calls| calls.len() >= count).await.unwrap();
    }
}

impl Received {
    /// One header, if it is there; joined if it is there more than once.
    pub fn header(&self, name: &str) -> Option<String> {
        let values: Vec<_> =
            self.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Everything that arrived, as one text to search.
    pub fn everything(&self) -> String {
        let headers = format!("{:?} {:?}", self.headers, self.trailers);
        format!("{} {headers} {}", self.target, String::from_utf8_lossy(&self.body))
    }
}
