//! `aegis-loadtest`: load on loopback, and what it shows.
//!
//! Not here: anything a library can do. Invariant: results go to stdout, progress to stderr and only to a terminal; the
//! exit code is 0 done, 1 failed, 2 wrong usage.

mod run;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use aegis_loadtest::figures::{self, FiguresOptions};
use aegis_loadtest::idle::{self, IdleOptions};
use aegis_loadtest::interception::{self, InterceptionOptions};
use aegis_loadtest::peers::bare_pingora::{self, BarePingora};
use aegis_loadtest::upstream::{self, Upstream};
use clap::{Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// The gateway's allocator, because bare Pingora runs in this program.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Makes load on loopback and measures who answers it.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = EXIT_CODES)]
struct Arguments {
    /// How results are written.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people; tables are Markdown.
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Calls a server on this machine at a constant rate (open loop), or as fast as it answers (--closed).
    ///
    /// In an open loop, latency counts from when a call was due, so a stalled server shows in every call it held up. A
    /// closed loop waits for each answer before the next call: it tells throughput, and its latencies are too kind.
    Run(run::RunOptions),
    /// Measures the gateway beside bare Pingora and the upstream alone, in one go: a table for docs/slo.md.
    ///
    /// Starts all of them on loopback, with everything switched on in the gateway, and takes about five minutes.
    Figures(FiguresOptions),
    /// Measures what it costs to see inside TLS, beside the tool route, mitmproxy and squid with TLS bump.
    ///
    /// Starts all of them on loopback, as far as they are installed, and takes about six minutes.
    Interception(InterceptionOptions),
    /// Measures memory only: of an idle gateway, and of one with many idle connections, beside bare Pingora.
    Idle(IdleOptions),
    /// Serves as the fake upstream: 1 KB of JSON for every call.
    Upstream(Upstream),
    /// Serves as bare Pingora: forwards every call to one upstream and decides nothing.
    BarePingora(BarePingora),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match execute(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to be told when stderr is gone.
            drop(writeln!(std::io::stderr(), "aegis-loadtest: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn execute(Arguments { output, command }: Arguments) -> anyhow::Result<()> {
    match command {
        Command::Run(options) => {
            let bar = bar(options.length());
            let report = run::run(&options, |elapsed| bar.set_position(millis(elapsed)))?;
            bar.finish_and_clear();
            print(output, &report)
        }
        Command::Figures(options) => {
            let bar = bar(Duration::from_secs(1));
            let figures = figures::measure(&options, |doing, part| {
                bar.set_message(doing.to_owned());
                bar.set_position((part * 1_000.0) as u64);
            })?;
            bar.finish_and_clear();
            print(output, &figures)
        }
        Command::Interception(options) => {
            let bar = bar(Duration::from_secs(1));
            let figures = interception::measure(&options, |doing, part| {
                bar.set_message(doing.to_owned());
                bar.set_position((part * 1_000.0) as u64);
            })?;
            bar.finish_and_clear();
            print(output, &figures)
        }
        Command::Idle(options) => print(output, &idle::run(&options)?),
        Command::Upstream(options) => upstream::run(&options),
        Command::BarePingora(options) => bare_pingora::run(&options),
    }
}

/// A bar of that many milliseconds; hidden where stderr is no terminal.
fn bar(length: Duration) -> ProgressBar {
    let bar = ProgressBar::new(millis(length));
    match ProgressStyle::with_template("{wide_bar} {percent:>3} %  {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn print(output: Output, report: &(impl std::fmt::Display + Serialize)) -> anyhow::Result<()> {
    let text = match output {
        Output::Text => report.to_string(),
        Output::Json => serde_json::to_string_pretty(report)?,
    };
    writeln!(std::io::stdout(), "{}", text.trim_end())?;
    Ok(())
}
