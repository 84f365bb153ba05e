//! HTTP/2 connections that are busy with everything but calls: they end, and cost whoever opened them.
//!
//! Not here: slow clients (`slow`). Invariant: after every flood the gateway still serves others at once. The costs are
//! printed beside the frames they took.
#![expect(clippy::print_stderr, reason = "what was counted is printed")]

use std::time::{Duration, Instant};

use aegis_domain::Reason;
use aegis_testkit::frames::{self, END_HEADERS, END_STREAM};
use aegis_testkit::{Answer, Building, FrameLine, Gate, Line, Plan, Script, Usage, Wire};
use serde_json::json;

use crate::{GATEWAY, house};

/// What a flood may take at the most before it must have cost the gateway next to nothing.
const LONGEST: Duration = Duration::from_secs(10);
const CPU_MAX: Duration = Duration::from_secs(1);
const RESIDENT_KIB_MAX: u64 = 32 * 1_024;
/// Written at once.
const BATCH: u32 = 50;

/// The seven floods, each named for what it repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flood {
    /// CVE-2023-44487.
    RapidReset,
    /// VU#421644.
    Continuation,
    /// CVE-2019-9518.
    EmptyData,
    /// CVE-2025-8671: the attacker has the server reset its streams.
    MadeYouReset,
    /// CVE-2019-9515.
    Settings,
    /// CVE-2019-9512.
    Ping,
    WindowUpdate,
}

/// Where the connection of a flood is.
#[derive(Clone, Copy, Debug)]
enum Place {
    On(Wire),
    InTunnel,
}

impl Flood {
    const ALL: [Self; 7] = [
        Self::RapidReset,
        Self::Continuation,
        Self::EmptyData,
        Self::MadeYouReset,
        Self::Settings,
        Self::Ping,
        Self::WindowUpdate,
    ];

    fn frames_max(self) -> u32 {
        match self {
            Self::MadeYouReset => 20_000,
            _ => 50_000,
        }
    }

    /// What comes before the flood.
    fn opening(self, head: &[u8]) -> Vec<u8> {
        match self {
            Self::Continuation => frames::headers(1, END_STREAM, head),
            Self::EmptyData => frames::headers(1, END_HEADERS, head),
            _ => Vec::new(),
        }
    }

    /// One round of it; `head` is a whole and valid one.
    fn round(self, number: u32, head: &[u8]) -> Vec<u8> {
        let stream = number * 2 + 1;
        let whole = || frames::headers(stream, END_STREAM | END_HEADERS, head);
        match self {
            Self::RapidReset => [whole(), frames::reset(stream)].concat(),
            Self::Continuation => {
                let header = frames::block(&[("x-padding", &"a".repeat(88))]);
                frames::continuation(1, 0, &header)
            }
            Self::EmptyData => frames::data(1, 0, &[]),
            Self::MadeYouReset => [whole(), frames::window_update(stream, 0)].concat(),
            Self::Settings => frames::settings(&[]),
            Self::Ping => frames::ping(u64::from(number)),
            Self::WindowUpdate => frames::window_update(0, 1),
        }
    }
}

/// What became of a flood.
#[derive(Debug)]
struct Cost {
    rounds: u32,
    is_closed: bool,
    goaway: Option<u32>,
    usage: Usage,
}

/// A head of a call that would be allowed, or of nobody's.
fn head(house: &Building, place: Place, token: Option<&str>, method: &str) -> Vec<u8> {
    let origin = format!("open.test:{}", house.upstream().port());
    let (scheme, authority, path) = match place {
        Place::On(Wire::TlsHttp2) => ("https", "localhost", "/open/v1/things"),
        Place::On(_) => ("http", "localhost", "/open/v1/things"),
        Place::InTunnel => ("https", origin.as_str(), "/v1/things"),
    };
    let bearer = token.map(|token| format!("Bearer {token}"));
    let mut fields =
        vec![(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)];
    if let Some(bearer) = &bearer {
        fields.push(("authorization", bearer));
    }
    frames::block(&fields)
}

async fn open(house: &Building, place: Place) -> FrameLine {
    match place {
        Place::On(wire) => FrameLine::open(house, wire).await,
        Place::InTunnel => {
            let origin = ("open.test", house.upstream().port());
            FrameLine::in_tunnel(house, &house.agent("bot"), origin).await
        }
    }
}

/// Floods one connection until the gateway closes it, or it was enough.
async fn run(house: &Building, flood: Flood, place: Place, token: Option<&str>) -> Cost {
    let method = if flood == Flood::EmptyData { "POST" } else { "GET" };
    let head = head(house, place, token, method);
    let mut line = open(house, place).await;
    let (before, begun) = (house.usage(), Instant::now());
    line.send(&flood.opening(&head)).await;
    let mut rounds = 0;
    while rounds < flood.frames_max() && begun.elapsed() < LONGEST {
        let batch = (rounds..rounds + BATCH).flat_map(|number| flood.round(number, &head));
        if !line.send(&batch.collect::<Vec<u8>>()).await {
            break;
        }
        rounds += BATCH;
    }
    let is_cut_short = rounds < flood.frames_max() && begun.elapsed() < LONGEST;
    let heard = if is_cut_short { line.closed().await } else { line.heard() };
    // What was cut short may still be on its way through the gateway.
    house.agent("second-bot").get("/open/x").send().await.is_ok();
    let usage = house.usage().since(&before);
    Cost { rounds, is_closed: heard.is_closed, goaway: heard.goaway, usage }
}

async fn assert_all_end(house: &Building, place: Place, token: Option<&str>) {
    for flood in Flood::ALL {
        let cost = run(house, flood, place, token).await;
        let Cost { rounds, goaway, usage, is_closed } = &cost;
        let whose = if token.is_some() { "known" } else { "unknown" };
        let Usage { cpu, resident_kib } = usage;
        eprintln!(
            "{flood:?} {place:?} {whose}: {rounds} rounds, GOAWAY {goaway:?}, CPU {cpu:?}, +{resident_kib} KiB"
        );
        assert!(is_closed, "{flood:?} {place:?} {cost:?}");
        assert!(
            *cpu <= CPU_MAX && *resident_kib <= RESIDENT_KIB_MAX,
            "{flood:?} {place:?} {cost:?}"
        );
    }
}

#[tokio::test]
async fn every_flood_of_a_known_agent_is_cut_short() {
    let house = house().await;
    let token = house.agent("bot").token();
    for place in [Place::On(Wire::TlsHttp2), Place::On(Wire::H2c), Place::InTunnel] {
        assert_all_end(&house, place, Some(&token)).await;
    }
}

#[tokio::test]
async fn every_flood_of_nobody_is_cut_short_and_leaves_few_records() {
    let house = house().await;
    for place in [Place::On(Wire::TlsHttp2), Place::On(Wire::H2c)] {
        assert_all_end(&house, place, None).await;
    }
    let records = house.journal().decisions().len();
    eprintln!("{records} records of 14 floods");
    // Those of the calls between them, and for each flood the strangers' share of a connection.
    assert!(records <= 14 + 14 * STRANGERS_LAST, "{records}");
}

/// Calls of nobody that one connection may bring when it goes on after it was told to stop, and those under way then.
const STRANGERS_LAST: usize = 116 + 100;
/// Calls of nobody after which a connection takes no more.
const STRANGERS_MAX: usize = 16;

#[tokio::test]
async fn a_connection_carries_few_calls_of_nobody() {
    let house = house().await;
    for wire in [Wire::Http1, Wire::TlsHttp1] {
        let mut line = Line::open(&house, wire).await.unwrap();
        let stranger = || house.agent("bot").get("/open/x").without("authorization");
        for _ in 1..STRANGERS_MAX {
            let reply = stranger().send_on(&mut line).await;
            reply.is_denied(Reason::TokenMissing);
            assert_eq!(reply.header("connection").as_deref(), Some("keep-alive"));
        }
        let last = stranger().send_on(&mut line).await;
        last.is_denied(Reason::TokenMissing);
        assert_eq!(last.header("connection").as_deref(), Some("close"));
        assert!(!line.is_open().await);
    }
}

#[tokio::test]
async fn an_http2_connection_of_strangers_is_told_to_stop_and_then_stopped() {
    let house = house().await;
    let place = Place::On(Wire::TlsHttp2);
    let head = head(&house, place, None, "GET");
    let mut line = open(&house, place).await;
    for number in 0..STRANGERS_MAX {
        line.send(&call(number, &head)).await;
        line.until(|heard| heard.heads > number).await;
    }
    // NO_ERROR: an honest client takes its last answers and begins anew.
    line.until(|heard| heard.goaway == Some(0)).await;
    // One that goes on is cut off.
    for number in STRANGERS_MAX..10 * STRANGERS_LAST {
        if !line.send(&call(number, &head)).await {
            break;
        }
    }
    line.closed().await;
    let records = house.journal().decisions().len();
    assert!((STRANGERS_MAX..=STRANGERS_LAST).contains(&records), "{records}");
}

#[tokio::test]
async fn an_agents_calls_are_not_counted_with_those_of_nobody() {
    let house = house().await;
    let mut line = Line::open(&house, Wire::TlsHttp2).await.unwrap();
    for _ in 0..4 * STRANGERS_MAX {
        house.agent("bot").get("/open/x").send_on(&mut line).await.is_ok();
    }
    assert!(line.is_open().await);
}

/// The call with this number on its connection.
fn call(number: usize, head: &[u8]) -> Vec<u8> {
    let stream = u32::try_from(number).unwrap() * 2 + 1;
    frames::headers(stream, END_STREAM | END_HEADERS, head)
}

#[tokio::test]
async fn a_connection_has_a_hundred_streams_at_a_time() {
    let house = house().await;
    let gate = Gate::default();
    house.upstream().on("/v1/things", Script::Late(gate.clone(), Answer::default()));
    let (place, token) = (Place::On(Wire::TlsHttp2), house.agent("bot").token());
    let head = head(&house, place, Some(&token), "GET");
    let mut line = open(&house, place).await;
    for number in 0..STREAMS_MAX + 3 {
        line.send(&call(number, &head)).await;
    }
    line.until(|heard| heard.resets == 3).await;
    house.upstream().reached(STREAMS_MAX).await;
    gate.open(STREAMS_MAX + 1);
    line.until(|heard| heard.heads == STREAMS_MAX).await;
    // Those that were refused may come again.
    line.send(&call(STREAMS_MAX + 3, &head)).await;
    line.until(|heard| heard.heads == STREAMS_MAX + 1).await;
    assert_eq!(house.upstream().count(), STREAMS_MAX + 1);
}

const STREAMS_MAX: usize = 100;

#[tokio::test]
async fn a_head_is_no_larger_over_http2_however_it_is_compressed() {
    let house = house().await;
    let (place, token) = (Place::On(Wire::TlsHttp2), house.agent("bot").token());
    let usual = head(&house, place, Some(&token), "GET");
    let mut line = open(&house, place).await;
    let before = house.usage();
    // Under the limit of h2, over ours.
    let field = frames::block(&[("x-large", &"a".repeat(12_000))]);
    line.send(&frames::headers(1, END_STREAM, &usual)).await;
    for flags in [0, 0, END_HEADERS] {
        line.send(&frames::continuation(1, flags, &field)).await;
    }
    line.until(|heard| heard.heads == 1).await;
    assert_eq!(house.journal().decisions().last().unwrap().reason, Reason::HeadTooLarge);
    // One field of 4,000 bytes, said once and then named fourteen thousand times: 56 MB of head in 18 KB.
    let bomb = [usual.as_slice(), &frames::remembered("x-large", &"a".repeat(4_000))].concat();
    line.send(&frames::headers(3, END_STREAM, &bomb)).await;
    line.send(&frames::continuation(3, END_HEADERS, &[frames::LAST_REMEMBERED; 14_000])).await;
    line.until(|heard| heard.is_closed || heard.heads == 2).await;
    house.agent("second-bot").get("/open/x").send().await.is_ok();
    let usage = house.usage().since(&before);
    eprintln!("a head of 56 MB in 18 KB: {usage:?}");
    assert!(usage.cpu <= CPU_MAX && usage.resident_kib <= RESIDENT_KIB_MAX, "{usage:?}");
    assert_eq!(house.upstream().count(), 1);
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_at_once_and_their_room_comes_back() {
    let plan = Plan::new().await.with("/limits/connections_max", json!(50));
    let house = plan.start(GATEWAY).await;
    let mut held = Vec::new();
    for _ in 0..50 {
        // Half of them never get through their handshake.
        held.push(house.raw().await);
        held.push(house.raw_tls().await);
    }
    let (mut kept, mut closed) = (Vec::new(), 0);
    for mut line in held {
        match line.is_closed(Duration::from_millis(100)).await {
            true => closed += 1,
            false => kept.push(line),
        }
    }
    assert_eq!((kept.len(), closed), (50, 50));
    drop(kept);
    let reply = loop {
        // The gateway learns of their end in its own time.
        if let Ok(answering) = house.agent("bot").get("/open/x").try_begin().await {
            break answering.whole().await;
        }
    };
    reply.is_ok();
}

#[tokio::test]
async fn five_thousand_connections_leave_nothing_behind() {
    let house = house().await;
    house.agent("bot").get("/open/x").send().await.is_ok();
    let before = house.usage();
    for _ in 0..50 {
        let mut lines = Vec::new();
        for _ in 0..25 {
            lines.extend([
                house.raw().await,
                house.raw_tls().await,
                house.raw().await,
                house.raw_tls().await,
            ]);
        }
        for (number, line) in lines.iter_mut().enumerate() {
            // Some leave at once, some in the middle of a head, of a handshake, or of a preface.
            let said: &[u8] = [
                b"".as_slice(),
                b"\x16\x03\x01\x02\x00\x01",
                b"GET /open/x HT",
                &frames::PREFACE[..20],
            ][number % 4];
            line.send(said).await;
        }
    }
    house.agent("bot").get("/open/x").send().await.is_ok();
    let usage = house.usage().since(&before);
    eprintln!("5,000 connections: {usage:?}");
    assert!(usage.resident_kib <= RESIDENT_KIB_MAX, "{usage:?}");
    assert_eq!(house.journal().decisions().len(), 2);
}
