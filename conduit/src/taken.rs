//! A connection whose client must take what it is sent: one that stops reading, or reads a byte at a time, is cut off.
//!
//! Not here: how slow is too slow (`gate::Pace`). Invariant: a write waits no longer than the pace allows for the bytes
//! the client has taken since it first let us wait; while nothing waits, no time counts.

use std::future::Future as _;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use aegis_gate::Pace;
use async_trait::async_trait;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{GetProxyDigest, Peek, Shutdown, Stream};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Duration, Instant, Sleep, sleep_until};

use crate::passes_on::passes_on;

/// A connection, and how long its client has let us wait.
pub struct Taken {
    inner: Stream,
    pace: Pace,
    /// What the sessions on this connection are told of it.
    about: Option<Arc<ProxyDigest>>,
    /// Since when the write at hand waits.
    waiting: Option<Instant>,
    /// For how long writes have waited since everything was taken, and what was taken meanwhile.
    waited: Duration,
    taken: u64,
    /// Made when first needed; most clients never let us wait.
    timer: Option<Pin<Box<Sleep>>>,
}

impl std::fmt::Debug for Taken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Taken").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Taken {
    pub fn new(inner: Stream, pace: Pace, about: Arc<ProxyDigest>) -> Self {
        let about = Some(about);
        Self { inner, pace, about, waiting: None, waited: Duration::ZERO, taken: 0, timer: None }
    }

    /// Passes on that bytes were taken, or waits for it as long as the pace allows.
    fn paced<T>(&mut self, cx: &mut Context<'_>, written: Poll<Result<T>>) -> Poll<Result<T>> {
        if written.is_ready() {
            if let Some(since) = self.waiting.take() {
                self.waited = self.waited.saturating_add(since.elapsed());
            }
            return written;
        }
        let since = *self.waiting.get_or_insert_with(Instant::now);
        let left = self.pace.due(self.taken).saturating_sub(self.waited);
        let due = since.checked_add(left).unwrap_or(since);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(Error::from(ErrorKind::TimedOut)))
    }

    fn count(&mut self, written: &Poll<Result<usize>>) {
        if let (Poll::Ready(Ok(bytes)), true) = (written, !self.waited.is_zero()) {
            self.taken = self.taken.saturating_add(u64::try_from(*bytes).unwrap_or(u64::MAX));
        }
    }
}

impl AsyncRead for Taken {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Taken {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        let written = self.paced(cx, written);
        self.count(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        let written = self.paced(cx, written);
        self.count(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        let flushed = self.paced(cx, flushed);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            (self.waited, self.taken) = (Duration::ZERO, 0);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let closed = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.paced(cx, closed)
    }
}

#[async_trait]
impl Shutdown for Taken {
    async fn shutdown(&mut self) {
        // What it could not be told any more, it did not want to know.
        drop(AsyncWriteExt::shutdown(self).await);
    }
}

passes_on!(Taken);

impl GetProxyDigest for Taken {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.about.clone()
    }
}

impl Peek for Taken {}
