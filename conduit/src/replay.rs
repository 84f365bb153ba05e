//! Hands a body that was read whole, judged and perhaps rewritten, to Pingora's proxy loop, any number of times.
//!
//! Not here: reading and judging the body. Pingora 0.9.1 has no hook for a verdict on the body before the head
//! goes upstream (cloudflare/pingora#816 is open), so the downstream session is swapped for this one.
//! Invariant: the upstream gets exactly the judged bytes, also on a retry; the real session always comes back.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use http::HeaderMap;
use parking_lot::Mutex;
use pingora_core::Result;
use pingora_core::protocols::http::custom::CustomMessageWrite;
use pingora_core::protocols::http::custom::server::Session as CustomSession;
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_core::protocols::{Digest, l4::socket::SocketAddr};
use pingora_http::{RequestHeader, ResponseHeader};

/// Gives the real session back.
#[derive(Debug)]
pub struct Return(Mutex<Receiver<Box<ServerSession>>>);

/// A session whose request body is known already.
struct Replay {
    inner: Box<ServerSession>,
    home: Mutex<Sender<Box<ServerSession>>>,
    /// What is still to be handed out in this attempt.
    left: Bytes,
    body: Bytes,
}

/// How much is handed out at a time: between two pieces Pingora looks for an early answer and a client that left.
const PIECE_BYTES: usize = 64 * 1_024;

impl Replay {
    fn piece(&mut self) -> Option<Bytes> {
        let bytes = self.left.len().min(PIECE_BYTES);
        (bytes > 0).then(|| self.left.split_to(bytes))
    }
}

/// Puts the judged body in the place of what the client sent.
pub fn install(slot: &mut Box<ServerSession>, body: Bytes) -> Return {
    let inner = std::mem::replace(slot, Box::new(placeholder()));
    let (home, back) = channel();
    // An empty body ends with the head; handing it out would send a frame after the end.
    let left = body.clone();
    **slot =
        ServerSession::new_custom(Box::new(Replay { inner, home: Mutex::new(home), left, body }));
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

impl Drop for Replay {
    fn drop(&mut self) {
        let real = std::mem::replace(&mut self.inner, Box::new(placeholder()));
        // Nobody waits for it when the connection itself is going away.
        drop(self.home.lock().send(real));
    }
}

#[async_trait]
impl CustomSession for Replay {
    fn req_header(&self) -> &RequestHeader {
        self.inner.req_header()
    }
    fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.inner.req_header_mut()
    }
    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        Ok(self.piece())
    }
    async fn drain_request_body(&mut self) -> Result<()> {
        Ok(())
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
        self.left.is_empty()
    }
    /// Called when the response ends and once more at the end of the session.
    async fn finish(&mut self) -> Result<()> {
        self.inner.finish_body().await
    }
    fn is_body_empty(&mut self) -> bool {
        self.body.is_empty()
    }
    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if no_body_expected {
            return self.inner.read_body_or_idle(true).await;
        }
        match self.piece() {
            Some(piece) => Ok(Some(piece)),
            None => self.inner.read_body_or_idle(true).await,
        }
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
        self.left = self.body.clone();
    }
    fn retry_buffer_truncated(&self) -> bool {
        false
    }
    fn get_retry_buffer(&self) -> Option<Bytes> {
        None
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
