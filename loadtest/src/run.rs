//! `aegis-loadtest run`: one load on one server, in numbers.
//!
//! Not here: the load itself (`aegis_loadtest::load`). Invariant: what was asked for stands beside what was achieved.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use aegis_loadtest::call::{Call, Protocol, Target, parse_url};
use aegis_loadtest::load::{Load, Measured, Pace, Summary, generate};
use aegis_loadtest::process::resident_bytes;
use anyhow::Context as _;
use bytes::Bytes;
use clap::ValueEnum;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, uri::PathAndQuery};
use serde::Serialize;

/// What to call, and how.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RunOptions {
    /// `http://127.0.0.1:<port>/<path>`; loopback only.
    url: String,
    /// Calls a second over all connections.
    #[arg(long, default_value = "500", conflicts_with = "closed",
          value_parser = clap::value_parser!(u32).range(1..=50_000))]
    rate: u32,
    /// Throughput instead: each connection calls again as soon as it has its answer.
    #[arg(long)]
    closed: bool,
    /// Kept-alive connections, each with one call under way at most.
    #[arg(short, long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=512))]
    connections: u16,
    /// Seconds of measured load.
    #[arg(short, long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    duration_s: u64,
    /// Seconds of load before it.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=60))]
    warm_up_s: u64,
    /// What is sent; `mixed` takes turns.
    #[arg(long, value_enum, default_value_t = Methods::Post)]
    method: Methods,
    /// Size of a POST's JSON body.
    #[arg(long, default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(11..=1_048_576))]
    body_bytes: u32,
    /// A POST's body, instead of a made-up one.
    #[arg(long, value_name = "FILE", conflicts_with = "body_bytes")]
    body: Option<PathBuf>,
    /// A file with the token to send as `Authorization: Bearer`.
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,
    /// A header to send, `name: value`; may be given several times.
    #[arg(long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// The HTTP version; `http2` without TLS and without upgrade.
    #[arg(long, value_enum, default_value_t = Protocol::Http1)]
    protocol: Protocol,
    /// The process that answers: its CPU time per call and its memory are reported.
    #[arg(long)]
    pid: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Methods {
    Get,
    Post,
    Mixed,
}

/// One run, for people and programs.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    loop_kind: &'static str,
    /// `None` in a closed loop.
    asked_calls_per_s: Option<u32>,
    connections: u16,
    summary: Summary,
    statuses: std::collections::BTreeMap<u16, u64>,
    failures: std::collections::BTreeMap<String, u64>,
    resident_bytes: Option<u64>,
}

impl RunOptions {
    /// How long the run takes, warm-up included.
    pub(crate) fn length(&self) -> Duration {
        Duration::from_secs(self.duration_s.saturating_add(self.warm_up_s))
    }

    fn load(&self) -> anyhow::Result<Load> {
        let (address, path) = parse_url(&self.url)?;
        let rate = NonZeroU32::new(self.rate).context("a rate is above zero")?;
        Ok(Load {
            target: Target::new(address, self.protocol)?,
            calls: self.calls(&path)?.into(),
            pace: if self.closed { Pace::Closed } else { Pace::Open(rate) },
            connections: self.connections.into(),
            warm_up: Duration::from_secs(self.warm_up_s),
            duration: Duration::from_secs(self.duration_s),
            pid: self.pid,
        })
    }

    fn calls(&self, path: &PathAndQuery) -> anyhow::Result<Vec<Call>> {
        let headers = self.headers()?;
        let get = || Call::new(Method::GET, path.clone(), headers.clone(), Bytes::new());
        let mut with_type = headers.clone();
        with_type.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = self.body()?;
        let post = || Call::new(Method::POST, path.clone(), with_type.clone(), body.clone());
        Ok(match self.method {
            Methods::Get => vec![get()],
            Methods::Post => vec![post()],
            Methods::Mixed => vec![get(), post()],
        })
    }

    fn headers(&self) -> anyhow::Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        for line in &self.headers {
            let (name, value) = line.split_once(':').context("a header is `name: value`")?;
            headers.append(name.trim().parse::<HeaderName>()?, value.trim().parse()?);
        }
        if let Some(file) = &self.token {
            let token = std::fs::read_to_string(file)
                .with_context(|| format!("{} cannot be read", file.display()))?;
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(headers)
    }

    fn body(&self) -> anyhow::Result<Bytes> {
        if let Some(file) = &self.body {
            let bytes = std::fs::read(file);
            return Ok(bytes.with_context(|| format!("{} cannot be read", file.display()))?.into());
        }
        let frame = r#"{"note":""}"#;
        let note = usize::try_from(self.body_bytes)?.saturating_sub(frame.len());
        Ok(format!(r#"{{"note":"{}"}}"#, "x".repeat(note)).into())
    }
}

/// Makes the load and sums it up.
pub(crate) fn run(options: &RunOptions, tick: impl FnMut(Duration)) -> anyhow::Result<Report> {
    let load = options.load()?;
    let measured = generate(&load, tick)?;
    let summary = measured.summary();
    let Measured { tally, .. } = measured;
    let asked = (!options.closed).then_some(options.rate);
    Ok(Report {
        loop_kind: if options.closed { "closed" } else { "open" },
        asked_calls_per_s: asked,
        connections: options.connections,
        summary,
        statuses: tally.statuses,
        failures: tally.failures.iter().map(|(why, calls)| (why.to_string(), *calls)).collect(),
        resident_bytes: options.pid.map(resident_bytes).transpose()?,
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { calls_per_s, cpu_us_per_call, errors, latency, generator_late } =
            &self.summary;
        match self.asked_calls_per_s {
            Some(asked) => {
                writeln!(
                    f,
                    "open loop: {asked} calls/s asked for, {calls_per_s:.1} answered; latency from when due"
                )?;
            }
            None => writeln!(
                f,
                "CLOSED LOOP: {calls_per_s:.1} calls/s over {} connections; latency from when sent, which hides stalls",
                self.connections
            )?,
        }
        writeln!(
            f,
            "latency ms  P50 {:.3}  P90 {:.3}  P99 {:.3}  P99.9 {:.3}  max {:.3}  ({} answers)",
            latency.p50_ms,
            latency.p90_ms,
            latency.p99_ms,
            latency.p999_ms,
            latency.max_ms,
            latency.count
        )?;
        if generator_late.count > 0 {
            let (p50, p99) = (generator_late.p50_ms, generator_late.p99_ms);
            writeln!(f, "of which the generator was late  P50 {p50:.3}  P99 {p99:.3}")?;
        }
        writeln!(f, "errors      {errors}")?;
        for (status, calls) in &self.statuses {
            writeln!(f, "  {status}  {calls}")?;
        }
        for (failure, calls) in &self.failures {
            writeln!(f, "  {failure}  {calls}")?;
        }
        if let Some(cpu) = cpu_us_per_call {
            writeln!(f, "CPU         {cpu:.1} µs per call")?;
        }
        if let Some(bytes) = self.resident_bytes {
            writeln!(f, "memory      {:.1} MiB", bytes as f64 / 1_048_576.0)?;
        }
        Ok(())
    }
}
