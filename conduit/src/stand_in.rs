//! Stands in for the session of a client, so that its body comes to Pingora's proxy loop as it should: judged whole before,
//! or as it arrives but no slower than it may.
//!
//! Not here: reading and judging the body, and HTTP/1 bodies that are passed on (`gated`). Pingora 0.9.1 has no hook for
//! a verdict on the body before the head goes upstream (cloudflare/pingora#816 is open), and no timeout on the bodies of
//! HTTP/2, so the downstream session is swapped for this one.
//! Invariant: the upstream gets exactly the judged bytes, also on a retry; the real session always comes back.

use std::future::Future;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use aegis_gate::Pace;
use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use http::HeaderMap;
use parking_lot::Mutex;
use pingora_core::protocols::http::custom::CustomMessageWrite;
use pingora_core::protocols::http::custom::server::Session as CustomSession;
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_core::protocols::{Digest, l4::socket::SocketAddr};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::time::{Instant, timeout_at};

/// Gives the real session back.
#[derive(Debug)]
pub struct Return(Mutex<Receiver<Box<ServerSession>>>);

struct StandIn {
    inner: Box<ServerSession>,
    home: Mutex<Sender<Box<ServerSession>>>,
    body: Body,
}

/// Where the request body is.
enum Body {
    /// Known already.
    Judged {
        whole: Bytes,
        /// What is still to be handed out in this attempt.
        left: Bytes,
    },
    /// On its way.
    Coming { pace: Pace, began: Instant, bytes: u64 },
}

/// How much is handed out at a time: between two pieces Pingora looks for an early answer and a client that left.
const PIECE_BYTES: usize = 64 * 1_024;

impl Body {
    fn judged(whole: Bytes) -> Self {
        // An empty body ends with the head; handing it out would send a frame after the end.
        Self::Judged { left: whole.clone(), whole }
    }
}

impl StandIn {
    /// A piece of what is known, or else of what comes.
    async fn piece(&mut self) -> Result<Option<Bytes>> {
        let Self { inner, body, .. } = self;
        let (pace, began, bytes) = match body {
            Body::Judged { left, .. } => {
                let bytes = left.len().min(PIECE_BYTES);
                return Ok((bytes > 0).then(|| left.split_to(bytes)));
            }
            Body::Coming { pace, began, bytes } => (pace, began, bytes),
        };
        // Once it is answered it is a conversation, in which either side may be quiet.
        let is_answered = inner.response_written().is_some();
        let read = inner.read_request_body();
        let piece = match is_answered {
            true => read.await?,
            false => in_time(*began + pace.due(*bytes), read).await?,
        };
        let came = piece.as_ref().map_or(0, Bytes::len);
        *bytes = bytes.saturating_add(u64::try_from(came).unwrap_or(u64::MAX));
        Ok(piece)
    }
}

async fn in_time<T>(due: Instant, read: impl Future<Output = Result<T>>) -> Result<T> {
    match timeout_at(due, read).await {
        Ok(read) => read,
        Err(_) => {
            let slow = Error::explain(ErrorType::ReadTimedout, "a body comes too slowly");
            Err(slow.into_down())
        }
    }
}

/// Puts the judged body in the place of what the client sent.
pub fn replay(slot: &mut Box<ServerSession>, body: Bytes) -> Return {
    install(slot, Body::judged(body))
}

/// Lets the body come as it does, but for no longer than its pace allows until it is answered.
pub fn pace(slot: &mut Box<ServerSession>, pace: Pace) -> Return {
    install(slot, Body::Coming { pace, began: Instant::now(), bytes: 0 })
}

fn install(slot: &mut Box<ServerSession>, body: Body) -> Return {
    let inner = std::mem::replace(slot, Box::new(placeholder()));
    let (home, back) = channel();
    **slot = ServerSession::new_custom(Box::new(StandIn { inner, home: Mutex::new(home), body }));
    Return(Mutex::new(back))
}

/// Puts the real session back, so that HTTP/1 keep-alive goes on.
pub fn restore(slot: &mut Box<ServerSession>, back: &Return) {
    drop(std::mem::replace(slot, Box::new(placeholder())));
    if let Ok(real) = back.0.lock().try_recv() {
        *slot = real;
    }
}

fn placeholder() -> ServerSession {
    ServerSession::new_http1(Box::new(std::io::Cursor::new(Vec::<u8>::new())))
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let real = std::mem::replace(&mut self.inner, Box::new(placeholder()));
        // Nobody waits for it when the connection itself is going away.
        drop(self.home.lock().send(real));
    }
}

#[async_trait]
impl CustomSession for StandIn {
    fn req_header(&self) -> &RequestHeader {
        self.inner.req_header()
    }
    fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.inner.req_header_mut()
    }
    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        self.piece().await
    }
    async fn drain_request_body(&mut self) -> Result<()> {
        match &self.body {
            Body::Judged { .. } => Ok(()),
            Body::Coming { .. } => self.inner.drain_request_body().await,
        }
    }
    async fn write_response_header(&mut self, head: Box<ResponseHeader>, _end: bool) -> Result<()> {
        self.inner.write_response_header(head).await
    }
    async fn write_response_header_ref(&mut self, head: &ResponseHeader, _end: bool) -> Result<()> {
        self.inner.write_response_header_ref(head).await
    }
    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.inner.write_response_body(data, end).await
    }
    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.inner.write_response_trailers(trailers).await
    }
    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        self.inner.response_duplex_vec(tasks).await
    }
    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.inner.set_read_timeout(timeout);
    }
    fn get_read_timeout(&self) -> Option<Duration> {
        self.inner.get_read_timeout()
    }
    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.inner.set_write_timeout(timeout);
    }
    fn get_write_timeout(&self) -> Option<Duration> {
        self.inner.get_write_timeout()
    }
    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.inner.set_total_drain_timeout(timeout);
    }
    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.inner.get_total_drain_timeout()
    }
    fn request_summary(&self) -> String {
        self.inner.request_summary()
    }
    fn response_written(&self) -> Option<&ResponseHeader> {
        self.inner.response_written()
    }
    async fn shutdown(&mut self, _code: u32, _ctx: &str) {
        self.inner.shutdown().await;
    }
    fn is_body_done(&mut self) -> bool {
        match &self.body {
            Body::Judged { left, .. } => left.is_empty(),
            Body::Coming { .. } => self.inner.is_body_done(),
        }
    }
    /// Called when the response ends and once more at the end of the session.
    async fn finish(&mut self) -> Result<()> {
        self.inner.finish_body().await
    }
    fn is_body_empty(&mut self) -> bool {
        match &self.body {
            Body::Judged { whole, .. } => whole.is_empty(),
            Body::Coming { .. } => self.inner.is_body_empty(),
        }
    }
    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if no_body_expected || self.is_body_done() {
            return self.inner.read_body_or_idle(true).await;
        }
        self.piece().await
    }
    fn body_bytes_sent(&self) -> usize {
        self.inner.body_bytes_sent()
    }
    fn body_bytes_read(&self) -> usize {
        self.inner.body_bytes_read()
    }
    fn digest(&self) -> Option<&Digest> {
        self.inner.digest()
    }
    fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.inner.digest_mut()
    }
    fn client_addr(&self) -> Option<&SocketAddr> {
        self.inner.client_addr()
    }
    fn server_addr(&self) -> Option<&SocketAddr> {
        self.inner.server_addr()
    }
    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        self.inner.to_h1_raw()
    }
    /// Called once at the start of each attempt: the whole judged body is offered again, never what the client sent.
    fn enable_retry_buffering(&mut self) {
        match &mut self.body {
            Body::Judged { whole, left } => *left = whole.clone(),
            Body::Coming { .. } => self.inner.enable_retry_buffering(),
        }
    }
    fn retry_buffer_truncated(&self) -> bool {
        match &self.body {
            Body::Judged { .. } => false,
            Body::Coming { .. } => self.inner.retry_buffer_truncated(),
        }
    }
    fn get_retry_buffer(&self) -> Option<Bytes> {
        match &self.body {
            Body::Judged { .. } => None,
            Body::Coming { .. } => self.inner.get_retry_buffer(),
        }
    }
    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }
    fn take_custom_message_reader(
        &mut self,
    ) -> Option<Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>> {
        None
    }
    fn restore_custom_message_reader(
        &mut self,
        _reader: Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>,
    ) -> Result<()> {
        Ok(())
    }
    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }
    fn restore_custom_message_writer(
        &mut self,
        _writer: Box<dyn CustomMessageWrite>,
    ) -> Result<()> {
        Ok(())
    }
}
