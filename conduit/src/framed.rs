//! A connection as Pingora gets it for HTTP/2: its frames are counted, and what has begun must become whole in time.
//!
//! Not here: what frames cost (`gate::FrameGate`) and what they say (the h2 library). Invariant: a client that floods, or
//! never ends what it began, is cut off, and h2 reads no byte of it more.

use std::future::Future as _;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use aegis_gate::FrameGate;
use async_trait::async_trait;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{GetProxyDigest, Peek, Shutdown, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Duration, Instant, Sleep, sleep_until};

use crate::passes_on::passes_on;

/// One connection's frames.
pub struct Framed {
    inner: Stream,
    gate: FrameGate,
    began: Instant,
    /// How long the preface, a head or a frame may take.
    part_max: Duration,
    /// The part that is open, and its end.
    part: Option<u64>,
    timer: Pin<Box<Sleep>>,
}

impl std::fmt::Debug for Framed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Framed").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Framed {
    /// A connection of which nothing was read yet.
    pub fn new(inner: Stream, part_max: Duration) -> Self {
        let began = Instant::now();
        let gate = FrameGate::default();
        let part = gate.open();
        let timer = Box::pin(sleep_until(began + part_max));
        Self { inner, gate, began, part_max, part, timer }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        let counted = self.gate.read(bytes, self.began.elapsed());
        counted.map_err(|flood| {
            tracing::debug!(%flood, "a connection was cut off");
            Error::new(ErrorKind::ConnectionAborted, flood)
        })?;
        let open = self.gate.open();
        if open != self.part {
            self.part = open;
            if open.is_some() {
                self.timer.as_mut().reset(Instant::now() + self.part_max);
            }
        }
        Ok(())
    }

    fn wrote(&mut self, written: &Poll<Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = written {
            self.gate.wrote(*bytes);
        }
    }
}

impl AsyncRead for Framed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let this = &mut *self;
        let known = buf.filled().len();
        if Pin::new(&mut this.inner).poll_read(cx, buf)?.is_ready() {
            return Poll::Ready(this.take(buf.filled().get(known..).unwrap_or_default()));
        }
        if this.part.is_none() {
            return Poll::Pending;
        }
        ready!(this.timer.as_mut().poll(cx));
        Poll::Ready(Err(Error::from(ErrorKind::TimedOut)))
    }
}

impl AsyncWrite for Framed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.wrote(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Framed {
    async fn shutdown(&mut self) {
        Shutdown::shutdown(&mut *self.inner).await;
    }
}

passes_on!(Framed);

impl GetProxyDigest for Framed {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }
}

#[async_trait]
impl Peek for Framed {
    async fn try_peek(&mut self, buf: &mut [u8]) -> Result<bool> {
        self.inner.try_peek(buf).await
    }
}
