//! Tunnels that are not opened, for clients that pin certificates: where policy says so, bytes go by unseen.
//!
//! Not here: whether policy says so (`connect` asks), and carrying bytes (`conduit`). Invariants: a tunnel is one call,
//! recorded as CONNECT before anything is dialled; the name in its hello is the name policy judged and we dialled.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aegis_conduit::{Carried, Ended, Prefixed, splice};
use aegis_corridor::context::{Arrival, Asked, CallContext, Received};
use aegis_corridor::refusal::Refusal;
use aegis_corridor::rooms::settle::{End, Settlement};
use aegis_corridor::{Admission, BodySource, clock};
use aegis_domain::{DecisionId, Host, Reason, Timestamp};
use aegis_gate::{Hello, read_hello};
use async_trait::async_trait;
use bytes::BytesMut;
use pingora_core::protocols::Stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::door::connect::{Connect, ESTABLISHED};
use crate::door::tool_route::InFlight;
use crate::rooms::forward;
use crate::wire::Gateway;

/// A CONNECT to a host whose tunnels policy passes through.
pub(super) struct Unopened {
    pub(super) arrival: Arrival,
    pub(super) host: Host,
    /// What came behind the head.
    pub(super) early: BytesMut,
    /// Under which the policy was chosen that says so.
    pub(super) id: DecisionId,
    pub(super) now: Timestamp,
}

/// Walks the tunnel through the rooms as one call, and carries its bytes.
pub(super) async fn pass(gateway: &Arc<Gateway>, stream: Stream, unopened: Unopened) -> Connect {
    let corridor = &gateway.corridor;
    let _counted = InFlight::begin(corridor.metrics.clone());
    let Unopened { arrival, host, early, id, now } = unopened;
    let traceparent = arrival.headers.get("traceparent").and_then(|value| value.to_str().ok());
    let Ok(trace) = clock::trace(traceparent) else {
        return Connect::Answered(stream, Box::new(Refusal::nameless()));
    };
    let mut call = CallContext::new(id, trace, now);
    call.asked = Asked::Proxy;
    if let Admission::Refused(refusal) = corridor.admit(&mut call, &arrival, &mut Unread).await {
        return Connect::Answered(stream, refusal);
    }
    let Some(settlement) = Settlement::begin(corridor, &mut call) else {
        return Connect::Answered(stream, Box::new(Refusal::nameless()));
    };
    match dial(gateway, &call).await {
        Ok(upstream) => {
            carry(gateway, (stream, early), (upstream, host), settlement).await;
            Connect::Over
        }
        Err(reason) => {
            settlement.finish(End::Failed(reason));
            Connect::Answered(stream, Box::new(Refusal::on_the_way(&call, reason)))
        }
    }
}

async fn dial(gateway: &Gateway, call: &CallContext) -> Result<TcpStream, Reason> {
    let (Some(permit), Some(read)) = (&call.permit, &call.read) else {
        return Err(Reason::Unavailable);
    };
    forward::dial(gateway, permit, read).await
}

/// Says that the tunnel stands, checks the name it begins with, and joins both sides.
async fn carry(
    gateway: &Gateway,
    (stream, early): (Stream, BytesMut),
    (upstream, host): (TcpStream, Host),
    mut settlement: Settlement,
) {
    let limits = &gateway.corridor.config.limits;
    let deadline = Instant::now() + limits.head_deadline;
    let begun = timeout_at(deadline, begin(stream, early, &host)).await;
    let near = match begun.unwrap_or(Err(Reason::RequestTimeout)) {
        Ok(near) => near,
        Err(reason) => return settlement.finish(End::Failed(reason)),
    };
    settlement.sent();
    let carried = Carried::default();
    let end = tokio::select! {
        ended = splice(near, upstream, limits.idle, &carried) => end(&ended, limits.idle),
        () = gateway.corridor.drain.closing() => End::Failed(Reason::Unavailable),
    };
    settlement.carried(carried.sent(), carried.received());
    settlement.finish(end);
}

/// The agent's side, once its hello has asked for the name that the tunnel was opened for.
async fn begin(mut stream: Stream, mut early: BytesMut, host: &Host) -> Result<Prefixed, Reason> {
    stream.write_all(ESTABLISHED).await.map_err(|_| Reason::AgentGone)?;
    stream.flush().await.map_err(|_| Reason::AgentGone)?;
    loop {
        match read_hello(&early) {
            Ok(Hello::Whole { server_name }) if is_meant(server_name.as_deref(), host) => {
                return Ok(Prefixed::new(stream, early.freeze()));
            }
            Ok(Hello::Whole { .. }) => {
                tracing::debug!("a tunnel's hello asks for another name");
                return Err(Reason::MalformedRequest);
            }
            Ok(Hello::Partial) => {}
            Err(refusal) => {
                tracing::debug!(%refusal, "a tunnel's hello was refused");
                return Err(Reason::MalformedRequest);
            }
        }
        if stream.read_buf(&mut early).await.map_err(|_| Reason::AgentGone)? == 0 {
            return Err(Reason::AgentGone);
        }
    }
}

/// Addresses have no name in a hello (RFC 6066 §3); a host's name must be there.
fn is_meant(server_name: Option<&str>, host: &Host) -> bool {
    match server_name {
        Some(name) => name == host.as_str(),
        None => host.as_str().parse::<IpAddr>().is_ok(),
    }
}

fn end(ended: &Ended, idle: Duration) -> End {
    match ended {
        Ended::Closed => End::Complete,
        Ended::Idle => {
            tracing::debug!(idle_s = idle.as_secs(), "nothing moved in a tunnel");
            End::Failed(Reason::UpstreamTimeout)
        }
        Ended::Near(error) => {
            tracing::debug!(%error, "an agent left its tunnel");
            End::Failed(Reason::AgentGone)
        }
        Ended::Far(error) => {
            tracing::debug!(%error, "an upstream left a tunnel");
            End::Failed(Reason::UpstreamFailed)
        }
    }
}

/// What is in the tunnel is nobody's to read.
struct Unread;

#[async_trait]
impl BodySource for Unread {
    async fn read_whole(&mut self, _max: usize, _within: Duration) -> Result<Received, Reason> {
        Ok(Received::default())
    }
}
