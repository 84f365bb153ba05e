//! The operators' door: `/metrics`, `/healthz`, `/readyz` on a port of its own.
//!
//! Not here: counting (`telemetry`). Invariant: readiness is the first thing a drain takes away, and this door answers
//! until the last.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aegis_telemetry::Readiness;
use async_trait::async_trait;
use http::{Response, StatusCode};
use pingora_core::apps::http_app::ServeHttp;
use pingora_core::protocols::http::ServerSession;
use tokio::net::TcpStream;

use crate::wire::Gateway;

/// Serves what operators and load balancers ask for.
pub struct Ops {
    gateway: Arc<Gateway>,
    /// Whether the agents' doors have been seen open.
    is_open: AtomicBool,
}

impl Ops {
    pub fn new(gateway: Arc<Gateway>) -> Self {
        Self { gateway, is_open: AtomicBool::new(false) }
    }

    /// Services begin side by side, so this door may be open before those of the agents: someone knocks there first.
    async fn agents_can_call(&self) -> bool {
        if self.is_open.load(Ordering::Acquire) {
            return true;
        }
        let listen = &self.gateway.config.listen;
        let last = listen.plain.or(listen.tls.as_ref().map(|tls| tls.address));
        let Some(last) = last else { return false };
        let is_open = TcpStream::connect(last).await.is_ok();
        self.is_open.store(is_open, Ordering::Release);
        is_open
    }

    async fn readiness(&self) -> (StatusCode, String) {
        let (status, text) = self.ask_readiness().await;
        let is_ready = status == StatusCode::OK;
        let readiness = if is_ready { Readiness::Ready } else { Readiness::NotReady };
        self.gateway.metrics.set_readiness(readiness);
        (status, text)
    }

    async fn ask_readiness(&self) -> (StatusCode, String) {
        if self.gateway.drain.is_draining() {
            return (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned());
        }
        if !self.agents_can_call().await {
            return (StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned());
        }
        if let Err(error) = self.gateway.journal.health() {
            return (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {error}\n"));
        }
        match self.gateway.state.health().await {
            Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
            Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {error}\n")),
        }
    }
}

#[async_trait]
impl ServeHttp for Ops {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let (status, kind, body) = match session.req_header().uri.path() {
            "/healthz" => (StatusCode::OK, "text/plain", "alive\n".to_owned()),
            "/readyz" => {
                let (status, body) = self.readiness().await;
                (status, "text/plain", body)
            }
            "/metrics" => {
                self.readiness().await;
                (StatusCode::OK, METRICS_TYPE, self.gateway.metrics.render())
            }
            _ => (
                StatusCode::NOT_FOUND,
                "text/plain",
                "ask for /metrics, /healthz or /readyz\n".to_owned(),
            ),
        };
        let mut response = Response::new(body.into_bytes());
        *response.status_mut() = status;
        let length = response.body().len();
        let headers = response.headers_mut();
        headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
        headers.insert(http::header::CONTENT_LENGTH, http::HeaderValue::from(length));
        response
    }
}

const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
