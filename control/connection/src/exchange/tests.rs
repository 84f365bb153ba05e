//! How long a connection is kept, on a clock that jumps to the next thing that happens.
//!
//! Not here: sockets, and what is asked (`control/tests`). Invariant: as above.

use axum::Router;
use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::*;

const PIECES: usize = 20;
const ASK: &[u8] = b"GET / HTTP/1.1\r\nhost: control\r\nconnection: close\r\n\r\n";

/// An answer of pieces that are far apart, but less than a connection may be idle.
async fn slowly() -> Body {
    Body::from_stream(futures::stream::unfold(0, |piece| async move {
        sleep(IDLE * 2 / 3).await;
        let text = format!("piece {piece};");
        (piece < PIECES).then_some((Ok::<_, Infallible>(text), piece + 1))
    }))
}

/// An answer without an end.
async fn endlessly() -> Body {
    let piece = || Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 16_384]));
    Body::from_stream(futures::stream::repeat_with(piece))
}

fn served() -> (DuplexStream, JoinHandle<()>) {
    let router = Router::new().route("/", get(slowly)).route("/endless", get(endlessly));
    let stopping = || StatusCode::SERVICE_UNAVAILABLE.into_response();
    let (near, far) = duplex(64);
    let peer = Peer { certificate: None };
    (near, tokio::spawn(exchange(far, Floor::new(Served { router, stopping }), peer)))
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_takes_long_is_sent_to_its_end() {
    let (mut caller, serving) = served();
    caller.write_all(ASK).await.unwrap();
    let mut answer = String::new();
    caller.read_to_string(&mut answer).await.unwrap();
    let last = format!("piece {};", PIECES - 1);
    assert!(answer.contains(&last) && answer.ends_with("0\r\n\r\n"), "{answer}");
    serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn whoever_takes_nothing_of_an_answer_is_hung_up_on() {
    let (mut caller, serving) = served();
    caller.write_all(b"GET /endless HTTP/1.1\r\nhost: control\r\n\r\n").await.unwrap();
    let begun = Instant::now();
    serving.await.unwrap();
    assert!(begun.elapsed() <= HEAD + 2 * IDLE, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_nothing_is_hung_up_on() {
    let (_caller, serving) = served();
    let begun = Instant::now();
    serving.await.unwrap();
    assert!(begun.elapsed() <= HEAD + IDLE, "{:?}", begun.elapsed());
}
