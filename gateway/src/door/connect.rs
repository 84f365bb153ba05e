//! CONNECT: the forward proxy's tunnels, opened so that the calls inside walk the seven rooms like any other.
//!
//! Not here: certificates (`intercept`), the calls inside (`tool_route`), and tunnels that are not opened (`passthrough`).
//! Invariant: nothing is dialled for a CONNECT that is opened; the agent is known before the tunnel is, and every call in
//! it is judged as that agent's.

use std::net::IpAddr;
use std::sync::Arc;

use aegis_address::Authority;
use aegis_corridor::context::{Arrival, Presented, Stands, Target};
use aegis_corridor::credential;
use aegis_domain::{DecisionId, Host, Method, Reason, Scheme, Timestamp};
use aegis_identity::CertificateThumbprint;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora_core::protocols::Stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};

use crate::door::connection::{self, Tunnel};
use crate::door::passthrough::{self, Unopened};
use crate::door::target;
use crate::wire::Gateway;
use aegis_conduit::{Patience, Prefixed};
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
    patience: &Arc<Patience>,
) -> Connect {
    let certificate = target::certificate(stream.get_ssl_digest().as_deref());
    let Asked { arrival, head_bytes } = match read(&bytes, peer(&stream), certificate) {
        Ok(read) => read,
        Err(reason) => return Connect::Refused(stream, reason),
    };
    let early = bytes.split_off(head_bytes.min(bytes.len()));
    let now = clock::now();
    let Ok(id) = clock::decision_id(now) else {
        return Connect::Refused(stream, Reason::Unavailable);
    };
    let tunnel = match admit(gateway, &arrival, (id, now)) {
        Err(reason) => return Connect::Refused(stream, reason),
        Ok(Way::Through(host)) => {
            let unopened = Unopened { arrival, host, early, id, now };
            return passthrough::pass(gateway, stream, unopened).await;
        }
        Ok(Way::Opened(tunnel)) => tunnel,
    };
    let deadline = Instant::now() + gateway.corridor.config.limits.head_deadline;
    let opening = async {
        stream.write_all(ESTABLISHED).await.ok()?;
        stream.flush().await.ok()?;
        let early = first_bytes(&mut stream, early).await?;
        let acceptor = gateway.intercept.acceptor(&tunnel.host, now);
        let acceptor = acceptor.inspect_err(|error| {
            tracing::error!(%error, "no certificate for a tunnel");
        });
        let about = connection::digest(Some(tunnel), Arc::clone(patience))?;
        let prefixed = Prefixed::new(stream, early).in_tunnel(about);
        let accepted = acceptor.ok()?.tls_handshake(prefixed).await;
        accepted.inspect_err(|error| tracing::debug!(%error, "a tunnel's TLS was refused")).ok()
    };
    match timeout_at(deadline, opening).await {
        Ok(Some(tls)) => Connect::Opened(Box::new(tls)),
        Ok(None) | Err(_) => Connect::Over,
    }
}

fn peer(stream: &Stream) -> Option<IpAddr> {
    Some(stream.get_socket_digest()?.peer_addr()?.as_inet()?.ip())
}

/// A CONNECT as it was said.
struct Asked {
    arrival: Arrival,
    head_bytes: usize,
}

/// Reads a head that the gate let through.
fn read(
    bytes: &[u8],
    peer: Option<IpAddr>,
    certificate: Option<CertificateThumbprint>,
) -> Result<Asked, Reason> {
    let malformed = Reason::MalformedRequest;
    let mut slots = [httparse::EMPTY_HEADER; aegis_config::HEADERS_CEILING];
    let mut request = httparse::Request::new(&mut slots);
    let httparse::Status::Complete(head_bytes) = request.parse(bytes).map_err(|_| malformed)?
    else {
        return Err(malformed);
    };
    let target = request.path.and_then(|path| Authority::parse(path).ok()).ok_or(malformed)?;
    let port = target.port.ok_or(malformed)?;
    let mut headers = HeaderMap::new();
    for header in request.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes());
        let value = HeaderValue::from_bytes(header.value);
        let (Ok(name), Ok(value)) = (name, value) else { return Err(malformed) };
        headers.append(name, value);
    }
    let told = credential::to_proxy(&headers)?;
    let arrival = Arrival {
        method: Method::parse("CONNECT").ok_or(malformed)?,
        path: "/".to_owned(),
        query: None,
        headers,
        peer,
        is_upgrade: false,
        target: Target::Origin { scheme: Scheme::Https, host: target.host, port },
        presented: Presented { told, stands: Stands::ToProxy, certificate },
    };
    Ok(Asked { arrival, head_bytes })
}

/// What becomes of a tunnel.
enum Way {
    /// Its calls are judged one by one.
    Opened(Tunnel),
    /// It is one call, judged as a whole.
    Through(Host),
}

/// Whether the agent is one of ours, and belongs here; and what its policy says of tunnels to that host.
fn admit(gateway: &Gateway, arrival: &Arrival, at: (DecisionId, Timestamp)) -> Result<Way, Reason> {
    let corridor = &gateway.corridor;
    let identified = identify::opens(arrival, corridor, at)?;
    if identified.tenant.region != corridor.config.region {
        return Err(Reason::WrongRegion);
    }
    let Target::Origin { host, port, .. } = &arrival.target else {
        return Err(Reason::MalformedRequest);
    };
    let (host, port) = (host.clone(), *port);
    if identified.judges.enforced.passes_through(&host) {
        return Ok(Way::Through(host));
    }
    Ok(Way::Opened(Tunnel { host, port, presented: arrival.presented.clone() }))
}

/// Waits for the client to begin its handshake; anything but TLS in a tunnel is nobody's call.
async fn first_bytes(stream: &mut Stream, mut early: BytesMut) -> Option<Bytes> {
    if early.is_empty() && stream.read_buf(&mut early).await.ok()? == 0 {
        return None;
    }
    (early.first() == Some(&TLS_HANDSHAKE)).then(|| early.freeze())
}
