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
use pingora_core::protocols::{GetProxyDigest, Peek, Shutdown, Ssl, Stream};
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

/// It is next to the socket: whatever is encrypted, is encrypted above it.
impl Ssl for Taken {}

impl GetProxyDigest for Taken {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.about.clone()
    }
}

impl Peek for Taken {}

#[cfg(test)]
mod tests {
    use aegis_gate::Pace;
    use pingora_core::protocols::raw_connect::ProxyDigest;
    use pingora_http::ResponseHeader;
    use tokio::io::{AsyncReadExt as _, DuplexStream, duplex};
    use tokio::time::sleep;

    use super::*;

    const S: Duration = Duration::from_secs(1);

    /// A connection that holds 64 bytes on the way, and its client.
    fn pair() -> (Taken, DuplexStream) {
        let (ours, client) = duplex(64);
        let answer = ResponseHeader::build(200, Some(0)).unwrap();
        let about = Arc::new(ProxyDigest::new(Box::new(answer), None));
        (Taken::new(Box::new(ours), Pace::at_least(10, 5 * S, 100 * S), about), client)
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_cut_off() {
        let (mut taken, _client) = pair();
        let begun = Instant::now();
        let error = taken.write_all(&[0; 100]).await.unwrap_err();
        assert_eq!((error.kind(), begun.elapsed().as_secs()), (ErrorKind::TimedOut, 5));
        // Closing waits no longer than that either.
        Shutdown::shutdown(&mut taken).await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_a_little_at_a_time_is_cut_off_too() {
        let (mut taken, mut client) = pair();
        tokio::spawn(async move {
            let mut byte = [0];
            while client.read_exact(&mut byte).await.is_ok() {
                sleep(S).await;
            }
        });
        let begun = Instant::now();
        let error = taken.write_all(&[0; 10_000]).await.unwrap_err();
        assert_eq!((error.kind(), begun.elapsed().as_secs()), (ErrorKind::TimedOut, 5));
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_enough_may_take_long() {
        let (mut taken, mut client) = pair();
        tokio::spawn(async move {
            let mut some = [0; 64];
            while client.read_exact(&mut some).await.is_ok() {
                sleep(2 * S).await;
            }
        });
        let begun = Instant::now();
        taken.write_all(&[0; 640]).await.unwrap();
        taken.flush().await.unwrap();
        assert!(begun.elapsed() >= 16 * S);
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nothing_waits_does_not_count() {
        let (mut taken, mut client) = pair();
        for _ in 0..10 {
            let write = taken.write_all(&[0; 100]);
            let read = async {
                sleep(S).await;
                client.read_exact(&mut [0; 100]).await
            };
            let (written, read) = tokio::join!(write, read);
            written.and(read).unwrap();
            taken.flush().await.unwrap();
            sleep(60 * S).await;
        }
    }
}
