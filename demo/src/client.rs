//! The demo's agent: sends calls through the front door as any HTTP client would.
//!
//! Not here: which calls (`scenario`). Invariant: it talks to the gateway only, over a real socket.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Collected, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// One call to make.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) token: String,
    pub(crate) body: Option<serde_json::Value>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// When each piece of the body arrived, after the call was sent.
    pub(crate) arrivals: Vec<Duration>,
}

/// A client of the gateway on one port.
pub(crate) struct Agent {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
}

impl Agent {
    pub(crate) fn new(port: u16) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { client, base: format!("http://127.0.0.1:{port}") }
    }

    pub(crate) async fn send(&self, ask: &Ask) -> anyhow::Result<Reply> {
        let body = ask.body.as_ref().map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let mut request = Request::builder()
            .method(ask.method.clone())
            .uri(format!("{}{}", self.base, ask.path))
            .header(AUTHORIZATION, format!("Bearer {}", ask.token));
        if ask.body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let started = Instant::now();
        let response = self
            .client
            .request(request.body(Full::new(body))?)
            .await
            .context("the gateway did not answer")?;
        let (head, mut body) = response.into_parts();
        let (mut whole, mut arrivals) = (Vec::new(), Vec::new());
        while let Some(frame) = body.frame().await {
            if let Some(data) = frame?.data_ref() {
                whole.extend_from_slice(data);
                arrivals.push(started.elapsed());
            }
        }
        Ok(Reply { status: head.status, headers: head.headers, body: whole.into(), arrivals })
    }

    /// Waits until the gateway takes connections.
    pub(crate) async fn until_ready(&self, metrics_port: u16) -> anyhow::Result<()> {
        let uri: http::Uri = format!("http://127.0.0.1:{metrics_port}/readyz").parse()?;
        let mut why = "nobody answers its /readyz".to_owned();
        for _ in 0..200 {
            if let Ok(answer) = self.client.get(uri.clone()).await {
                if answer.status().is_success() {
                    return Ok(());
                }
                let text = answer.into_body().collect().await.map(Collected::to_bytes);
                why = String::from_utf8_lossy(&text.unwrap_or_default()).trim().to_owned();
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        anyhow::bail!("the gateway was not ready within five seconds: {why}")
    }
}
