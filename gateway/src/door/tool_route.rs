//! The door for tool routes: `/<tool>/<path>` over HTTP/1.1 and HTTP/2, WebSocket handshakes included.
//!
//! Not here: deciding (`corridor`) and reading heads off the wire (`front`). Kept thin, because Pingora is compiled
//! into this file. Invariant: Pingora asks for a peer only when a permit exists.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use aegis_domain::Reason;
use aegis_gate as gate;
use aegis_telemetry::Metrics;
use async_trait::async_trait;
use bytes::Bytes;
use http::header::{EXPECT, HeaderName, TE, TRANSFER_ENCODING};
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::ServerSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};

use crate::door::allowance;
use crate::door::answer::Answer;
use crate::door::arrival::arrival;
use crate::door::body::DownstreamBody;
use crate::door::last_event::LastEvent;
use crate::door::{body, connection, front, own};
use crate::rooms::forward::{self, Reach};
use crate::wire::Gateway;
use aegis_conduit::upstream::{announce, speaks_http2};
use aegis_conduit::{handshake, stand_in};
use aegis_corridor::Admission;
use aegis_corridor::clock;
use aegis_corridor::context::CallContext;
use aegis_corridor::drain::Underway;
use aegis_corridor::headers;
use aegis_corridor::refusal::Refusal;
use aegis_corridor::rooms::settle::{End, Settlement};

/// Pingora's view of the gateway.
pub struct ToolRoute {
    gateway: Arc<Gateway>,
}

/// What one request needs while Pingora has it.
pub struct Visit {
    _underway: Underway,
    _counted: InFlight,
    call: Option<CallContext>,
    is_upgrade: bool,
    body_home: Option<stand_in::Return>,
    settlement: Option<Settlement>,
    last_event: LastEvent,
    /// Why forwarding failed, once it has.
    failure: Option<Reason>,
    /// How many addresses of the upstream were tried in vain.
    attempts: usize,
    /// Whether the answer comes through the gate of `conduit::upstream`.
    is_gated: bool,
}

/// Shows a call in `aegis_calls_in_flight` for as long as it lives.
pub(super) struct InFlight(Metrics);

impl InFlight {
    pub(super) fn begin(metrics: Metrics) -> Self {
        metrics.call_began();
        Self(metrics)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.call_ended();
    }
}

impl ToolRoute {
    pub fn new(gateway: Arc<Gateway>) -> Self {
        Self { gateway }
    }

    /// Answers what is ours; true when it was.
    async fn serve_own(&self, session: &mut Session) -> Result<bool> {
        let answer = own::answer(&self.gateway, &mut session.downstream_session).await;
        let Some(answer) = answer else { return Ok(false) };
        send(session, answer).await?;
        Ok(true)
    }

    async fn admit(&self, session: &mut Session, visit: &mut Visit) -> Result<Option<Refusal>> {
        let now = clock::now();
        let corridor = &self.gateway.corridor;
        let limits = front::gate_limits(self.gateway.corridor.config.limits.head);
        let (arrival, asked) = match arrival(&mut session.downstream_session, limits) {
            Ok(arrival) => arrival,
            Err((reason, asked)) => return Ok(Some(corridor.refuse_unread(reason, asked).await)),
        };
        let traceparent = arrival.headers.get("traceparent").and_then(|value| value.to_str().ok());
        let (Ok(id), Ok(trace)) = (clock::decision_id(now), clock::trace(traceparent)) else {
            return Ok(Some(Refusal::nameless()));
        };
        let mut call = CallContext::new(id, trace, now);
        call.asked = asked;
        let mut body = DownstreamBody {
            session: &mut session.downstream_session,
            room: &self.gateway.body_room,
        };
        let admission = corridor.admit(&mut call, &arrival, &mut body).await;
        visit.is_upgrade = arrival.is_upgrade;
        let call = visit.call.insert(call);
        match admission {
            Admission::Refused(refusal) => Ok(Some(*refusal)),
            Admission::LetThrough => {
                visit.settlement = Settlement::begin(&self.gateway.corridor, call);
                let judged = call.outgoing.as_ref().and_then(|outgoing| outgoing.body.clone());
                if judged.is_none() && arrival.headers.contains_key(EXPECT) {
                    session.write_continue_response().await?;
                }
                if arrival.is_upgrade {
                    handshake::keep_open(&mut session.downstream_session)?;
                    return Ok(None);
                }
                let slot = &mut session.downstream_session;
                visit.body_home = match judged {
                    _ if slot.is_body_empty() => None,
                    Some(body) => Some(stand_in::replay(slot, body)),
                    // On HTTP/1 its pace is kept where it is read (`Gated`).
                    None if slot.is_http2() => {
                        let grace = self.gateway.corridor.config.limits.body_deadline;
                        Some(stand_in::pace(slot, front::pace(grace)))
                    }
                    None => None,
                };
                Ok(None)
            }
        }
    }
}

#[async_trait]
impl ProxyHttp for ToolRoute {
    type CTX = Visit;

    fn new_ctx(&self) -> Visit {
        Visit {
            _underway: self.gateway.corridor.drain.underway(),
            _counted: InFlight::begin(self.gateway.corridor.metrics.clone()),
            call: None,
            is_upgrade: false,
            body_home: None,
            settlement: None,
            last_event: LastEvent::default(),
            failure: None,
            attempts: 0,
            is_gated: false,
        }
    }

    fn init_downstream_modules(&self, _modules: &mut pingora_core::modules::http::HttpModules) {}

    async fn request_filter(&self, session: &mut Session, visit: &mut Visit) -> Result<bool> {
        if self.gateway.corridor.drain.is_draining() {
            session.set_keepalive(None);
        }
        // An agent that stops reading must not hold its call, its hold and an upstream connection for ever.
        session
            .downstream_session
            .set_write_timeout(Some(self.gateway.corridor.config.limits.idle));
        if self.serve_own(session).await? {
            return Ok(true);
        }
        match self.admit(session, visit).await? {
            None => Ok(false),
            Some(refusal) => {
                let is_known = visit.call.as_ref().is_some_and(|call| call.identified.is_some());
                if !is_known && !connection::strike(&session.downstream_session) {
                    session.set_keepalive(None);
                }
                send(session, Answer::to(&refusal)).await?;
                take_rest(&mut session.downstream_session).await;
                Ok(true)
            }
        }
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        visit: &mut Visit,
    ) -> Result<Box<HttpPeer>> {
        let call = visit.call.as_ref();
        let parts = call.and_then(|call| {
            Some((call.permit.as_ref()?, call.identified.as_ref()?, call.read.as_ref()?))
        });
        let Some((permit, identified, read)) = parts else {
            return Err(refused(Reason::Unavailable, visit));
        };
        match forward::peer(&self.gateway, permit, (identified, read), visit.reach()).await {
            Ok(peer) => Ok(Box::new(peer)),
            Err(reason) => Err(refused(reason, visit)),
        }
    }

    async fn connected_to_upstream(
        &self,
        session: &mut Session,
        _reused: bool,
        _peer: &HttpPeer,
        _fd: RawFd,
        digest: Option<&Digest>,
        visit: &mut Visit,
    ) -> Result<()> {
        visit.is_gated = announce(digest, visit.asked(session));
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        upstream: &mut RequestHeader,
        visit: &mut Visit,
    ) -> Result<()> {
        let is_http2 = upstream.version == http::Version::HTTP_2;
        // Pingora falls back to an HTTP/1 of its own where a server ignores that only HTTP/2 was offered.
        if !is_http2 && !visit.is_gated {
            return Err(refused(Reason::UpstreamFailed, visit));
        }
        let outgoing = visit.call.as_ref().and_then(|call| call.outgoing.as_ref());
        let Some(outgoing) = outgoing else { return Err(refused(Reason::Unavailable, visit)) };
        let size = Some(outgoing.headers.len());
        let path = outgoing.path_and_query.as_bytes();
        let mut judged = RequestHeader::build(outgoing.method.clone(), path, size)?;
        judged.set_version(upstream.version);
        for (name, value) in &outgoing.headers {
            // HTTP/2 frames bodies by itself (RFC 9113 §8.2.2), and only it forwards trailers.
            let other = if is_http2 { TRANSFER_ENCODING } else { TE };
            if *name == other {
                continue;
            }
            judged.append_header(name.clone(), value.clone())?;
        }
        *upstream = judged;
        // A connection stands, so what failed on the way to it is no longer the news.
        visit.failure = None;
        if let Some(settlement) = &mut visit.settlement {
            settlement.sent();
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        visit: &mut Visit,
    ) -> Result<()> {
        let asked = visit.asked(session);
        let version = match response.version {
            http::Version::HTTP_2 => gate::Version::Http2,
            http::Version::HTTP_10 => gate::Version::Http10,
            _ => gate::Version::Http11,
        };
        let fields = response.headers.iter();
        let fields = fields.map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
        match gate::check_response(response.status.as_u16(), version, asked, fields) {
            Ok(_) => Ok(()),
            Err(refusal) => {
                tracing::debug!(%refusal, "an upstream's answer was refused");
                Err(refused(Reason::UpstreamFailed, visit))
            }
        }
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        visit: &mut Visit,
    ) -> Result<()> {
        let is_final = !response.status.is_informational();
        if visit.is_upgrade && is_final && visit.body_home.is_none() {
            visit.body_home = Some(handshake::declined(&mut session.downstream_session));
        }
        let ours: Vec<HeaderName> =
            response.headers.keys().filter(|name| headers::is_ours(name)).cloned().collect();
        for name in ours {
            response.remove_header(&name);
        }
        let Some(call) = &visit.call else { return Ok(()) };
        response.insert_header(headers::AEGIS_DECISION_ID, call.id.as_str())?;
        if let Some(policy) = call.decision.as_ref().and_then(|decision| decision.policy.as_ref()) {
            response.insert_header(headers::AEGIS_POLICY_VERSION, policy.version)?;
        }
        if let Some(attestation) = call.sealed.as_ref().and_then(|held| held.attestation.as_ref()) {
            response.insert_header(headers::AEGIS_ATTESTATION, attestation.as_str())?;
        }
        for (name, value) in call.allowance.iter().flat_map(allowance::lines) {
            response.append_header(name, value)?;
        }
        if let Some(settlement) = &mut visit.settlement {
            settlement.answered(response.status.as_u16(), &response.headers);
        }
        visit.last_event.begin(&response.headers);
        Ok(())
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        visit: &mut Visit,
    ) -> Result<Option<Duration>> {
        let Some(settlement) = &mut visit.settlement else { return Ok(None) };
        let piece = body.clone().unwrap_or_default();
        let flow = settlement.body(&piece, end_of_stream);
        if !settlement.is_limited() {
            return Ok(None);
        }
        let call = visit.call.as_ref();
        let refusal = || refusal_on_the_way(call, Reason::BudgetExhausted);
        let written = session.downstream_session.body_bytes_sent();
        match visit.last_event.piece((&piece, flow), written, refusal) {
            true => Ok(None),
            false => Err(refused(Reason::BudgetExhausted, visit)),
        }
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        peer: &HttpPeer,
        visit: &mut Visit,
        error: Box<Error>,
    ) -> Box<Error> {
        visit.failure = Some(failure(&error));
        let mut error = error;
        if speaks_http2(&error) {
            self.gateway.spoken.learn_http2(peer);
        } else {
            self.gateway.spoken.forget(peer);
            visit.attempts = visit.attempts.saturating_add(1);
        }
        // Nothing was sent, so another address of the same name may be tried.
        error.set_retry(true);
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        visit: &mut Visit,
    ) -> FailToProxy {
        if let Some(home) = visit.body_home.take() {
            stand_in::restore(&mut session.downstream_session, &home);
        }
        let reason = *visit.failure.get_or_insert_with(|| failure(error));
        let is_untouched = session.response_written().is_none();
        if is_untouched && reason != Reason::AgentGone {
            let refusal = refusal_on_the_way(visit.call.as_ref(), reason);
            session.set_keepalive(None);
            if let Err(error) = send(session, Answer::to(&refusal)).await {
                tracing::debug!(%error, "a failed call's answer could not be sent");
            }
        } else if let Some(ending) = visit.last_event.take()
            && let Err(error) = session.write_response_body(Some(ending), true).await
        {
            tracing::debug!(%error, "an agent did not take the last event");
        }
        FailToProxy { error_code: 0, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, visit: &mut Visit) {
        if let Some(home) = visit.body_home.take() {
            stand_in::restore(&mut session.downstream_session, &home);
        }
        if let Some(settlement) = visit.settlement.take() {
            let reason = error.map(|error| visit.failure.unwrap_or_else(|| failure(error)));
            settlement.finish(match reason {
                None => End::Complete,
                Some(reason) => End::Failed(reason),
            });
        }
    }

    /// The outcome record says it, once, and without a URL.
    fn suppress_error_log(&self, _session: &Session, _visit: &Visit, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _visit: &Visit,
        _error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        true
    }

    fn request_summary(&self, _session: &Session, visit: &Visit) -> String {
        visit.call.as_ref().map(|call| call.id.to_string()).unwrap_or_default()
    }
}

impl Visit {
    fn asked(&self, session: &Session) -> gate::Asked {
        match (self.is_upgrade, session.req_header().method == http::Method::HEAD) {
            (true, _) => gate::Asked::WebSocket,
            (false, true) => gate::Asked::Head,
            (false, false) => gate::Asked::Plain,
        }
    }

    fn reach(&self) -> Reach {
        Reach { is_upgrade: self.is_upgrade, attempts: self.attempts }
    }
}

/// Reads what is left of a refused body for a moment: a reset would take the answer away from a client that still
/// writes (RFC 9112 §9.6).
async fn take_rest(session: &mut ServerSession) {
    if session.is_http2() || session.is_body_done() {
        return;
    }
    session.set_total_drain_timeout(Some(LINGER));
    if let Err(error) = session.drain_request_body().await {
        tracing::debug!(%error, "a refused client sent more than it should");
    }
}

/// How long a refused client may go on sending.
const LINGER: Duration = Duration::from_secs(1);

async fn send(session: &mut Session, answer: Answer) -> Result<()> {
    let mut head = ResponseHeader::build(answer.status, Some(answer.headers.len()))?;
    for (name, value) in answer.headers {
        head.append_header(name, value)?;
    }
    let has_body = session.req_header().method != http::Method::HEAD;
    session.write_response_header(Box::new(head), !has_body).await?;
    if has_body {
        session.write_response_body(Some(answer.body), true).await?;
    }
    Ok(())
}

fn refusal_on_the_way(call: Option<&CallContext>, reason: Reason) -> Refusal {
    call.map_or_else(Refusal::nameless, |call| Refusal::on_the_way(call, reason))
}

/// Remembers why a call is not forwarded and stops Pingora.
fn refused(reason: Reason, visit: &mut Visit) -> Box<Error> {
    visit.failure = Some(reason);
    Error::new(ErrorType::InternalError)
}

fn failure(error: &Error) -> Reason {
    if *error.esource() == ErrorSource::Downstream {
        // A body that streams is refused while it goes on.
        return body::refused(error).unwrap_or(Reason::AgentGone);
    }
    match error.etype() {
        ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => Reason::UpstreamTimeout,
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => Reason::UpstreamTimeout,
        ErrorType::ConnectRefused | ErrorType::ConnectNoRoute | ErrorType::ConnectError => {
            Reason::UpstreamUnreachable
        }
        ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert | ErrorType::HandshakeError => {
            Reason::UpstreamTls
        }
        _ if is_alert(error) => Reason::UpstreamTls,
        _ => Reason::UpstreamFailed,
    }
}

/// Whether TLS itself broke. In TLS 1.3 an upstream may refuse our certificate only after we took the handshake for done
/// (RFC 8446 §4.4.2.4).
fn is_alert(error: &Error) -> bool {
    let io = error.root_cause().downcast_ref::<std::io::Error>();
    let tls = io.and_then(|io| io.get_ref()?.downcast_ref::<rustls::Error>());
    matches!(tls, Some(rustls::Error::AlertReceived(_)))
}
