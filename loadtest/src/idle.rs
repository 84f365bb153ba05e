//! What waiting agents cost: memory of an idle process, and of one that holds kept-alive connections.
//!
//! Not here: processes (`stage`). Invariant: every connection made one call before it went idle, and all are still open
//! when memory is read.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use aegis_domain::CallKind;
use anyhow::{Context as _, bail};
use serde::Serialize;

use crate::call::{Call, Target};
use crate::connection::{Sender, exchange};
use crate::process::{allow_files, resident_bytes};
use crate::stage::{Stage, StageOptions, Subject};

/// Calls over one connection before memory per connection is counted, so that what is set up once is not charged to it.
const WARM_CALLS: usize = 500;
/// Time for buffers and settlements to come to rest.
const REST: Duration = Duration::from_millis(1_500);

/// What is held.
#[derive(Clone, Debug, clap::Args)]
pub struct IdleOptions {
    #[command(flatten)]
    pub stage: StageOptions,
    /// Idle connections to hold.
    #[arg(short, long, default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub connections: u16,
}

/// Memory of all that were measured.
#[derive(Clone, Debug, Serialize)]
pub struct IdleReport(BTreeMap<Subject, Memory>);

/// Memory of one process, in KiB.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Memory {
    /// After its start, before the first measured call.
    pub idle_kib: f64,
    /// After some calls over one connection.
    pub warm_kib: f64,
    pub connections: usize,
    /// With that many idle connections.
    pub connected_kib: f64,
}

impl Memory {
    pub fn per_connection_kib(&self) -> f64 {
        (self.connected_kib - self.warm_kib) / (self.connections as f64).max(1.0)
    }
}

impl fmt::Display for IdleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| subject | idle MiB | with connections MiB | connections | KiB each |")?;
        writeln!(f, "|---|---|---|---|---|")?;
        for (subject, memory) in &self.0 {
            writeln!(
                f,
                "| {} | {:.1} | {:.1} | {} | {:.1} |",
                subject.name(),
                memory.idle_kib / 1_024.0,
                memory.connected_kib / 1_024.0,
                memory.connections,
                memory.per_connection_kib(),
            )?;
        }
        Ok(())
    }
}

/// Measures memory and nothing else.
pub fn run(options: &IdleOptions) -> anyhow::Result<IdleReport> {
    measure(&options.stage, options.connections.into()).map(IdleReport)
}

/// Measures the gateway and bare Pingora on a stage of their own.
pub fn measure(
    options: &StageOptions,
    connections: usize,
) -> anyhow::Result<BTreeMap<Subject, Memory>> {
    allow_files(connections)?;
    let stage = Stage::start(options)?;
    let subjects = [Subject::BarePingora, Subject::Gateway];
    subjects
        .into_iter()
        .map(|subject| Ok((subject, measure_one(&stage, subject, connections)?)))
        .collect()
}

fn measure_one(stage: &Stage, subject: Subject, connections: usize) -> anyhow::Result<Memory> {
    let (pid, target) = (stage.pid(subject), stage.target(subject)?);
    let calls = stage.calls(CallKind::Write)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let kib = |pid| resident_bytes(pid).map(|bytes| bytes as f64 / 1_024.0);
    let idle_kib = kib(pid)?;
    let mut one = None;
    for call in calls.iter().cycle().take(WARM_CALLS) {
        runtime.block_on(call_once(&target, &mut one, call))?;
    }
    std::thread::sleep(REST);
    let warm_kib = kib(pid)?;
    let mut open = Vec::with_capacity(connections);
    for call in calls.iter().cycle().take(connections) {
        let mut sender = None;
        runtime.block_on(call_once(&target, &mut sender, call))?;
        open.push(sender.context("the server closed a connection that was to be kept")?);
    }
    // Slept on the runtime, so that a connection the server closes is seen to close.
    runtime.block_on(async { tokio::time::sleep(REST).await });
    let connected_kib = kib(pid)?;
    if open.iter().any(Sender::is_closed) {
        bail!("{} closed an idle connection", subject.name());
    }
    Ok(Memory { idle_kib, warm_kib, connections, connected_kib })
}

async fn call_once(
    target: &Target,
    sender: &mut Option<Sender>,
    call: &Call,
) -> anyhow::Result<()> {
    let (status, body) = exchange(target, sender, call).await?;
    if !(200..300).contains(&status) {
        bail!("a call was answered with {status}: {}", String::from_utf8_lossy(&body));
    }
    Ok(())
}
