//! CONNECT: the forward proxy's tunnels, opened so that the calls inside walk the seven rooms like any other.
//!
//! Not here: certificates (`intercept`) and the calls inside (`tool_route`). Invariant: nothing is dialled for a CONNECT
//! that is opened; the agent is known before the tunnel is, and every call in it is judged as that agent's.

use std::sync::Arc;

use aegis_address::Authority;
use aegis_domain::{Reason, Secret};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora_core::protocols::Stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};

use crate::door::connection::{self, Tunnel};
use crate::wire::Gateway;
use aegis_conduit::{Patience, Prefixed};
use aegis_corridor::clock;
use aegis_corridor::rooms::identify;

/// RFC 9110 §9.3.6: any 2xx opens the tunnel, and says nothing of a body.
const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection Established\r\n\r\n";
/// The first byte of a TLS handshake record (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// What became of a CONNECT.
pub(super) enum Connect {
    /// TLS stands with the agent; the calls inside can be read.
    Opened(Stream),
    /// The agent left, or its TLS is none we take; there is nobody to answer.
    Over,
    /// Refused while the agent still waits for its answer.
    Refused(Stream, Reason),
}

/// Opens the tunnel that a CONNECT head asks for. What came behind the head belongs to the tunnel.
pub(super) async fn open(
    gateway: &Gateway,
    mut stream: Stream,
    mut bytes: BytesMut,
    patience: &Arc<Patience>,
) -> Connect {
    let read = read(&bytes);
    let (asked, head_bytes) = match read {
        Ok(read) => read,
        Err(reason) => return Connect::Refused(stream, reason),
    };
    if let Err(reason) = admit(gateway, &asked) {
        return Connect::Refused(stream, reason);
    }
    let early = bytes.split_off(head_bytes.min(bytes.len()));
    let deadline = Instant::now() + gateway.corridor.config.limits.head_deadline;
    let opening = async {
        stream.write_all(ESTABLISHED).await.ok()?;
        stream.flush().await.ok()?;
        let early = first_bytes(&mut stream, early).await?;
        let acceptor = gateway.intercept.acceptor(&asked.host, clock::now());
        let acceptor = acceptor.inspect_err(|error| {
            tracing::error!(%error, "no certificate for a tunnel");
        });
        let about = connection::digest(Some(asked), Arc::clone(patience))?;
        let prefixed = Prefixed::new(stream, early).in_tunnel(about);
        let accepted = acceptor.ok()?.tls_handshake(prefixed).await;
        accepted.inspect_err(|error| tracing::debug!(%error, "a tunnel's TLS was refused")).ok()
    };
    match timeout_at(deadline, opening).await {
        Ok(Some(tls)) => Connect::Opened(Box::new(tls)),
        Ok(None) | Err(_) => Connect::Over,
    }
}

/// Reads a head that the gate let through.
fn read(bytes: &[u8]) -> Result<(Tunnel, usize), Reason> {
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
    Ok((Tunnel { host: target.host, port, token }, length))
}

/// Whether the agent is one of ours, and belongs here.
fn admit(gateway: &Gateway, tunnel: &Tunnel) -> Result<(), Reason> {
    let token = Secret::new(tunnel.token.expose().as_str());
    let now = clock::now();
    let id = clock::decision_id(now).map_err(|_| Reason::Unavailable)?;
    let identified = gateway.corridor.identify.identify(token, &gateway.corridor, (id, now))?;
    if identified.tenant.region == gateway.corridor.config.region {
        Ok(())
    } else {
        Err(Reason::WrongRegion)
    }
}

/// Waits for the client to begin its handshake; anything but TLS in a tunnel is nobody's call.
async fn first_bytes(stream: &mut Stream, mut early: BytesMut) -> Option<Bytes> {
    if early.is_empty() && stream.read_buf(&mut early).await.ok()? == 0 {
        return None;
    }
    (early.first() == Some(&TLS_HANDSHAKE)).then(|| early.freeze())
}
