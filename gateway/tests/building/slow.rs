//! Clients that take their time: heads, bodies, handshakes and answers that never get whole are closed, all of them, and
//! others do not notice.
//!
//! Not here: floods (`frames`) and what a single slow head is told (`probes`). Invariant: who closes is the gateway,
//! counted one by one; how soon, and how fast others were meanwhile, is printed.
#![expect(clippy::print_stderr, reason = "what was counted is printed")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aegis_domain::Reason;
use aegis_testkit::frames::{self, END_HEADERS, END_STREAM};
use aegis_testkit::{Answer, Building, FrameLine, Line, Plan, Raw, Script, Wire};
use futures::future::{join_all, join4};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::GATEWAY;

/// How often a slow client says a little more.
const PAUSE: Duration = Duration::from_millis(400);
/// When a test stops waiting for the gateway to close: all deadlines here are over then, and none of Pingora's own.
const PATIENCE: Duration = Duration::from_secs(45);
/// More than all socket buffers on the way hold together.
const LARGE_BYTES: usize = 16 * 1_024 * 1_024;

/// Connections of one kind, and when each ended.
type Ends = Vec<JoinHandle<Option<Duration>>>;

/// When a connection was closed by the gateway, if it was.
fn watched(end: impl Future<Output = ()> + Send + 'static) -> JoinHandle<Option<Duration>> {
    let begun = Instant::now();
    tokio::spawn(async move { timeout(PATIENCE, end).await.ok().map(|()| begun.elapsed()) })
}

/// Waits for all of a kind; every one must have been closed.
async fn assert_all_closed(kind: &str, ends: Ends) {
    let count = ends.len();
    let ends = join_all(ends).await;
    let mut times: Vec<Duration> = ends.into_iter().filter_map(Result::unwrap).collect();
    times.sort_unstable();
    eprintln!("{kind}: {} of {count} closed, the last after {:?}", times.len(), times.last());
    assert_eq!(times.len(), count, "{kind}");
}

/// What a tenant that does nothing wrong got meanwhile.
#[derive(Debug, Default)]
struct Served {
    latencies: Vec<Duration>,
    failures: usize,
}

/// Calls on one connection until the others are over.
async fn served(house: &Building, wire: Wire, is_over: &AtomicBool) -> Served {
    let bot = house.agent("bot").of("other");
    let (mut served, mut line) = (Served::default(), Line::open(house, wire).await.unwrap());
    while !is_over.load(Ordering::Acquire) {
        let begun = Instant::now();
        let call = bot.post("/open/things").json(&json!({ "text": "hello" }));
        let is_ok = match call.begin_on(&mut line).await {
            Ok(answering) => {
                let reply = answering.whole().await;
                reply.status.is_success() && reply.broken.is_none()
            }
            Err(_) => false,
        };
        match is_ok {
            true => served.latencies.push(begun.elapsed()),
            false => {
                served.failures += 1;
                line = Line::open(house, wire).await.unwrap();
            }
        }
        sleep(Duration::from_millis(5)).await;
    }
    served
}

/// Has a good tenant call on all wires for as long as `attack` takes: 99.9 % must succeed.
async fn while_others_call(house: &Building, attack: impl Future<Output = ()>) {
    let is_over = AtomicBool::new(false);
    let over = async {
        attack.await;
        is_over.store(true, Ordering::Release);
    };
    let others = Wire::ALL.map(|wire| served(house, wire, &is_over));
    let [http1, h2c, tls_http1, tls_http2] = others;
    let ((), (a, b, c, d)) = tokio::join!(over, join4(http1, h2c, tls_http1, tls_http2));
    let served = [a, b, c, d];
    let failures: usize = served.iter().map(|one| one.failures).sum();
    let mut latencies: Vec<Duration> = served.into_iter().flat_map(|one| one.latencies).collect();
    latencies.sort_unstable();
    let calls = latencies.len() + failures;
    let p99 = latencies[latencies.len() * 99 / 100];
    eprintln!("good tenant: {} of {calls} calls succeeded, P99 {p99:?}", latencies.len());
    assert!(failures * 1_000 <= calls, "{failures} of {calls} failed");
}

async fn slow_head(house: &Building) -> JoinHandle<Option<Duration>> {
    let mut line = house.raw().await;
    line.send(b"GET /open/things HTTP/1.1\r\nhost: gw\r\n").await;
    trickle(line, b"x-more: of it\r\n")
}

async fn slow_body(house: &Building, tool: &str) -> JoinHandle<Option<Duration>> {
    let token = house.agent("bot").token();
    let mut line = house.raw().await;
    let head = format!(
        "POST /{tool}/things HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {token}\r\n\
         content-type: text/plain\r\ncontent-length: 100000\r\n\r\n"
    );
    line.send(head.as_bytes()).await;
    trickle(line, b"a")
}

fn trickle(line: Raw, bytes: &'static [u8]) -> JoinHandle<Option<Duration>> {
    watched(async move { drop(line.trickle(bytes, PAUSE).await) })
}

/// The limits of a building whose clients are found slow early.
async fn hasty() -> Plan {
    let plan = Plan::new().await.with("/limits/head_deadline", json!("2s"));
    plan.with("/limits/body_deadline", json!("3s")).with("/limits/idle", json!("4s"))
}

#[tokio::test]
async fn four_hundred_slow_heads_and_bodies_are_closed_within_the_default_deadlines() {
    let house = Plan::new().await.start(GATEWAY).await;
    while_others_call(&house, async {
        let (mut heads, mut bodies) = (Ends::new(), Ends::new());
        for _ in 0..400 {
            heads.push(slow_head(&house).await);
            bodies.push(slow_body(&house, "open").await);
        }
        assert_all_closed("slow heads", heads).await;
        assert_all_closed("slow bodies", bodies).await;
    })
    .await;
}

#[tokio::test]
async fn whatever_is_slow_is_closed() {
    let house = hasty().await.start(GATEWAY).await;
    while_others_call(&house, async {
        let kinds =
            ["slow head", "slow body", "slow streamed body", "silent TLS", "slow TLS hello"];
        let mut ends = kinds.map(|kind| (kind, Ends::new()));
        for _ in 0..40 {
            ends[0].1.push(slow_head(&house).await);
            ends[1].1.push(slow_body(&house, "open").await);
            ends[2].1.push(slow_body(&house, "stream").await);
            ends[3].1.push(trickle(house.raw_tls().await, b""));
            // A record of 512 bytes, of which there are never enough.
            ends[4].1.push(trickle(house.raw_tls().await, b"\x16\x03\x01\x02\x00"));
        }
        for (kind, ends) in ends {
            assert_all_closed(kind, ends).await;
        }
    })
    .await;
}

/// A slow HTTP/2 client: what it begins with, and what it says again and again.
struct Slow {
    kind: &'static str,
    settings: &'static [(u16, u32)],
    opening: Vec<u8>,
    more: Vec<u8>,
}

const INITIAL_WINDOW_SIZE: u16 = 4;

impl Slow {
    fn all(token: &str) -> Vec<Self> {
        let head = |method, path| {
            let bearer = format!("Bearer {token}");
            frames::block(&[
                (":method", method),
                (":scheme", "https"),
                (":authority", "localhost"),
                (":path", path),
                ("authorization", &bearer),
            ])
        };
        let get = |path| frames::headers(1, END_HEADERS | END_STREAM, &head("GET", path));
        let post = |path| frames::headers(1, END_HEADERS, &head("POST", path));
        let field = frames::block(&[("x-more", "of it")]);
        let slow = |kind, opening, more| Self { kind, settings: &[], opening, more };
        let window = |kind, settings, path, more| Self { kind, settings, opening: get(path), more };
        let byte = || frames::data(1, 0, b"a");
        let more_window = || [frames::window_update(0, 1), frames::window_update(1, 1)].concat();
        vec![
            slow("HTTP/2, nothing after the preface", Vec::new(), Vec::new()),
            slow(
                "HTTP/2, slow head",
                frames::headers(1, END_STREAM, &head("GET", "/open/x")),
                frames::continuation(1, 0, &field),
            ),
            // The head of a frame, and never its payload.
            slow("HTTP/2, half a frame", vec![0, 0, 100, 1, 4, 0, 0, 0, 1], Vec::new()),
            slow("HTTP/2, slow body", post("/open/x"), byte()),
            slow("HTTP/2, slow streamed body", post("/stream/x"), byte()),
            slow("HTTP/2, slow streamed body to HTTP/2", post("/stream-h2/x"), byte()),
            window("HTTP/2, no window", &[(INITIAL_WINDOW_SIZE, 0)], "/open/x", Vec::new()),
            window("HTTP/2, no more window", &[], "/open-h1/large", Vec::new()),
            window("HTTP/2, a trickle of window", &[], "/open-h1/large", more_window()),
            slow("HTTP/2, pings and no calls", Vec::new(), frames::ping(7)),
        ]
    }

    /// Five connections of it.
    async fn few(&self, house: &Building, wire: Wire) -> Ends {
        join_all([(); 5].map(|()| self.run(house, wire))).await
    }

    async fn run(&self, house: &Building, wire: Wire) -> JoinHandle<Option<Duration>> {
        let mut line = FrameLine::silent(house, wire).await;
        line.begin(self.settings).await;
        line.send(&self.opening).await;
        let more = self.more.clone();
        watched(async move {
            // Once its stream has ended it falls silent, and its connection is one without calls.
            while !line.heard().is_closed {
                let is_open = line.heard().resets == 0;
                if is_open && !more.is_empty() {
                    line.send(&more).await;
                }
                sleep(PAUSE).await;
            }
        })
    }
}

#[tokio::test]
async fn whatever_is_slow_over_http2_is_closed() {
    let house = hasty().await.start(GATEWAY).await;
    let large = Answer::default().body(vec![b'a'; LARGE_BYTES]);
    house.upstream().on("/large", Script::Answer(large));
    let token = house.agent("bot").token();
    while_others_call(&house, async {
        let mut ends = Vec::new();
        for wire in [Wire::H2c, Wire::TlsHttp2] {
            for slow in Slow::all(&token) {
                ends.push((format!("{}, {wire:?}", slow.kind), slow.few(&house, wire).await));
            }
        }
        let mut silent = Ends::new();
        for _ in 0..40 {
            let mut line = FrameLine::silent(&house, Wire::TlsHttp2).await;
            silent.push(watched(async move {
                line.closed().await;
            }));
        }
        ends.push(("HTTP/2, no preface".to_owned(), silent));
        for (kind, ends) in ends {
            assert_all_closed(&kind, ends).await;
        }
    })
    .await;
    // Nothing is left of them.
    assert_eq!(house.metric("aegis_calls_in_flight").await, 0);
}

#[tokio::test]
async fn who_does_not_take_an_answer_loses_it() {
    let house = hasty().await.start(GATEWAY).await;
    let large = Answer::default().body(vec![b'a'; LARGE_BYTES]);
    house.upstream().on("/large", Script::Answer(large));
    let token = house.agent("bot").token();
    while_others_call(&house, async {
        let mut lines = Vec::new();
        for _ in 0..40 {
            let mut line = house.raw().await;
            let call = format!(
                "GET /open-h1/large HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {token}\r\n\r\n"
            );
            line.send(call.as_bytes()).await;
            lines.push(line);
        }
        let cut_off = || {
            let outcomes = house.journal().outcomes();
            outcomes
                .values()
                .flatten()
                .filter(|outcome| outcome.reason == Reason::AgentGone)
                .count()
        };
        let all_cut_off = async {
            while cut_off() < lines.len() {
                sleep(PAUSE).await;
            }
        };
        timeout(PATIENCE, all_cut_off).await.unwrap();
        for line in lines {
            let taken = line.rest_bytes().await.len();
            assert!(taken < LARGE_BYTES, "the whole answer was waited for");
        }
    })
    .await;
}
