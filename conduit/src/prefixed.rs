//! A connection whose first bytes were already read and are handed out again.
//!
//! Not here: judging those bytes (`gate`). Invariant: nothing is lost, doubled or reordered.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{ALPN, GetProxyDigest, Peek, Ssl, Stream};
use tokio::io::{AsyncRead, ReadBuf};

use crate::passes_on::passes_on;

/// A stream with a prefix that comes before what the socket holds.
#[derive(Debug)]
pub struct Prefixed {
    inner: Stream,
    prefix: Bytes,
    /// What the tunnel it carries was opened with, for the sessions inside.
    tunnel: Option<Arc<ProxyDigest>>,
    /// What is spoken on it, where that is known from the prefix.
    spoken: Option<ALPN>,
}

impl Prefixed {
    pub fn new(inner: Stream, prefix: Bytes) -> Self {
        Self { inner, prefix, tunnel: None, spoken: None }
    }

    pub fn in_tunnel(self, tunnel: Arc<ProxyDigest>) -> Self {
        Self { tunnel: Some(tunnel), ..self }
    }

    /// A connection that began with the preface of HTTP/2 (RFC 9113 §3.3).
    pub fn in_http2(self) -> Self {
        Self { spoken: Some(ALPN::H2), ..self }
    }
}

impl AsyncRead for Prefixed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        let count = self.prefix.len().min(buf.remaining());
        let chunk = self.prefix.split_to(count);
        buf.put_slice(&chunk);
        Poll::Ready(Ok(()))
    }
}

passes_on!(Prefixed);

impl Ssl for Prefixed {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.spoken.clone().or_else(|| self.inner.selected_alpn_proto())
    }
}

impl GetProxyDigest for Prefixed {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.tunnel.clone().or_else(|| self.inner.get_proxy_digest())
    }
}

impl Peek for Prefixed {}
