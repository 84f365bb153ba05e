//! The figures as Markdown: what minting costs, tunnels a second, and what a tunnel adds to a call.
//!
//! Not here: measuring. Invariant: what is compared stands in one table and was measured in the same rounds.

use std::fmt;

use super::{Interception, Run, Whose};
use crate::interception::stage::Way;
use crate::load::Summary;

impl fmt::Display for Interception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.environment.fmt(f)?;
        for absent in &self.absent {
            writeln!(f, "Not installed, and so not in the tables: {absent}.\n")?;
        }
        self.write_minting(f)?;
        self.write_handshakes(f)?;
        self.write_calls(f)
    }
}

impl Interception {
    /// A tunnel to a host that is new takes what one to a known host takes, and the minting of its leaf.
    fn write_minting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| one tunnel at a time | cold (new host): P50 ms, CPU µs | warm (known host): P50 ms, CPU µs | minting: P50 ms, CPU µs |\n\
             |---|---|---|---|"
        )?;
        let alone = |whose| {
            let runs = self.handshakes.iter();
            runs.filter(move |(lanes, whose_it_is, _)| *lanes == 1 && *whose_it_is == whose)
        };
        for (_, _, cold) in alone(Whose::NewHost) {
            let warm = alone(Whose::KnownHost).find(|(_, _, run)| run.way == cold.way);
            let Some((_, _, warm)) = warm else { continue };
            let (cold_ms, warm_ms) = (cold.summary.latency.p50_ms, warm.summary.latency.p50_ms);
            let (cold_us, warm_us) = (cpu(&cold.summary), cpu(&warm.summary));
            writeln!(
                f,
                "| {} | {cold_ms:.2}, {cold_us:.0} | {warm_ms:.2}, {warm_us:.0} | {:.2}, {:.0} |",
                cold.way.name(),
                cold_ms - warm_ms,
                cold_us - warm_us
            )?;
        }
        Ok(())
    }

    fn write_handshakes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n| tunnels | through | a second | of ours | P50 ms | P99 | CPU µs each | errors |\n\
             |---|---|---|---|---|---|---|---|"
        )?;
        for (_, _, run) in &self.handshakes {
            let Summary { calls_per_s, errors, latency, .. } = &run.summary;
            let all = self.handshakes.iter().map(|(_, _, run)| run);
            let ours = find(all, &run.task, Way::Tunnel).map(|ours| ours.summary.calls_per_s);
            writeln!(
                f,
                "| {} | {} | {calls_per_s:.0} | {:.2} x | {:.2} | {:.2} | {:.0} | {errors} |",
                run.task,
                run.way.name(),
                calls_per_s / ours.unwrap_or(f64::NAN),
                latency.p50_ms,
                latency.p99_ms,
                cpu(&run.summary)
            )?;
        }
        Ok(())
    }

    fn write_calls(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n| calls | way | a second | P50 ms | P99 | P50 over direct | P50 over the tool route | CPU µs/call | errors |\n\
             |---|---|---|---|---|---|---|---|---|"
        )?;
        for run in &self.calls {
            let Summary { calls_per_s, errors, latency, .. } = &run.summary;
            let over = |way| match find(self.calls.iter(), &run.task, way) {
                Some(other) if other.way != run.way => {
                    format!("{:+.2}", latency.p50_ms - other.summary.latency.p50_ms)
                }
                Some(_) | None => String::new(),
            };
            writeln!(
                f,
                "| {} | {} | {calls_per_s:.0} | {:.2} | {:.2} | {} | {} | {:.0} | {errors} |",
                run.task,
                run.way.name(),
                latency.p50_ms,
                latency.p99_ms,
                over(Way::Direct),
                over(Way::ToolRoute),
                cpu(&run.summary)
            )?;
        }
        Ok(())
    }
}

fn find<'r>(mut runs: impl Iterator<Item = &'r Run>, task: &str, way: Way) -> Option<&'r Run> {
    runs.find(|run| run.task == task && run.way == way)
}

fn cpu(summary: &Summary) -> f64 {
    summary.cpu_us_per_call.unwrap_or(f64::NAN)
}
