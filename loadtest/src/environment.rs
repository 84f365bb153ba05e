//! What figures depend on and cannot change: cores, load, the disk.
//!
//! Not here: the figures. Invariant: looked at before anything of ours runs.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::disk;
use crate::tally::Quantiles;

/// The machine, and how often and how long it was asked.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Environment {
    cores: usize,
    /// Of the last minute, before we began: above zero, somebody else was measured as well.
    load_average: f64,
    upstream: &'static str,
    rounds: u16,
    duration_s: u64,
    /// fdatasync of 1 KB on the disk below the audit log.
    sync: Quantiles,
}

impl Environment {
    pub(crate) fn look(
        work_dir: &Path,
        upstream: &'static str,
        (rounds, duration_s): (u16, u64),
    ) -> anyhow::Result<Self> {
        let load = std::fs::read_to_string("/proc/loadavg")?;
        let first = load.split_ascii_whitespace().next().unwrap_or_default();
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            load_average: first.parse()?,
            upstream,
            rounds,
            duration_s,
            sync: disk::sync_latency(work_dir)?,
        })
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} cores shared by generator, upstream and subject; load average before: {:.1}; {} upstream; medians of {} \
             rounds of {} s; fdatasync of 1 KB: P50 {:.2} ms, P99 {:.2} ms.\n",
            self.cores,
            self.load_average,
            self.upstream,
            self.rounds,
            self.duration_s,
            self.sync.p50_ms,
            self.sync.p99_ms
        )
    }
}
