//! The figures as Markdown: beside their goals first, then every run.
//!
//! Not here: measuring. Invariant: a goal that was not measured is not in the table.

use std::fmt;

use super::{Figures, Run};
use crate::load::Summary;
use crate::stage::Subject;
use crate::tally::Quantiles;

/// Bounds that were set before anything was measured; docs/slo.md says where each comes from.
mod goal {
    pub(super) const DECISION_P50_MS: f64 = 0.15;
    pub(super) const DECISION_P99_MS: f64 = 1.0;
    pub(super) const CPU_RATIO: f64 = 2.0;
    pub(super) const IDLE_MIB: f64 = 64.0;
    pub(super) const CONNECTION_RATIO: f64 = 1.1;
}

/// One line of the first table.
struct Line {
    figure: String,
    goal: String,
    gateway: String,
    bare: String,
    is_met: Option<bool>,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { figure, goal, gateway, bare, is_met } = self;
        let met = is_met.map_or("", |met| if met { "yes" } else { "**no**" });
        writeln!(f, "| {figure} | {goal} | {gateway} | {bare} | {met} |")
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.environment.fmt(f)?;
        writeln!(
            f,
            "| figure | goal | aegis-gateway | bare Pingora | met |\n|---|---|---|---|---|"
        )?;
        for line in self.decision_lines().chain(self.run_lines()).chain(self.memory_lines()) {
            line.fmt(f)?;
        }
        writeln!(
            f,
            "\n| run | subject | calls/s | P50 ms | P90 | P99 | P99.9 | max | CPU µs/call | errors | generator late P99 |\n\
             |---|---|---|---|---|---|---|---|---|---|---|"
        )?;
        for run in &self.runs {
            write_run(f, run)?;
        }
        Ok(())
    }
}

fn write_run(f: &mut fmt::Formatter<'_>, run: &Run) -> fmt::Result {
    let Summary { calls_per_s, cpu_us_per_call, errors, latency, generator_late } = &run.summary;
    let Quantiles { p50_ms, p90_ms, p99_ms, p999_ms, max_ms, .. } = latency;
    let late = match generator_late.count {
        0 => "-".to_owned(),
        _ => format!("{:.2}", generator_late.p99_ms),
    };
    writeln!(
        f,
        "| {} | {} | {calls_per_s:.0} | {p50_ms:.2} | {p90_ms:.2} | {p99_ms:.2} | {p999_ms:.2} | {max_ms:.1} | {:.0} \
         | {errors} | {late} |",
        run.workload,
        run.subject.name(),
        cpu_us_per_call.unwrap_or(f64::NAN),
    )
}

impl Figures {
    fn decision_lines(&self) -> impl Iterator<Item = Line> {
        let (p50, p99) = (goal::DECISION_P50_MS, goal::DECISION_P99_MS);
        self.decisions.iter().filter(|run| run.latency.count > 0).map(move |run| {
            let Quantiles { p50_ms, p99_ms, .. } = run.latency;
            Line {
                figure: format!("decision latency, {}", run.workload),
                goal: format!("P50 <= {p50} ms, P99 <= {p99} ms"),
                gateway: format!("P50 {p50_ms:.3} ms, P99 {p99_ms:.3} ms"),
                bare: String::new(),
                is_met: Some(p50_ms <= p50 && p99_ms <= p99),
            }
        })
    }

    fn run_lines(&self) -> impl Iterator<Item = Line> {
        let gateway = self.runs.iter().filter(|run| run.subject == Subject::Gateway);
        gateway.flat_map(|run| {
            let is_bare =
                |it: &&Run| it.subject == Subject::BarePingora && it.workload == run.workload;
            let bare = self.runs.iter().find(is_bare).map(|bare| bare.summary);
            bare.map(|bare| compare(&run.workload, &run.summary, &bare)).into_iter().flatten()
        })
    }

    fn memory_lines(&self) -> Vec<Line> {
        let memory = |subject| self.memory.get(&subject);
        let (Some(ours), Some(bare)) = (memory(Subject::Gateway), memory(Subject::BarePingora))
        else {
            return Vec::new();
        };
        let ratio = ours.per_connection_kib() / bare.per_connection_kib();
        vec![
            Line {
                figure: "memory, idle".to_owned(),
                goal: format!("<= {} MiB", goal::IDLE_MIB),
                gateway: format!("{:.1} MiB", ours.idle_kib / 1_024.0),
                bare: format!("{:.1} MiB", bare.idle_kib / 1_024.0),
                is_met: Some(ours.idle_kib / 1_024.0 <= goal::IDLE_MIB),
            },
            Line {
                figure: format!("memory with {} idle connections", ours.connections),
                goal: String::new(),
                gateway: format!("{:.1} MiB", ours.connected_kib / 1_024.0),
                bare: format!("{:.1} MiB", bare.connected_kib / 1_024.0),
                is_met: None,
            },
            Line {
                figure: "memory per idle connection".to_owned(),
                goal: format!("<= {} x bare", goal::CONNECTION_RATIO),
                gateway: format!("{:.1} KiB ({ratio:.2} x)", ours.per_connection_kib()),
                bare: format!("{:.1} KiB", bare.per_connection_kib()),
                is_met: Some(ratio <= goal::CONNECTION_RATIO),
            },
        ]
    }
}

fn compare(workload: &str, ours: &Summary, bare: &Summary) -> Vec<Line> {
    let cpu = |of: &Summary| of.cpu_us_per_call.unwrap_or(f64::NAN);
    let ratio = cpu(ours) / cpu(bare);
    let latency =
        |of: &Summary| format!("P50 {:.2} ms, P99 {:.2} ms", of.latency.p50_ms, of.latency.p99_ms);
    vec![
        Line {
            figure: format!("CPU per call, {workload}"),
            goal: format!("<= {} x bare", goal::CPU_RATIO),
            gateway: format!("{:.0} µs ({ratio:.2} x)", cpu(ours)),
            bare: format!("{:.0} µs", cpu(bare)),
            is_met: Some(ratio <= goal::CPU_RATIO),
        },
        Line {
            figure: format!("calls a second, {workload}"),
            goal: String::new(),
            gateway: format!("{:.0}", ours.calls_per_s),
            bare: format!("{:.0}", bare.calls_per_s),
            is_met: None,
        },
        Line {
            figure: format!("latency, {workload}"),
            goal: String::new(),
            gateway: latency(ours),
            bare: latency(bare),
            is_met: None,
        },
    ]
}
