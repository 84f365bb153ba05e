//! The whole comparison: gateway, bare proxy and upstream alone, the same calls, alternated, medians of rounds.
//!
//! Not here: how it is shown (`report`). Invariant: all subjects are measured in every round, one after the other, so
//! that a slow minute of the machine falls on all of them.

mod report;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::{Duration, SystemTime};

use aegis_domain::CallKind;
use anyhow::bail;
use serde::Serialize;

use crate::decisions::{self, Window};
use crate::environment::Environment;
use crate::idle::{self, Memory};
use crate::load::{Load, Pace, Summary, generate};
use crate::median;
use crate::stage::{Stage, StageOptions, Subject};
use crate::tally::Quantiles;

/// How the comparison is made.
#[derive(Clone, Debug, clap::Args)]
pub struct FiguresOptions {
    #[command(flatten)]
    pub stage: StageOptions,
    /// Rounds; the figures are the medians over them.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=20))]
    pub rounds: u16,
    /// Seconds each run is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=120))]
    pub duration_s: u64,
    /// Seconds of load before each measurement.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=30))]
    pub warm_up_s: u64,
    /// Connections of the closed loops.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub connections: u16,
    /// Arrival rates of the open loops, in calls a second.
    #[arg(long, value_delimiter = ',', default_values_t = DEFAULT_RATES)]
    pub rates: Vec<NonZeroU32>,
    /// Connections that the calls of an open loop are dealt to.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub open_connections: u16,
    /// Idle connections held for the memory figures; 0 leaves them out.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(0..=10_000))]
    pub idle_connections: u16,
}

const DEFAULT_RATES: [NonZeroU32; 2] = [rate(500), rate(2_000)];

const fn rate(calls_per_s: u32) -> NonZeroU32 {
    match NonZeroU32::new(calls_per_s) {
        Some(rate) => rate,
        None => NonZeroU32::MIN,
    }
}

/// One kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Workload {
    kind: CallKind,
    pace: Pace,
    connections: u16,
}

/// What came out, with what it depends on.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    environment: Environment,
    memory: BTreeMap<Subject, Memory>,
    runs: Vec<Run>,
    decisions: Vec<DecisionRun>,
}

/// One workload on one subject: medians over the rounds.
#[derive(Clone, Debug, Serialize)]
struct Run {
    workload: String,
    subject: Subject,
    summary: Summary,
}

/// How long decisions took during one workload on the gateway, all rounds together.
#[derive(Clone, Debug, Serialize)]
struct DecisionRun {
    workload: String,
    latency: Quantiles,
}

const SUBJECTS: [Subject; 3] = [Subject::Direct, Subject::BarePingora, Subject::Gateway];
/// Of a hundred calls, so many may fail before a figure says nothing any more.
const ERRORS_PERCENT_MAX: u64 = 1;

impl Workload {
    fn all(options: &FiguresOptions) -> Vec<Self> {
        let closed = [CallKind::Write, CallKind::Read].map(|kind| Self {
            kind,
            pace: Pace::Closed,
            connections: options.connections,
        });
        let open = options.rates.iter().map(|rate| Self {
            kind: CallKind::Write,
            pace: Pace::Open(*rate),
            connections: options.open_connections,
        });
        closed.into_iter().chain(open).collect()
    }

    fn name(&self) -> String {
        let Self { kind, pace, connections } = self;
        let call = match kind {
            CallKind::Read => "GET",
            CallKind::Write => "POST 1 KB",
        };
        match pace {
            Pace::Closed => format!("{call}, closed loop, c={connections}"),
            Pace::Open(rate) => format!("{call}, open loop, {rate}/s"),
        }
    }
}

/// Measures everything; takes minutes. `progress` is told what is being done, and how far it is from 0 to 1.
pub fn measure(
    options: &FiguresOptions,
    mut progress: impl FnMut(&str, f64),
) -> anyhow::Result<Figures> {
    let upstream = if options.stage.upstream_tls { "https" } else { "http" };
    let length = (options.rounds, options.duration_s);
    let environment = Environment::look(&options.stage.place.work_dir, upstream, length)?;
    progress("memory", 0.0);
    let memory = match options.idle_connections {
        0 => BTreeMap::new(),
        connections => idle::measure(&options.stage, connections.into())?,
    };
    let stage = Stage::start(&options.stage)?;
    let workloads = Workload::all(options);
    let mut rounds = Rounds::default();
    let steps = f64::from(options.rounds) * (workloads.len() * SUBJECTS.len()) as f64;
    let mut done = 0.0;
    for round in 1..=options.rounds {
        for (at, workload) in workloads.iter().enumerate() {
            for subject in SUBJECTS {
                let doing = format!("round {round}: {}, {}", workload.name(), subject.name());
                progress(&doing, done / steps);
                let sample = sample(&stage, options, workload, subject)?;
                rounds.add(at, subject, sample);
                done += 1.0;
            }
        }
    }
    progress("reading the audit log", 1.0);
    let decisions = rounds.decisions(&workloads, &stage)?;
    Ok(Figures { environment, memory, runs: rounds.medians(&workloads), decisions })
}

/// One run and when it was.
struct Sample {
    summary: Summary,
    window: Window,
}

fn sample(
    stage: &Stage,
    options: &FiguresOptions,
    workload: &Workload,
    subject: Subject,
) -> anyhow::Result<Sample> {
    let load = Load {
        target: stage.target(subject)?,
        calls: stage.calls(workload.kind)?.into(),
        pace: workload.pace,
        connections: workload.connections.into(),
        warm_up: Duration::from_secs(options.warm_up_s),
        duration: Duration::from_secs(options.duration_s),
        pid: Some(stage.pid(subject)),
    };
    let start = SystemTime::now() + load.warm_up;
    let measured = generate(&load, |_| ())?;
    let (errors, answered) = (measured.tally.errors(), measured.tally.answered());
    if errors.saturating_mul(100) > answered.saturating_mul(ERRORS_PERCENT_MAX) {
        let tally = &measured.tally;
        bail!(
            "{errors} calls went wrong at {}: {:?} {:?}",
            subject.name(),
            tally.statuses,
            tally.failures
        );
    }
    Ok(Sample { summary: measured.summary(), window: start..SystemTime::now() })
}

/// Samples by workload and subject.
#[derive(Default)]
struct Rounds(BTreeMap<(usize, Subject), Vec<Sample>>);

impl Rounds {
    fn add(&mut self, workload: usize, subject: Subject, sample: Sample) {
        self.0.entry((workload, subject)).or_default().push(sample);
    }

    fn of(&self, workload: usize, subject: Subject) -> &[Sample] {
        self.0.get(&(workload, subject)).map(Vec::as_slice).unwrap_or_default()
    }

    fn medians(&self, workloads: &[Workload]) -> Vec<Run> {
        let each = workloads.iter().enumerate();
        each.flat_map(|(at, workload)| {
            SUBJECTS.map(|subject| {
                let summaries: Vec<_> =
                    self.of(at, subject).iter().map(|sample| sample.summary).collect();
                Run { workload: workload.name(), subject, summary: median::summary(&summaries) }
            })
        })
        .collect()
    }

    fn decisions(&self, workloads: &[Workload], stage: &Stage) -> anyhow::Result<Vec<DecisionRun>> {
        let windows: Vec<Vec<_>> = (0..workloads.len())
            .map(|at| self.of(at, Subject::Gateway).iter().map(|it| it.window.clone()).collect())
            .collect();
        let latencies = decisions::latencies(&stage.journal(), &windows)?;
        let each = workloads.iter().zip(latencies);
        Ok(each
            .map(|(workload, latency)| DecisionRun { workload: workload.name(), latency })
            .collect())
    }
}
