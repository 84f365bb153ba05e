//! The front app: reads every HTTP/1 head under one total deadline, then lets Pingora have the connection.
//!
//! Not here: what an acceptable head is (`gate`) and what happens to a call (`tool_route`).
//! Invariant: Pingora never waits for a head; it gets whole, checked heads or none.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aegis_config::HeadLimits;
use aegis_domain::Reason;
use aegis_gate::{self as gate, Framing, HeadGate, Limits, Pace, Reading, Scheme, Target, Upgrade};
use bytes::{Bytes, BytesMut};
use pingora_core::apps::{HttpPersistentSettings, HttpServerApp, ServerApp};
use pingora_core::listeners::tls::Acceptor;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::{ALPN, Stream};
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use crate::door::answer;
use crate::door::connect::{self, Connect};
use crate::door::tool_route::ToolRoute;
use crate::wire::Gateway;
use aegis_conduit::Gated;
use aegis_conduit::Prefixed;
use aegis_conduit::upstream::Dialler;
use aegis_corridor::context::Asked;
use aegis_corridor::drain::Underway;
use aegis_corridor::refusal::Refusal;

/// How much is read at a time while a head is incomplete.
const READ_BYTES: usize = 4_096;
/// How long a client that was refused gets to take its answer.
const LINGER: Duration = Duration::from_secs(1);
/// How fast a body must come once its grace is over, and how long one may take at all.
const BODY_BYTES_PER_S_MIN: u64 = 256;
const BODY_TOTAL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Pingora's part of the work, dialling by our dialler.
pub(super) type Proxy = HttpProxy<ToolRoute, Dialler>;

/// Stands in front of the proxy, on plain and TLS listeners alike.
pub(super) struct Front {
    proxy: Arc<Proxy>,
    gateway: Arc<Gateway>,
    tls: Option<Encrypted>,
}

/// The listener that speaks TLS.
#[derive(Clone)]
pub(super) struct Encrypted {
    pub address: SocketAddr,
    pub config: Arc<ServerConfig>,
}

/// Where a request comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// On a socket of ours, where we are a server and a proxy.
    Listener,
    /// In a tunnel, where we are the one origin it was opened for.
    Tunnel,
}

/// What waiting for a head ended in.
enum Head {
    Ready(Message),
    Http2(BytesMut),
    /// The head of a CONNECT, and what came behind it.
    Connect(BytesMut),
    /// The client left, or was asked to at a drain, between two calls.
    Over,
    Refused(Reason),
}

/// A head that passed the gate, as Pingora is to read it, and what came behind it.
struct Message {
    head: BytesMut,
    behind: BytesMut,
    framing: Framing,
    upgrade: Upgrade,
}

impl Front {
    pub(super) fn new(proxy: Arc<Proxy>, gateway: Arc<Gateway>, tls: Option<Encrypted>) -> Self {
        Self { proxy, gateway, tls }
    }

    /// Has the connection until its end.
    pub(super) async fn connected(&self, stream: Stream) {
        let shutdown = &self.gateway.corridor.drain.shutdown();
        if self.gateway.corridor.drain.is_closing() {
            return;
        }
        // Above the limit a connection is closed at once; waiting ones would take room as well.
        let Ok(_room) = Arc::clone(&self.gateway.connections).try_acquire_owned() else { return };
        let Some(stream) = self.opened(stream).await else { return };
        if let Some((stream, head)) = self.serve(stream, Place::Listener, shutdown).await {
            self.tunnel(stream, head, shutdown).await;
        }
    }

    /// Takes the encryption off, where the connection came in by the listener that has it.
    async fn opened(&self, stream: Stream) -> Option<Stream> {
        let digest = stream.get_socket_digest();
        let local = digest.as_ref().and_then(|digest| digest.local_addr()?.as_inet().copied());
        let came_by = |tls: &&Encrypted| {
            let is_port = local.is_some_and(|local| local.port() == tls.address.port());
            is_port && (tls.address.ip().is_unspecified() || local == Some(tls.address))
        };
        let Some(tls) = self.tls.as_ref().filter(came_by) else { return Some(stream) };
        let acceptor = Acceptor::from_server_config(Arc::clone(&tls.config));
        let handshake = acceptor.tls_handshake(Prefixed::new(stream, Bytes::new()));
        match timeout(self.gateway.corridor.config.limits.head_deadline, handshake).await {
            Ok(Ok(stream)) => Some(Box::new(stream)),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a handshake failed");
                None
            }
            Err(_) => None,
        }
    }

    /// Serves calls on one connection until either side is done, or it turns into a tunnel.
    async fn serve(
        &self,
        mut stream: Stream,
        place: Place,
        shutdown: &ShutdownWatch,
    ) -> Option<(Stream, BytesMut)> {
        if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
            ServerApp::process_new(&self.proxy, stream, shutdown).await;
            return None;
        }
        let mut carried: Option<HttpPersistentSettings> = None;
        let mut behind = BytesMut::new();
        loop {
            let (head, underway) = self.next_head(&mut stream, behind, place).await;
            match head {
                Head::Over => return None,
                Head::Refused(reason) => {
                    self.refuse(stream, reason, Asked::Server).await;
                    return None;
                }
                Head::Connect(head) => return Some((stream, head)),
                Head::Http2(prefix) => {
                    // Its calls count themselves; the connection may stay idle for long.
                    drop(underway);
                    let stream = Box::new(Prefixed::new(stream, prefix.freeze()).in_http2());
                    ServerApp::process_new(&self.proxy, stream, shutdown).await;
                    return None;
                }
                Head::Ready(message) => {
                    let session = self.session(stream, message, carried.take());
                    let reused = self.proxy.process_new_http(session, shutdown).await?;
                    let (gated, settings) = reused.consume();
                    carried = settings;
                    (stream, behind) = gated.into_any().downcast::<Gated>().ok()?.into_parts();
                }
            }
        }
    }

    /// Opens a tunnel and serves the calls inside.
    async fn tunnel(&self, stream: Stream, head: BytesMut, shutdown: &ShutdownWatch) {
        let underway = self.gateway.corridor.drain.underway();
        match connect::open(&self.gateway, stream, head).await {
            Connect::Over => {}
            Connect::Refused(stream, reason) => self.refuse(stream, reason, Asked::Proxy).await,
            Connect::Answered(stream, refusal) => answer_and_close(stream, &refusal).await,
            Connect::Opened(inside) => {
                drop(underway);
                // A tunnel in a tunnel is refused by the gate.
                drop(self.serve(inside, Place::Tunnel, shutdown).await);
            }
        }
    }

    fn session(
        &self,
        stream: Stream,
        message: Message,
        carried: Option<HttpPersistentSettings>,
    ) -> ServerSession {
        let Message { mut head, behind, framing, upgrade } = message;
        let stream: Stream = match upgrade {
            // What follows the answer is no message any more, and the connection is never used again.
            Upgrade::WebSocket => {
                head.extend_from_slice(&behind);
                stream
            }
            Upgrade::No => {
                let grace = self.gateway.corridor.config.limits.body_deadline;
                let pace = Pace::at_least(BODY_BYTES_PER_S_MIN, grace, BODY_TOTAL_MAX);
                Box::new(Gated::new(stream, behind, framing, pace))
            }
        };
        let mut session = ServerSession::new_http1(stream);
        let idle_s = self.gateway.corridor.config.limits.idle.as_secs();
        session.set_keepalive(Some(idle_s));
        if let Some(settings) = carried {
            settings.apply_to_session(&mut session);
        }
        if self.gateway.corridor.drain.is_draining() {
            session.set_keepalive(None);
        }
        session.set_pipelined_prefix(head);
        session
    }

    async fn next_head(
        &self,
        stream: &mut Stream,
        mut buffer: BytesMut,
        place: Place,
    ) -> (Head, Option<Underway>) {
        let limits = &self.gateway.corridor.config.limits;
        if !buffer.is_empty() {
            let underway = self.gateway.corridor.drain.underway();
            return (self.rest_of_head(stream, buffer, place).await, Some(underway));
        }
        buffer.reserve(READ_BYTES);
        // Until the first byte a quiet client may idle; after it, the whole head has one deadline.
        let first = tokio::select! {
            read = timeout(limits.idle, stream.read_buf(&mut buffer)) => read,
            () = self.gateway.corridor.drain.closing() => return (Head::Over, None),
        };
        let underway = self.gateway.corridor.drain.underway();
        let head = match first {
            Ok(Ok(count)) if count > 0 => self.rest_of_head(stream, buffer, place).await,
            _ => Head::Over,
        };
        (head, Some(underway))
    }

    async fn rest_of_head(&self, stream: &mut Stream, mut buffer: BytesMut, place: Place) -> Head {
        let limits = &self.gateway.corridor.config.limits;
        let deadline = Instant::now() + limits.head_deadline;
        let mut gate = HeadGate::new(gate_limits(limits.head));
        loop {
            match gate.read(&buffer) {
                Ok(Reading::Partial) => {}
                Ok(Reading::Http2Preface) => return Head::Http2(buffer),
                Ok(Reading::Complete(head)) => return self.complete(&head, &buffer, place),
                Err(refusal) => {
                    tracing::debug!(%refusal, "a head was refused");
                    return Head::Refused(reason(refusal));
                }
            }
            match timeout_at(deadline, stream.read_buf(&mut buffer)).await {
                Ok(Ok(count)) if count > 0 => {}
                Ok(_) => return Head::Over,
                Err(_) => return Head::Refused(Reason::RequestTimeout),
            }
        }
    }

    /// Sorts a head by what it asks for. What Pingora is given is the head with its target in normal form.
    fn complete(&self, head: &gate::Head<'_>, buffer: &BytesMut, place: Place) -> Head {
        let is_meant = match (&head.target, place) {
            (Target::Origin(_), _) | (Target::Authority { .. }, Place::Listener) => true,
            (Target::Absolute { scheme, .. }, Place::Listener) => *scheme == Scheme::Http,
            (Target::Absolute { .. } | Target::Authority { .. }, Place::Tunnel) => false,
        };
        if !is_meant {
            return Head::Refused(Reason::MalformedRequest);
        }
        if matches!(head.target, Target::Authority { .. }) {
            return Head::Connect(buffer.clone());
        }
        let (came, behind) = buffer.split_at_checked(head.bytes).unwrap_or((buffer, &[]));
        let rewritten = head.rewritten();
        Head::Ready(Message {
            head: BytesMut::from(rewritten.as_deref().unwrap_or(came)),
            behind: BytesMut::from(behind),
            framing: head.framing,
            upgrade: head.upgrade,
        })
    }

    /// Answers a head that Pingora will never see, and closes.
    async fn refuse(&self, stream: Stream, reason: Reason, asked: Asked) {
        let refusal = self.gateway.corridor.refuse_unread(reason, asked).await;
        answer_and_close(stream, &refusal).await;
    }
}

async fn answer_and_close(mut stream: Stream, refusal: &Refusal) {
    let bytes = answer::raw_http1(refusal);
    let sent = timeout(LINGER, async {
        stream.write_all(&bytes).await?;
        stream.flush().await?;
        AsyncWriteExt::shutdown(&mut stream).await?;
        // Taking what is still on its way keeps the kernel from resetting the answer away.
        let mut rest = [0; READ_BYTES];
        while stream.read(&mut rest).await? > 0 {}
        Ok::<_, std::io::Error>(())
    });
    if let Ok(Err(error)) = sent.await {
        tracing::debug!(%error, "a refused client did not take its answer");
    }
}

/// The configured limits on a head; those on its parts follow from them.
pub(super) fn gate_limits(head: HeadLimits) -> Limits {
    Limits { head_bytes_max: head.bytes_max, headers_max: head.headers_max, ..Limits::REQUEST }
}

/// What a refusal of the gate is called in a record.
pub(super) fn reason(refusal: gate::Refusal) -> Reason {
    let is_size = refusal.is_size();
    if is_size { Reason::HeadTooLarge } else { Reason::MalformedRequest }
}
