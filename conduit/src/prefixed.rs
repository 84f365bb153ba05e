//! A connection whose first bytes were already read and are handed out again.
//!
//! Not here: judging those bytes (`gate`). Invariant: nothing is lost, doubled or reordered.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::{Buf as _, Bytes};
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{GetProxyDigest, Peek, Stream};
use tokio::io::{AsyncRead, ReadBuf};

use crate::passes_on::{passes_on, writes_on};

/// A stream with a prefix that comes before what the socket holds.
#[derive(Debug)]
pub struct Prefixed {
    inner: Stream,
    prefix: Bytes,
    /// What the tunnel it carries was opened with, for the sessions inside.
    tunnel: Option<Arc<ProxyDigest>>,
}

impl Prefixed {
    pub fn new(inner: Stream, prefix: Bytes) -> Self {
        Self { inner, prefix, tunnel: None }
    }

    pub fn in_tunnel(self, tunnel: Arc<ProxyDigest>) -> Self {
        Self { tunnel: Some(tunnel), ..self }
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

writes_on!(Prefixed);
passes_on!(Prefixed);

impl GetProxyDigest for Prefixed {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.tunnel.clone().or_else(|| self.inner.get_proxy_digest())
    }
}

#[async_trait]
impl Peek for Prefixed {
    /// Pingora peeks for the HTTP/2 preface, which is why the prefix was kept.
    async fn try_peek(&mut self, buf: &mut [u8]) -> std::io::Result<bool> {
        let count = self.prefix.len().min(buf.len());
        if count < buf.len() {
            return Ok(false);
        }
        self.prefix.clone().copy_to_slice(buf);
        Ok(true)
    }
}
