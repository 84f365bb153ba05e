//! Requests on one connection, and what becomes of those under way when their peer leaves or the server stops.
//!
//! Not here: accepting connections (`serve`). Invariant: a request that may change something is carried to its end once it is
//! begun, whether or not anybody still waits for the answer: a change that was made would else be on no record.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use hyper::StatusCode;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::{Peer, Served};

const HEAD: Duration = Duration::from_secs(10);
/// How long a connection may stay without a request. Whoever polls the feed asks again at once.
const IDLE: Duration = Duration::from_secs(30);

/// What every connection of a server shares.
#[derive(Clone, Debug)]
pub(crate) struct Floor {
    served: Served,
    changing: TaskTracker,
    stopping: CancellationToken,
}

impl Floor {
    pub(crate) fn new(served: Served) -> Self {
        Self { served, changing: TaskTracker::new(), stopping: CancellationToken::new() }
    }

    /// Begins nothing more, and returns when what may change something has ended.
    pub(crate) async fn close(&self) {
        self.stopping.cancel();
        self.changing.close();
        self.changing.wait().await;
    }

    async fn answer(&self, request: Request) -> Response {
        let refusal = self.served.stopping;
        let is_safe = request.method().is_safe();
        // Counted before the look whether it is too late, so that a close waits for what it did not stop.
        let counted = self.changing.token();
        if self.stopping.is_cancelled() {
            return refusal();
        }
        let answered = self.served.router.clone().oneshot(request);
        if is_safe {
            // RFC 9110 §9.2.1: it may be asked again elsewhere.
            drop(counted);
            return tokio::select! {
                biased;
                answer = answered => whole(answer),
                () = self.stopping.cancelled() => refusal(),
            };
        }
        let carried = tokio::spawn(async move {
            let answer = answered.await;
            drop(counted);
            answer
        });
        // A task of its own ends early only by a panic, which is no answer.
        carried.await.map_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response(), whole)
    }
}

fn whole(answer: Result<Response, Infallible>) -> Response {
    answer.unwrap_or_else(|never| match never {})
}

pub(crate) async fn exchange<S>(stream: S, floor: Floor, peer: Peer)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let requests = Requests::default();
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        let floor = floor.clone();
        let (under_way, moved) = (requests.begin(), Arc::clone(&requests.moved));
        async move {
            let answer = floor.answer(request).await;
            drop(under_way);
            Ok::<_, Infallible>(answer.map(|body| Counted { body, moved }))
        }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(64);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let (mut patience, mut before, mut is_last) = (HEAD, 0, false);
    loop {
        // How a connection ends is its peer's business. One that asks nothing is ended here, because neither the wait for
        // its first bytes nor HTTP/2 has a limit of its own.
        let ended = tokio::select! {
            ended = tokio::time::timeout(patience, connection.as_mut()) => ended.is_ok(),
            () = floor.stopping.cancelled(), if !is_last => {
                connection.as_mut().graceful_shutdown();
                is_last = true;
                continue;
            }
        };
        let moved = requests.moved.load(Ordering::Relaxed);
        let is_idle = moved == before && requests.under_way.load(Ordering::Relaxed) == 0;
        if ended || is_idle {
            return;
        }
        (patience, before) = (IDLE, moved);
    }
}

/// What a connection asked.
#[derive(Debug, Default)]
struct Requests {
    /// Requests that were begun, and pieces of answers that were taken.
    moved: Arc<AtomicUsize>,
    under_way: Arc<AtomicUsize>,
}

impl Requests {
    fn begin(&self) -> UnderWay {
        self.moved.fetch_add(1, Ordering::Relaxed);
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(&self.under_way))
    }
}

/// A request until it is answered or given up.
#[derive(Debug)]
struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A body that tells that it is being read.
#[derive(Debug)]
struct Counted {
    body: Body,
    moved: Arc<AtomicUsize>,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_ready() {
            self.moved.fetch_add(1, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
