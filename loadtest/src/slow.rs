//! What slow clients do to others: hundreds of heads and bodies that never get whole, and a good tenant's calls meanwhile.
//!
//! Not here: floods, which tests of the gateway make. Invariant: the attack runs on a thread of its own, and every one of
//! its connections is followed until the gateway closes it or `PATIENCE` is over.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use aegis_domain::CallKind;
use anyhow::{Context as _, anyhow};
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::load::{Load, Pace, Summary, generate};
use crate::process::allow_files;
use crate::stage::{Stage, StageOptions, Subject};

/// How often a slow client says a little more.
const PAUSE: Duration = Duration::from_secs(1);
/// Longer than the deadlines of heads (10 s) and bodies (30 s).
const PATIENCE: Duration = Duration::from_secs(45);
/// Load before anything is counted.
const WARM_UP: Duration = Duration::from_secs(2);
/// How long the good tenant is measured before the attack, and during it: until the last body is over.
const QUIET: Duration = Duration::from_secs(10);
const UNDER_ATTACK: Duration = Duration::from_secs(32);

/// How strong the attack is, and what it is measured by.
#[derive(Clone, Debug, clap::Args)]
pub struct SlowOptions {
    #[command(flatten)]
    pub stage: StageOptions,
    /// Connections with slow heads, and as many with slow bodies.
    #[arg(short, long, default_value_t = 400, value_parser = clap::value_parser!(u16).range(1..=5_000))]
    pub connections: u16,
    /// The good tenant's calls a second.
    #[arg(short, long, default_value_t = NonZeroU32::MIN.saturating_add(199))]
    pub rate: NonZeroU32,
    /// Connections that the good tenant's calls are dealt to.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub good_connections: u16,
}

/// What came of the attack, and what the good tenant saw of it.
#[derive(Clone, Debug, Serialize)]
pub struct SlowReport {
    rate: u32,
    slow: Vec<Closed>,
    quiet: Summary,
    under_attack: Summary,
}

/// How the connections of one kind ended.
#[derive(Clone, Copy, Debug, Serialize)]
struct Closed {
    kind: Kind,
    connections: usize,
    closed: usize,
    last_after_s: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Head,
    Body,
}

impl Kind {
    /// What comes again and again.
    fn more(self) -> &'static [u8] {
        match self {
            Self::Head => b"x-more: of it\r\n",
            Self::Body => b" ",
        }
    }
}

/// Runs the attack on a stage of its own; takes about a minute.
pub fn run(options: &SlowOptions) -> anyhow::Result<SlowReport> {
    allow_files(usize::from(options.connections).saturating_mul(2))?;
    let stage = Stage::start(&options.stage)?;
    let calls = stage.calls(CallKind::Write)?;
    let authorization = calls.first().and_then(|call| call.authorization());
    let authorization = authorization.context("the stage's calls carry tokens")?.to_owned();
    let target = stage.target(Subject::Gateway)?;
    let load = |duration| Load {
        target: target.clone(),
        calls: calls.clone().into(),
        pace: Pace::Open(options.rate),
        connections: options.good_connections.into(),
        warm_up: WARM_UP,
        duration,
        pid: Some(stage.pid(Subject::Gateway)),
    };
    let quiet = generate(&load(QUIET), |_| ())?.summary();
    let count = usize::from(options.connections);
    let attack = start(target.address(), count, authorization)?;
    let under_attack = generate(&load(UNDER_ATTACK), |_| ())?.summary();
    let slow = attack.join().map_err(|_| anyhow!("the attack panicked"))??;
    Ok(SlowReport { rate: options.rate.get(), slow, quiet, under_attack })
}

/// Begins the attack on a thread of its own.
fn start(
    address: SocketAddr,
    count: usize,
    authorization: String,
) -> anyhow::Result<JoinHandle<anyhow::Result<Vec<Closed>>>> {
    let thread = std::thread::Builder::new().name("slow clients".to_owned());
    let attack = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(attack(address, count, &authorization))
    };
    thread.spawn(attack).context("no thread for the attack")
}

async fn attack(
    address: SocketAddr,
    count: usize,
    authorization: &str,
) -> anyhow::Result<Vec<Closed>> {
    let path = "/payments/v1/payouts";
    let common =
        format!("POST {path} HTTP/1.1\r\nhost: gateway\r\nauthorization: {authorization}\r\n");
    let whole =
        format!("{common}content-type: application/json\r\ncontent-length: 100000\r\n\r\n{{");
    let mut ends = Vec::new();
    for (kind, opening) in [(Kind::Head, &common), (Kind::Body, &whole)] {
        let mut some = Vec::new();
        for _ in 0..count {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(opening.as_bytes()).await?;
            some.push(tokio::spawn(closed(stream, kind)));
        }
        ends.push((kind, some));
    }
    let mut all = Vec::new();
    for (kind, some) in ends {
        let mut closed = Closed { kind, connections: some.len(), closed: 0, last_after_s: 0.0 };
        for end in some {
            if let Some(after) = end.await? {
                closed.closed = closed.closed.saturating_add(1);
                closed.last_after_s = closed.last_after_s.max(after.as_secs_f64());
            }
        }
        all.push(closed);
    }
    Ok(all)
}

/// Goes on slowly until the gateway closes; how long that took, or nothing when it never did.
async fn closed(mut stream: TcpStream, kind: Kind) -> Option<Duration> {
    let begun = Instant::now();
    let mut turn = interval(PAUSE);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = async {
        let mut answer = [0; 4_096];
        loop {
            tokio::select! {
                read = stream.read(&mut answer) => if read.unwrap_or(0) == 0 {
                    return;
                },
                _ = turn.tick() => {}
            }
            if stream.write_all(kind.more()).await.is_err() {
                return;
            }
        }
    };
    timeout(PATIENCE, end).await.ok().map(|()| begun.elapsed())
}

impl fmt::Display for SlowReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| slow | connections | closed by the gateway | the last after s |")?;
        writeln!(f, "|---|---|---|---|")?;
        for Closed { kind, connections, closed, last_after_s } in &self.slow {
            let kind = match kind {
                Kind::Head => "heads",
                Kind::Body => "bodies",
            };
            writeln!(f, "| {kind} | {connections} | {closed} | {last_after_s:.1} |")?;
        }
        writeln!(f)?;
        let rate = self.rate;
        writeln!(f, "| good tenant, {rate}/s | calls | succeeded | P50 ms | P99 | P99.9 | max |")?;
        writeln!(f, "|---|---|---|---|---|---|---|")?;
        for (when, summary) in [("quiet", &self.quiet), ("under attack", &self.under_attack)] {
            let latency = &summary.latency;
            let share = 100.0 * (1.0 - summary.errors as f64 / (latency.count as f64).max(1.0));
            writeln!(
                f,
                "| {when} | {} | {share:.2} % | {:.2} | {:.2} | {:.2} | {:.1} |",
                latency.count, latency.p50_ms, latency.p99_ms, latency.p999_ms, latency.max_ms,
            )?;
        }
        Ok(())
    }
}
