//! The sockets of an upstream: accepts, records, and does what the script says.
//!
//! Not here: what scripts there are (`script`). Invariant: a call is recorded before it is answered.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use http::{HeaderMap, HeaderName, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{Answer, Gate, Handshake, Received, Script, Shared};

type Reply = Response<UnsyncBoxBody<Bytes, Broken>>;

/// Ends a connection in the middle.
#[derive(Debug)]
struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the script breaks off here")
    }
}

impl std::error::Error for Broken {}

pub(super) async fn accept(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    shared: Arc<Shared>,
) {
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        socket.set_nodelay(true).unwrap();
        let connection = shared.connections.fetch_add(1, Ordering::AcqRel);
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            match acceptor {
                None => connected(socket, connection, shared).await,
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(socket).await {
                        shared.handshakes.lock().push(handshake(stream.get_ref().1));
                        connected(stream, connection, shared).await;
                    }
                }
            }
        });
    }
}

fn handshake(session: &rustls::ServerConnection) -> Handshake {
    let client = session.peer_certificates().and_then(|chain| chain.first());
    Handshake {
        version: session.protocol_version().unwrap(),
        is_resumed: session.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        protocol: session.alpn_protocol().map(<[u8]>::to_vec),
        client: client.map(|leaf| leaf.to_vec()),
    }
}

async fn connected<S>(stream: S, connection: usize, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| answer(request, connection, Arc::clone(&shared)));
    let served = Builder::new(TokioExecutor::new());
    // A client that goes away is part of many tests.
    drop(served.serve_connection_with_upgrades(TokioIo::new(stream), service).await);
}

async fn answer(
    mut request: Request<Incoming>,
    connection: usize,
    shared: Arc<Shared>,
) -> Result<Reply, Broken> {
    let is_head = request.method() == http::Method::HEAD;
    let script = shared.scripts.lock().get(request.uri().path()).cloned();
    let place = head(&shared, &request, connection);
    match script {
        Some(Script::Slam) => Err(Broken),
        Some(Script::WebSocket) => Ok(web_socket(&mut request)),
        Some(Script::Echo) => Ok(echo(request.into_body())),
        script => {
            body(&shared, place, request.into_body()).await;
            let reply = after_body(script).await;
            // Over HTTP/2 hyper would send the body all the same.
            Ok(if is_head { reply.map(|_| UnsyncBoxBody::default()) } else { reply })
        }
    }
}

async fn after_body(script: Option<Script>) -> Reply {
    match script {
        Some(Script::Answer(answer)) => plain(answer),
        Some(Script::Late(gate, answer)) => {
            gate.pass().await;
            plain(answer)
        }
        Some(Script::Events(list, gate)) => events(list, gate),
        Some(Script::BreakOff(sent, gate)) => break_off(sent, gate),
        Some(Script::Slam | Script::WebSocket | Script::Echo) | None => {
            plain(Answer::json(&serde_json::json!({ "ok": true })))
        }
    }
}

/// Puts a call on the list; returns its place there.
fn head(shared: &Shared, request: &Request<Incoming>, connection: usize) -> usize {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let received = Received {
        connection,
        version: request.version(),
        method: request.method().clone(),
        target: target.to_owned(),
        headers: with_authority(request),
        body: Bytes::new(),
        trailers: None,
        is_whole: false,
    };
    let mut place = 0;
    shared.calls.send_modify(|calls| {
        place = calls.len();
        calls.push(received);
    });
    place
}

/// HTTP/2 says `:authority` where HTTP/1.1 says `host`; the list says `host` for both.
fn with_authority(request: &Request<Incoming>) -> HeaderMap {
    let mut headers = request.headers().clone();
    if let Some(authority) = request.uri().authority() {
        headers.insert(http::header::HOST, authority.as_str().parse().unwrap());
    }
    headers
}

async fn body(shared: &Shared, place: usize, body: Incoming) {
    let whole = body.collect().await;
    shared.calls.send_modify(|calls| {
        if let (Ok(whole), Some(call)) = (whole, calls.get_mut(place)) {
            call.trailers = whole.trailers().cloned();
            call.body = whole.to_bytes();
            call.is_whole = true;
        }
    });
}

fn plain(answer: Answer) -> Reply {
    let trailers = answer.trailers;
    let body = Full::new(answer.body).map_err(|never: Infallible| match never {});
    let body = match trailers {
        None => body.boxed_unsync(),
        Some(trailers) => body.with_trailers(async move { Some(Ok(trailers)) }).boxed_unsync(),
    };
    let mut reply = Response::new(body);
    *reply.status_mut() = answer.status;
    *reply.headers_mut() = answer.headers;
    reply
}

fn streamed(frames: BoxStream<'static, Result<Bytes, Broken>>, content_type: &str) -> Reply {
    let body = StreamBody::new(frames.map(|piece| piece.map(Frame::data)));
    let mut reply = Response::new(body.boxed_unsync());
    reply.headers_mut().insert(CONTENT_TYPE, content_type.parse().unwrap());
    reply
}

fn events(list: Vec<String>, gate: Gate) -> Reply {
    let frames = stream::iter(list).then(move |event| {
        let gate = gate.clone();
        async move {
            gate.pass().await;
            Ok(Bytes::from(format!("data: {event}\n\n")))
        }
    });
    streamed(frames.boxed(), "text/event-stream")
}

fn break_off(sent: Bytes, gate: Gate) -> Reply {
    let broken = stream::once(async move {
        gate.pass().await;
        Err(Broken)
    });
    streamed(stream::iter([Ok(sent)]).chain(broken).boxed(), "text/event-stream")
}

fn echo(body: Incoming) -> Reply {
    let frames = body.into_data_stream().map(|piece| piece.map_err(|_| Broken));
    streamed(frames.boxed(), "application/octet-stream")
}

fn web_socket(request: &mut Request<Incoming>) -> Reply {
    let key = request.headers().get("sec-websocket-key").map(|key| key.as_bytes().to_vec());
    let upgraded = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let Ok(tunnel) = upgraded.await else { return };
        let (mut from, mut to) = tokio::io::split(TokioIo::new(tunnel));
        drop(tokio::io::copy(&mut from, &mut to).await);
    });
    let mut reply = plain(Answer::default());
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = reply.headers_mut();
    headers.insert(CONNECTION, "upgrade".parse().unwrap());
    headers.insert(UPGRADE, "websocket".parse().unwrap());
    let accept = HeaderName::from_static("sec-websocket-accept");
    headers.insert(accept, accept_key(&key.unwrap_or_default()).parse().unwrap());
    reply
}

/// RFC 6455 §4.2.2.
fn accept_key(key: &[u8]) -> String {
    let guid = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let text = [key, guid].concat();
    STANDARD.encode(ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &text))
}
