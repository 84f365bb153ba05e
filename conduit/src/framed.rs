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
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{ALPN, GetProxyDigest, Peek, Shutdown, Ssl, Stream};
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
            let taken = this.take(buf.filled().get(known..).unwrap_or_default());
            // An error comes without bytes.
            return Poll::Ready(taken.inspect_err(|_| buf.set_filled(known)));
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

impl Ssl for Framed {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

impl GetProxyDigest for Framed {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }
}

impl Peek for Framed {}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::sleep;

    use super::*;

    const S: Duration = Duration::from_secs(1);
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

    fn pair() -> (Framed, DuplexStream) {
        let (ours, client) = duplex(1_024 * 1_024);
        (Framed::new(Box::new(ours), 10 * S), client)
    }

    /// Reads to the end, as h2 would; how that came.
    async fn end(mut framed: Framed) -> (Vec<u8>, Result<usize>) {
        let mut bytes = Vec::new();
        let end = framed.read_to_end(&mut bytes).await;
        (bytes, end)
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_gets_whole_is_cut_off() {
        let half_a_head: &[u8] = &[0, 0, 4, 1, 0, 0, 0, 0, 1, 0x82, 0x86, 0x84, 0x87];
        for said in [
            b"".as_slice(),
            &PREFACE[..20],
            &[PREFACE, &PING[..5]].concat(),
            &[PREFACE, half_a_head].concat(),
        ] {
            let (framed, mut client) = pair();
            let begun = Instant::now();
            client.write_all(said).await.unwrap();
            let (heard, end) = end(framed).await;
            assert_eq!((heard.as_slice(), end.unwrap_err().kind()), (said, ErrorKind::TimedOut));
            assert_eq!(begun.elapsed().as_secs(), 10);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_gains_no_time() {
        let (framed, mut client) = pair();
        client.write_all(PREFACE).await.unwrap();
        let begun = Instant::now();
        tokio::spawn(async move {
            for byte in [0, 0, 100, 1, 4].into_iter().chain([0; 100]) {
                client.write_all(&[byte]).await.unwrap();
                sleep(S).await;
            }
        });
        assert_eq!(end(framed).await.1.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_may_be_quiet_between_its_frames() {
        let (framed, mut client) = pair();
        tokio::spawn(async move {
            client.write_all(PREFACE).await.unwrap();
            for _ in 0..10 {
                sleep(60 * S).await;
                client.write_all(PING).await.unwrap();
            }
        });
        let (heard, end) = end(framed).await;
        assert_eq!((heard.len(), end.unwrap()), (PREFACE.len() + 10 * PING.len(), heard.len()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_cut_off() {
        let (framed, mut client) = pair();
        client.write_all(&[PREFACE, &PING.repeat(2_000)].concat()).await.unwrap();
        let error = end(framed).await.1.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
    }
}
