//! A connection as Pingora gets it for one HTTP/1 call: the body passes the gate, and nothing behind it does.
//!
//! Not here: what a body must be (`gate`). Invariant: Pingora reads exactly one message, in exactly one framing, at no
//! less than the pace that is asked for; what came behind it is kept for the next call.

use std::future::Future as _;
use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use aegis_gate::{BodyGate, Framing, Pace, Progress};
use bytes::{Buf as _, BytesMut};
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{ALPN, GetProxyDigest, Peek, Ssl, Stream};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::passes_on::passes_on;

/// How much is taken of what comes behind a message before its answer is out.
const BEHIND_BYTES_MAX: usize = 64 * 1_024;
const READ_BYTES: usize = 16 * 1_024;

/// One message, and the connection it comes on.
pub struct Gated {
    inner: Stream,
    /// Read, and not handed out yet.
    rest: BytesMut,
    body: BodyGate,
    /// Bytes at the start of `rest` that have passed the gate.
    passed: usize,
    pace: Pace,
    started: Instant,
    timer: Pin<Box<Sleep>>,
}

impl std::fmt::Debug for Gated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gated").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Gated {
    pub fn new(inner: Stream, rest: BytesMut, framing: Framing, pace: Pace) -> Self {
        let started = Instant::now();
        let timer = Box::pin(sleep_until(started + pace.due(0)));
        Self { inner, rest, body: BodyGate::new(framing), passed: 0, pace, started, timer }
    }

    /// The connection, and what came behind the message.
    pub fn into_parts(self) -> (Stream, BytesMut) {
        (self.inner, self.rest)
    }

    /// Lets the new bytes at the end of `rest` through the gate.
    fn pass(&mut self) -> std::io::Result<()> {
        while !self.body.has_ended() && self.passed < self.rest.len() {
            let new = self.rest.get(self.passed..).unwrap_or_default();
            let end = match self.body.push(new) {
                Ok(Progress::More) => self.rest.len(),
                Ok(Progress::Ends { at }) => self.passed.saturating_add(at),
                Err(refusal) => return Err(Error::new(ErrorKind::InvalidData, refusal)),
            };
            self.passed = end;
        }
        Ok(())
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        self.rest.reserve(READ_BYTES);
        let mut piece = [0; READ_BYTES];
        let mut buffer = ReadBuf::new(&mut piece);
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buffer))?;
        self.rest.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Ready when the sender has fallen behind.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let due = self.started + self.pace.due(self.body.content_bytes());
        if self.timer.deadline() != due {
            self.timer.as_mut().reset(due);
        }
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(Err(Error::from(ErrorKind::TimedOut)))
    }
}

impl AsyncRead for Gated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = &mut *self;
        loop {
            this.pass()?;
            if this.passed > 0 {
                let count = this.passed.min(buf.remaining());
                buf.put_slice(this.rest.get(..count).unwrap_or_default());
                this.rest.advance(count);
                this.passed = this.passed.saturating_sub(count);
                return Poll::Ready(Ok(()));
            }
            if this.body.has_ended() && this.rest.len() >= BEHIND_BYTES_MAX {
                // The next call has to wait; its sender is held back by its socket.
                return Poll::Pending;
            }
            match this.poll_fill(cx) {
                // The end of the connection, which Pingora must see.
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if this.body.has_ended() => return Poll::Pending,
                Poll::Pending => return this.poll_late(cx),
            }
        }
    }
}

passes_on!(Gated);

impl Ssl for Gated {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

impl GetProxyDigest for Gated {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }
}

impl Peek for Gated {}
