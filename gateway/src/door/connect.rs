//! CONNECT: the forward proxy's tunnels, opened so that the calls inside walk the seven rooms like any other.
//!
//! Not here: certificates (`intercept`), the calls inside (`tool_route`), and tunnels that are not opened (`passthrough`).
//! Invariant: nothing is dialled for a CONNECT that is opened; the agent is known before the tunnel is, and every call in
//! it is judged as that agent's.

use std::sync::Arc;

use aegis_address::Authority;
use aegis_domain::{DecisionId, Reason, Secret, Timestamp};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora_core::protocols::Stream;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_http::ResponseHeader;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};

use crate::door::passthrough::{self, Unopened};
use crate::door::target::Tunnel;
use crate::wire::Gateway;
use aegis_conduit::Prefixed;
use aegis_corridor::clock;
use aegis_corridor::refusal::Refusal;
use aegis_corridor::rooms::identify;

/// RFC 9110 §9.3.6: any 2xx opens the tunnel, and says nothing of a body.
pub(super) const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection Established\r\n\r\n";
/// The first byte of a TLS handshake record (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// What became of a CONNECT.
pub(super) enum Connect {
    /// TLS stands with the agent; the calls inside can be read.
    Opened(Stream),
    /// The agent left, or its TLS is none we take; there is nobody to answer.
    Over,
    /// Refused while the agent still waits for its answer; the refusal is not on record yet.
    Refused(Stream, Reason),
    /// Refused, and on record.
    Answered(Stream, Box<Refusal>),
}

/// Opens the tunnel that a CONNECT head asks for, or passes it through where policy says so. What came behind the head
/// belongs to the tunnel.
pub(super) async fn open(
    gateway: &Arc<Gateway>,
    mut stream: Stream,
    mut bytes: BytesMut,
) -> Connect {
    let Asked { tunnel: asked, headers, head_bytes } = match read(&bytes) {
        Ok(read) => read,
        Err(reason) => return Connect::Refused(stream, reason),
    };
    let early = bytes.split_off(head_bytes.min(bytes.len()));
    let now = clock::now();
    let Ok(id) = clock::decision_id(now) else {
        return Connect::Refused(stream, Reason::Unavailable);
    };
    match admit(gateway, &asked, (id, now)) {
        Err(reason) => return Connect::Refused(stream, reason),
        Ok(Way::Through) => {
            let peer = stream.get_socket_digest();
            let peer = peer.and_then(|digest| Some(digest.peer_addr()?.as_inet()?.ip()));
            let unopened = Unopened { tunnel: asked, headers, peer, early, id, now };
            return passthrough::pass(gateway, stream, unopened).await;
        }
        Ok(Way::Opened) => {}
    }
    let deadline = Instant::now() + gateway.corridor.config.limits.head_deadline;
    let opening = async {
        stream.write_all(ESTABLISHED).await.ok()?;
        stream.flush().await.ok()?;
        let early = first_bytes(&mut stream, early).await?;
        let acceptor = gateway.intercept.acceptor(&asked.host, clock::now());
        let acceptor = acceptor.inspect_err(|error| {
            tracing::error!(%error, "no certificate for a tunnel");
        });
        let tunnel = digest(asked)?;
        let prefixed = Prefixed::new(stream, early).in_tunnel(Arc::new(tunnel));
        let accepted = acceptor.ok()?.tls_handshake(prefixed).await;
        accepted.inspect_err(|error| tracing::debug!(%error, "a tunnel's TLS was refused")).ok()
    };
    match timeout_at(deadline, opening).await {
        Ok(Some(tls)) => Connect::Opened(Box::new(tls)),
        Ok(None) | Err(_) => Connect::Over,
    }
}

/// A CONNECT as it was said.
struct Asked {
    tunnel: Tunnel,
    headers: HeaderMap,
    head_bytes: usize,
}

/// Reads a head that the gate let through.
fn read(bytes: &[u8]) -> Result<Asked, Reason> {
    let mut slots = [httparse::EMPTY_HEADER; aegis_config::HEADERS_CEILING];
    let mut request = httparse::Request::new(&mut slots);
    let httparse::Status::Complete(length) =
        request.parse(bytes).map_err(|_| Reason::MalformedRequest)?
    else {
        return Err(Reason::MalformedRequest);
    };
    let target = request.path.and_then(|path| Authority::parse(path).ok());
    let target = target.ok_or(Reason::MalformedRequest)?;
    let port = target.port.ok_or(Reason::MalformedRequest)?;
    let mut headers = HeaderMap::new();
    for header in request.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes());
        let value = HeaderValue::from_bytes(header.value);
        let (Ok(name), Ok(value)) = (name, value) else { return Err(Reason::MalformedRequest) };
        headers.append(name, value);
    }
    let token: Secret<String> = identify::proxy_token(&headers)?;
    let tunnel = Tunnel { host: target.host, port, token };
    Ok(Asked { tunnel, headers, head_bytes: length })
}

/// What becomes of a tunnel.
enum Way {
    /// Its calls are judged one by one.
    Opened,
    /// It is one call, judged as a whole.
    Through,
}

/// Whether the agent is one of ours, and belongs here; and what its policy says of tunnels to that host.
fn admit(gateway: &Gateway, tunnel: &Tunnel, at: (DecisionId, Timestamp)) -> Result<Way, Reason> {
    let corridor = &gateway.corridor;
    let token = Secret::new(tunnel.token.expose().as_str());
    let identified = corridor.identify.identify(token, corridor, at)?;
    if identified.tenant.region != corridor.config.region {
        return Err(Reason::WrongRegion);
    }
    let passes = identified.judges.enforced.passes_through(&tunnel.host);
    Ok(if passes { Way::Through } else { Way::Opened })
}

/// Waits for the client to begin its handshake; anything but TLS in a tunnel is nobody's call.
async fn first_bytes(stream: &mut Stream, mut early: BytesMut) -> Option<Bytes> {
    if early.is_empty() && stream.read_buf(&mut early).await.ok()? == 0 {
        return None;
    }
    (early.first() == Some(&TLS_HANDSHAKE)).then(|| early.freeze())
}

fn digest(tunnel: Tunnel) -> Option<ProxyDigest> {
    let answer = ResponseHeader::build(200, Some(0)).ok()?;
    Some(ProxyDigest::new(Box::new(answer), Some(Box::new(tunnel))))
}
