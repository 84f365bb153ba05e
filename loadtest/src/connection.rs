//! One keep-alive connection, driven by the thread that owns it.
//!
//! Not here: when calls are due (`schedule`, `load`). Invariant: a call ends within `CALL_MAX`, and a connection that
//! failed once is not used again.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::call::{Call, Protocol, Target};
use crate::tally::Failure;

/// No call is waited for longer.
pub(crate) const CALL_MAX: Duration = Duration::from_secs(10);

/// A connection and the runtime that drives it while a call is under way.
pub(crate) struct Connection {
    runtime: Runtime,
    target: Target,
    sender: Option<Sender>,
}

impl Connection {
    pub(crate) fn new(target: Target) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, target, sender: None })
    }

    /// Sends one call and reads its whole answer; connects first where needed.
    pub(crate) fn exchange(&mut self, call: &Call) -> Result<u16, Failure> {
        let (target, sender) = (&self.target, &mut self.sender);
        let exchange = async {
            match tokio::time::timeout(CALL_MAX, exchange(target, sender, call)).await {
                Ok(outcome) => outcome.map(|(status, _)| status),
                Err(_) => Err(Failure::TimedOut),
            }
        };
        let outcome = self.runtime.block_on(exchange);
        if outcome.is_err() {
            self.sender = None;
        }
        outcome
    }
}

/// One call over a connection that is opened where there is none.
pub(crate) async fn exchange(
    target: &Target,
    sender: &mut Option<Sender>,
    call: &Call,
) -> Result<(u16, Bytes), Failure> {
    let kept = match sender.take() {
        Some(mut kept) => kept.ready().await.is_ok().then_some(kept),
        None => None,
    };
    let mut ready = match kept {
        Some(kept) => kept,
        None => Sender::connect(target).await.map_err(|_| Failure::Connect)?,
    };
    let request = call.request(target).map_err(|_| Failure::NeverSent)?;
    let response = ready.send(request).await.map_err(|_| Failure::BrokenOff)?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.map_err(|_| Failure::BrokenOff)?;
    *sender = Some(ready);
    Ok((status, body.to_bytes()))
}

/// The sending half of an open connection.
pub(crate) enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Sender {
    async fn connect(target: &Target) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(target.address()).await?;
        stream.set_nodelay(true)?;
        match target.security() {
            None => Self::over(stream, target.protocol()).await,
            Some(secured) => Self::over(secured.open(stream).await?, target.protocol()).await,
        }
    }

    async fn over<S>(stream: S, protocol: Protocol) -> anyhow::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let io = TokioIo::new(stream);
        Ok(match protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::handshake(io).await?;
                tokio::spawn(connection);
                Self::Http1(sender)
            }
            Protocol::Http2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
                tokio::spawn(connection);
                Self::Http2(sender)
            }
        })
    }

    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::Http2(sender) => sender.is_closed(),
        }
    }

    async fn ready(&mut self) -> hyper::Result<()> {
        match self {
            Self::Http1(sender) => sender.ready().await,
            Self::Http2(sender) => sender.ready().await,
        }
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Http1(sender) => sender.send_request(request).await,
            Self::Http2(sender) => sender.send_request(request).await,
        }
    }
}
