//! What it costs to see inside TLS: minting, handshakes, and calls in tunnels, beside the tool route and other proxies.
//!
//! Not here: who takes part (`stage`) and how it is shown (`report`). Invariant: everyone is measured in every round, one
//! after the other, so that a slow minute of the machine falls on all.

mod report;
mod stage;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::bail;
use serde::Serialize;

use crate::environment::Environment;
use crate::handshakes::{self, Handshakes, Hosts};
use crate::load::{Load, Measured, Pace, Summary, generate};
use crate::median;
use crate::stage::Place;
use stage::{Stage, Way};

/// How the comparison is made.
#[derive(Clone, Debug, clap::Args)]
pub struct InterceptionOptions {
    #[command(flatten)]
    pub place: Place,
    /// mitmproxy's program without a screen.
    #[arg(long, value_name = "PATH", default_value = "mitmdump")]
    pub mitmdump: PathBuf,
    /// squid, built with OpenSSL.
    #[arg(long, value_name = "PATH", default_value = "squid")]
    pub squid: PathBuf,
    /// Rounds; the figures are the medians over them.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub rounds: u16,
    /// Seconds each run is measured.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=10))]
    pub duration_s: u64,
    /// Connections of the closed loops.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub connections: u16,
    /// Arrival rate of the open loop, in calls a second; the slowest must be able to keep up.
    #[arg(long, default_value = "100")]
    pub rate: NonZeroU32,
}

/// What everyone is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    /// Tunnels one after the other on so many lanes, to a host each or all to one.
    Handshake { whose: Whose, lanes: u16 },
    /// Calls on kept connections.
    Call { pace: Pace },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Whose {
    NewHost,
    KnownHost,
}

/// One task on one way: medians over the rounds.
#[derive(Clone, Debug, Serialize)]
struct Run {
    task: String,
    way: Way,
    summary: Summary,
}

/// What came out, with what it depends on.
#[derive(Clone, Debug, Serialize)]
pub struct Interception {
    environment: Environment,
    /// Peers that are not installed, and how to get them.
    absent: Vec<String>,
    /// By lanes: the handshakes with one at a time first.
    handshakes: Vec<(u16, Whose, Run)>,
    calls: Vec<Run>,
}

const WARM_UP: Duration = Duration::from_secs(1);
/// Of a hundred, so many may fail before a figure says nothing any more.
const ERRORS_PERCENT_MAX: u64 = 1;

impl Task {
    fn all(options: &InterceptionOptions) -> Vec<Self> {
        let each = [Whose::NewHost, Whose::KnownHost];
        let handshakes = [1, options.connections]
            .into_iter()
            .flat_map(|lanes| each.map(|whose| Task::Handshake { whose, lanes }));
        let calls = [Pace::Open(options.rate), Pace::Closed].map(|pace| Task::Call { pace });
        handshakes.chain(calls).collect()
    }

    fn name(self) -> String {
        match self {
            Task::Handshake { whose: Whose::NewHost, lanes } => format!("new hosts, c={lanes}"),
            Task::Handshake { whose: Whose::KnownHost, lanes } => format!("one host, c={lanes}"),
            Task::Call { pace: Pace::Open(rate) } => format!("POST 1 KB, open loop, {rate}/s"),
            Task::Call { pace: Pace::Closed } => "POST 1 KB, closed loop".to_owned(),
        }
    }
}

/// Measures everything; takes minutes. `progress` is told what is being done, and how far it is from 0 to 1.
pub fn measure(
    options: &InterceptionOptions,
    mut progress: impl FnMut(&str, f64),
) -> anyhow::Result<Interception> {
    let length = (options.rounds, options.duration_s);
    let environment = Environment::look(&options.place.work_dir, "https", length)?;
    let stage = Stage::start(options)?;
    let steps: Vec<(Task, Way)> = Task::all(options)
        .into_iter()
        .flat_map(|task| stage.ways(task).map(move |way| (task, way)).collect::<Vec<_>>())
        .collect();
    let total = f64::from(options.rounds) * steps.len() as f64;
    let bench = Bench { stage, options, new_hosts: Arc::default() };
    let mut rounds: BTreeMap<(Task, Way), Vec<Summary>> = BTreeMap::new();
    let mut done = 0.0;
    for round in 1..=options.rounds {
        for (task, way) in &steps {
            let doing = format!("round {round}: {}, {}", task.name(), way.name());
            progress(&doing, done / total);
            rounds.entry((*task, *way)).or_default().push(bench.run(*task, *way)?);
            done += 1.0;
        }
    }
    Ok(Interception::new(environment, bench.stage.absent, &rounds))
}

/// All that a run needs.
struct Bench<'o> {
    stage: Stage,
    options: &'o InterceptionOptions,
    /// How many hosts were named so far.
    new_hosts: Arc<AtomicU64>,
}

impl Bench<'_> {
    fn run(&self, task: Task, way: Way) -> anyhow::Result<Summary> {
        let duration = Duration::from_secs(self.options.duration_s);
        let pid = self.stage.pid(way)?;
        let measured = match task {
            Task::Handshake { whose, lanes } => handshakes::open(&Handshakes {
                proxy: self.stage.proxy(way)?,
                hosts: match whose {
                    Whose::NewHost => Hosts::New(Arc::clone(&self.new_hosts)),
                    Whose::KnownHost => Hosts::Known,
                },
                lanes: lanes.into(),
                warm_up: WARM_UP,
                duration,
                pid,
            })?,
            Task::Call { pace } => {
                let (target, call) = self.stage.call(way)?;
                let connections = self.options.connections.into();
                let (calls, pid) = ([call].into(), Some(pid));
                let load =
                    Load { target, calls, pace, connections, warm_up: WARM_UP, duration, pid };
                generate(&load, |_| ())?
            }
        };
        checked(&measured, way)
    }
}

/// A figure made of failures says nothing.
fn checked(measured: &Measured, way: Way) -> anyhow::Result<Summary> {
    let tally = &measured.tally;
    let (errors, answered) = (tally.errors(), tally.answered());
    if errors.saturating_mul(100) > answered.saturating_mul(ERRORS_PERCENT_MAX) {
        bail!("{errors} went wrong, {}: {:?} {:?}", way.name(), tally.statuses, tally.failures);
    }
    Ok(measured.summary())
}

impl Interception {
    fn new(
        environment: Environment,
        absent: Vec<String>,
        rounds: &BTreeMap<(Task, Way), Vec<Summary>>,
    ) -> Self {
        let (mut handshakes, mut calls) = (Vec::new(), Vec::new());
        for ((task, way), summaries) in rounds {
            let run = Run { task: task.name(), way: *way, summary: median::summary(summaries) };
            match task {
                Task::Handshake { whose, lanes } => handshakes.push((*lanes, *whose, run)),
                Task::Call { .. } => calls.push(run),
            }
        }
        handshakes.sort_by_key(|(lanes, whose, run)| (*lanes, *whose, run.way));
        Self { environment, absent, handshakes, calls }
    }
}
