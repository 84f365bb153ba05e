//! The operators' door: metrics, health, policies and their bundles, on a port of its own.
//!
//! Not here: counting (`telemetry`), what is said of policies (`policies`). Invariant: readiness is the first thing a
//! drain takes away, and this door answers until the last. It asks nobody who they are: the network decides who comes.

use aegis_policy_follow::Lack;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aegis_audit_ship::{Shipper, Standing};
use aegis_audit_witness::{Anchors, Witnesses};
use aegis_corridor::clock;
use aegis_decide::BacklogRule;
use aegis_domain::Timestamp;
use aegis_state::StateError;
use aegis_telemetry::{Anchored, Readiness, Shipped, Witnessed};
use async_trait::async_trait;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderValue, Response, StatusCode};
use pingora_core::apps::http_app::ServeHttp;
use pingora_core::protocols::http::ServerSession;
use tokio::net::TcpStream;

use crate::door::answer::Answer;
use crate::door::policies::{self, Served};
use crate::proofs::{self, Asked, Asker, NoProof};
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
        let listen = &self.gateway.corridor.config.listen;
        let last = listen.plain.or(listen.tls.as_ref().map(|tls| tls.address));
        let Some(last) = last else { return false };
        let is_open = TcpStream::connect(last).await.is_ok();
        self.is_open.store(is_open, Ordering::Release);
        is_open
    }

    /// The first tenant for whom nothing decides yet.
    fn unreleased(&self) -> Option<String> {
        let (line, lack) = self.gateway.releases.as_ref()?.missing().into_iter().next()?;
        let (tenant, environment) = (&line.tenant, &line.environment);
        let nothing = format!("no release of {tenant}/{environment} is at hand");
        Some(match lack {
            Lack::Unheard => nothing,
            Lack::Refused(why) => {
                format!("the release of {tenant}/{environment} was refused: {why}")
            }
            Lack::NotExported(why) => {
                format!("{nothing}: no voter answers, and the export is not taken: {why}")
            }
        })
    }

    /// Whether the disk has been at the records of calls for longer than a call may wait.
    fn stalled(&self) -> Option<String> {
        let corridor = &self.gateway.corridor;
        let writing = corridor.journal.writing_for();
        let seconds = writing.as_secs();
        (writing > corridor.config.limits.record_deadline)
            .then(|| format!("the disk of the audit log has not answered for {seconds} s"))
    }

    /// Whether the region could not tell that this log is gone. Who brings releases along may start with nobody reachable.
    fn unknown_log(&self) -> Option<String> {
        let corridor = &self.gateway.corridor;
        let standing = corridor.anchors.as_ref()?.standing();
        if standing.is_known || corridor.config.policy_export.is_some() {
            return None;
        }
        let why = standing.trouble.unwrap_or_else(|| "it was not asked yet".to_owned());
        Some(format!("the region does not know this audit log: {why}"))
    }

    /// Whether a log that a quorum of outside witnesses would not have could still take calls.
    fn unasked(&self) -> Option<String> {
        let quorum = self.gateway.corridor.witnesses.as_ref()?.quorum()?;
        (!quorum.is_asked).then(|| "the outside witnesses were not asked yet".to_owned())
    }

    async fn readiness(&self) -> (StatusCode, String) {
        let (status, text) = self.ask_readiness().await;
        let is_ready = status == StatusCode::OK;
        let readiness = if is_ready { Readiness::Ready } else { Readiness::NotReady };
        self.gateway.corridor.metrics.set_readiness(readiness);
        (status, text)
    }

    async fn ask_readiness(&self) -> (StatusCode, String) {
        // First of all, for a gateway whose disk has failed drains because of that.
        if let Err(error) = self.gateway.corridor.journal.health() {
            return (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {error}\n"));
        }
        if self.gateway.corridor.drain.is_draining() {
            let why = match self.gateway.corridor.state.health().await {
                Err(error @ StateError::SyncFailed) => format!("not ready: {error}\n"),
                Ok(()) | Err(_) => "draining\n".to_owned(),
            };
            return (StatusCode::SERVICE_UNAVAILABLE, why);
        }
        if !self.agents_can_call().await {
            return (StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned());
        }
        let why = self
            .stalled()
            .or_else(|| self.unreleased())
            .or_else(|| self.unknown_log())
            .or_else(|| self.unasked());
        if let Some(why) = why {
            return (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n"));
        }
        if let Err(error) = self.gateway.corridor.state.health().await {
            return (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {error}\n"));
        }
        self.shipping()
    }

    /// Ready, unless every call would be refused because too much waits for the audit bucket.
    fn shipping(&self) -> (StatusCode, String) {
        let ready = "ready\n".to_owned();
        let corridor = &self.gateway.corridor;
        let parts = corridor.shipper.as_ref().zip(corridor.config.shipping.as_ref());
        let Some((shipper, config)) = parts else { return (StatusCode::OK, ready) };
        let standing = shipper.standing();
        let Some(told) = told(&standing, clock::now()) else { return (StatusCode::OK, ready) };
        match standing.is_full && config.when_full == BacklogRule::StopAll {
            true => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {told}\n")),
            false => (StatusCode::OK, format!("{ready}{told}\n")),
        }
    }

    fn witnessed(&self) {
        let corridor = &self.gateway.corridor;
        if let Some(standing) = corridor.anchors.as_ref().map(Anchors::standing) {
            corridor.metrics.set_anchored(Anchored {
                lag_s: standing.lag().as_secs_f64(),
                size: standing.size,
                voters: u64::try_from(standing.voters).unwrap_or(u64::MAX),
            });
        }
        if let Some(quorum) = corridor.witnesses.as_ref().and_then(Witnesses::quorum) {
            corridor.metrics.set_outside_lag(quorum.lag().as_secs_f64());
        }
        for standing in corridor.witnesses.iter().flat_map(Witnesses::standing) {
            corridor.metrics.set_witnessed(Witnessed {
                witness: standing.name,
                size: standing.size,
                is_troubled: standing.trouble.is_some(),
            });
        }
    }

    async fn metrics(&self) -> String {
        self.readiness().await;
        let corridor = &self.gateway.corridor;
        if let Some(standing) = corridor.shipper.as_ref().map(Shipper::standing) {
            corridor.metrics.set_shipped(Shipped {
                backlog_bytes: standing.backlog_bytes,
                segments: standing.segments,
                is_troubled: standing.trouble.is_some(),
                last_unix_s: standing.shipped_at.map(Timestamp::unix_s),
            });
        }
        self.witnessed();
        corridor.metrics.render()
    }
}

#[async_trait]
impl ServeHttp for Ops {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let head = session.req_header();
        if let Some(asked) = head.uri.path().strip_prefix(proofs::PATH).map(Asked::parse) {
            return proof(proofs::prove(&self.gateway, asked, Asker::Operator).await);
        }
        let known = head.headers.get(IF_NONE_MATCH).cloned();
        let (method, path) = (head.method.clone(), head.uri.path().to_owned());
        let allowed = if path == RELOAD { "POST" } else { "GET, HEAD" };
        if !allowed.split(", ").any(|allowed| allowed == method.as_str()) {
            let mut refused = answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, HELP.into());
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            return refused;
        }
        let (status, kind, body) = match path.as_str() {
            RELOAD => match policies::reload(&self.gateway).await {
                Ok(told) => (StatusCode::OK, JSON, format!("{told:#}\n")),
                Err(told) => (StatusCode::UNPROCESSABLE_ENTITY, JSON, format!("{told:#}\n")),
            },
            "/healthz" => (StatusCode::OK, TEXT, "alive\n".to_owned()),
            "/readyz" => {
                let (status, body) = self.readiness().await;
                (status, TEXT, body)
            }
            "/metrics" => (StatusCode::OK, METRICS_TYPE, self.metrics().await),
            "/policies" => (StatusCode::OK, JSON, format!("{:#}\n", policies::list(&self.gateway))),
            "/bundles/es256.pem" => {
                (StatusCode::OK, TEXT, self.gateway.bundle_key.public_pem().to_owned())
            }
            path => match policies::bundle(&self.gateway, path) {
                Some(served) => return bundle(served, known.as_ref()),
                None => (StatusCode::NOT_FOUND, TEXT, HELP.to_owned()),
            },
        };
        answer(status, kind, body.into_bytes())
    }
}

/// What is wrong on the way into the audit bucket; nothing where nothing is.
fn told(standing: &Standing, now: Timestamp) -> Option<String> {
    let Standing { backlog_bytes, trouble, shipped_at, is_full, .. } = standing;
    if trouble.is_none() && !is_full {
        return None;
    }
    let since = shipped_at.map_or("nothing shipped since the start".to_owned(), |at| {
        format!("last shipped {} s ago", now.unix_s().saturating_sub(at.unix_s()))
    });
    let full = if *is_full { ", which is too much" } else { "" };
    let why = trouble.as_ref().map(|trouble| format!(": {trouble}")).unwrap_or_default();
    Some(format!("audit: {backlog_bytes} bytes wait for the bucket{full}, {since}{why}"))
}

/// The bundle, or word that the client has it.
fn bundle(served: Served, known: Option<&HeaderValue>) -> Response<Vec<u8>> {
    let is_current = policies::is_current(known, &served.etag);
    let mut response = match is_current {
        true => answer(StatusCode::NOT_MODIFIED, GZIP, Vec::new()),
        false => answer(StatusCode::OK, GZIP, served.bytes),
    };
    if is_current {
        // Neither describes what the client has (RFC 9110 §15.4.5).
        response.headers_mut().remove(CONTENT_LENGTH);
        response.headers_mut().remove(CONTENT_TYPE);
    }
    response.headers_mut().insert(ETAG, served.etag);
    response
}

fn proof(found: Result<String, NoProof>) -> Response<Vec<u8>> {
    let Answer { status, headers, body } = Answer::to_proof_asked(found);
    let mut response = Response::new(body.to_vec());
    *response.status_mut() = status;
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn answer(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Response<Vec<u8>> {
    let length = body.len();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}

const RELOAD: &str = "/policies/reload";
const HELP: &str = "GET /metrics, /healthz, /readyz, /policies, /bundles/<tenant>/<env>[.es256].tar.gz, /bundles/es256.pem, /v1/audit/proof/<log>/<seq>; POST /policies/reload\n";
const TEXT: &str = "text/plain";
const JSON: &str = "application/json";
const GZIP: &str = "application/gzip";
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
