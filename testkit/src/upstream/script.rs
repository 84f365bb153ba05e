//! How an upstream answers one path.
//!
//! Not here: the sockets (`serve`). Invariant: nothing waits for time; what waits, waits for a gate the test opens.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;
use tokio::sync::Semaphore;

/// Orders for calls of one path.
#[derive(Clone, Debug)]
pub enum Script {
    Answer(Answer),
    /// A stream of events, each sent once the gate lets it; ends after the last.
    Events(Vec<String>, Gate),
    /// Sends the request body back, piece by piece as it comes.
    Echo,
    /// Accepts the handshake and sends back whatever comes.
    WebSocket,
    /// Answers once the gate opens.
    Late(Gate, Answer),
    /// Sends a head and these bytes, and after the gate opened closes in the middle.
    BreakOff(Bytes, Gate),
    /// Closes the connection when the head has arrived.
    Slam,
}

/// A plain answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) trailers: Option<HeaderMap>,
}

impl Answer {
    pub fn status(code: u16) -> Self {
        Self { status: StatusCode::from_u16(code).unwrap(), ..Self::default() }
    }

    pub fn json(value: &Value) -> Self {
        Self { body: Bytes::from(value.to_string()), ..Self::default() }
            .header("content-type", "application/json")
    }

    pub fn body(self, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..self }
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        self
    }

    pub fn trailer(mut self, name: &'static str, value: &str) -> Self {
        let trailers = self.trailers.get_or_insert_default();
        trailers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        self
    }
}

/// Stands closed until the test lets one pass, or several.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Semaphore>);

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }
}

impl Gate {
    /// Lets `count` more pass.
    pub fn open(&self, count: usize) {
        self.0.add_permits(count);
    }

    pub(super) async fn pass(&self) {
        self.0.acquire().await.unwrap().forget();
    }
}
