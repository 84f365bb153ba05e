//! HTTP/2 connections that are busy with everything but calls: they end, and cost whoever opened them.
//!
//! Not here: slow clients (`slow`). Invariant: after every flood the gateway still serves others at once. The costs are
//! printed beside the frames they took.

use std::time::{Duration, Instant};

use aegis_testkit::frames::{self, END_HEADERS, END_STREAM};
use aegis_testkit::{Building, FrameLine, Usage, Wire};

use crate::house;

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
    let heard = line.heard();
    let usage = house.usage().since(&before);
    Cost { rounds, is_closed: heard.is_closed, goaway: heard.goaway, usage }
}

#[tokio::test]
async fn every_flood_ends_early_and_costs_next_to_nothing() {
    let house = house().await;
    let token = house.agent("bot").token();
    for place in [Place::On(Wire::TlsHttp2), Place::On(Wire::H2c), Place::InTunnel] {
        for flood in Flood::ALL {
            let cost = run(&house, flood, place, Some(&token)).await;
            eprintln!("{flood:?} {place:?}: {cost:?}");
            house.agent("second-bot").get("/open/x").send().await.is_ok();
        }
    }
}
