//! `aegis-gateway`: parse, build, run, drain.
//!
//! Not here: anything a library can do. Invariant: the exit code tells a script what happened: 0 done, 1 failed while
//! running, 2 wrong usage or configuration.

use std::path::PathBuf;
use std::process::ExitCode;

use aegis_config::Config;
use aegis_corridor::clock;
use aegis_demo::{AfterScenario, DemoOptions, Ports, Source};
use aegis_gateway::{dev, serve, wire};
use clap::{Parser, Subcommand};

/// Memory of closed connections goes back to the system, which neither glibc nor mimalloc does.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The edge gateway every outbound call of an AI agent goes through.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = EXIT_CODES)]
struct Arguments {
    /// What to log, as for RUST_LOG: `info`, `warn,aegis_gateway=debug`.
    #[arg(long, env = "AEGIS_LOG", default_value = "warn", global = true)]
    log: String,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str =
    "Exit codes: 0 done, 1 failed while running, 2 wrong usage or configuration.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the gateway until SIGTERM or Ctrl-C, then drains.
    Run {
        /// The configuration file.
        #[arg(long, env = "AEGIS_CONFIG", default_value = "aegis.yaml")]
        config: PathBuf,
    },
    /// Checks a configuration and the policies it names; starts nothing.
    Check {
        /// The configuration file.
        #[arg(long, env = "AEGIS_CONFIG", default_value = "aegis.yaml")]
        config: PathBuf,
    },
    /// Sets everything up on this machine, plays a scenario and stays for your own calls.
    Dev {
        /// Where keys, records and state are kept; a second run goes on from there.
        #[arg(long, env = "AEGIS_DATA", default_value = ".aegis")]
        data: PathBuf,
        /// Where agents call on 127.0.0.1 without TLS.
        #[arg(long, default_value_t = 8080)]
        port: u16,
        /// Where agents call on 127.0.0.1 with TLS.
        #[arg(long, default_value_t = 8443)]
        tls_port: u16,
        /// Where /metrics, /healthz and /readyz are.
        #[arg(long, default_value_t = 9464)]
        metrics_port: u16,
        /// Where the control API is.
        #[arg(long, default_value_t = 8081)]
        control_port: u16,
        /// Where the demo upstream listens.
        #[arg(long, default_value_t = 9443)]
        upstream_port: u16,
        /// Ends after the scenario.
        #[arg(long)]
        once: bool,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(error) = log_to_stderr(&arguments.log) {
        return complain(&error, 2);
    }
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return complain(&anyhow::anyhow!("another TLS provider was installed first"), 1);
    }
    match arguments.command {
        Command::Check { config } => check(&config),
        Command::Run { config } => match Config::load(&config) {
            Ok(config) => ran(wire::build(config).and_then(serve::run).map(drop)),
            Err(mistakes) => complain(&mistakes.into(), 2),
        },
        Command::Dev { data, port, tls_port, metrics_port, control_port, upstream_port, once } => {
            let ports = Ports {
                plain: port,
                tls: tls_port,
                metrics: metrics_port,
                control: control_port,
                upstream: upstream_port,
            };
            let after = if once { AfterScenario::Stop } else { AfterScenario::Stay };
            let source = Source { now: clock::now, random: || clock::random().ok() };
            ran(dev::run(&DemoOptions { data_dir: data, ports, after, source }))
        }
    }
}

/// Everything that `run` would trip over, all at once.
fn check(path: &std::path::Path) -> ExitCode {
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(mistakes) => return complain(&mistakes.into(), 2),
    };
    let found = wire::preflight(&config);
    for error in &found {
        complain(error, 2);
    }
    if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) }
}

fn log_to_stderr(filter: &str) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter)?;
    // A file or a journal gets the words alone: whoever searches it for `error=` must find it.
    let is_seen = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let is_coloured = is_seen && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(is_coloured)
        .with_writer(std::io::stderr)
        .init();
    Ok(())
}

fn ran(result: anyhow::Result<()>) -> ExitCode {
    result.map_or_else(|error| complain(&error, 1), |()| ExitCode::SUCCESS)
}

fn complain(error: &anyhow::Error, code: u8) -> ExitCode {
    use std::io::Write as _;
    // Mistakes in a text come one per line, each with its place; anything else as a chain of causes.
    let written = match error.downcast_ref::<aegis_document::Diagnostics>() {
        Some(mistakes) => writeln!(std::io::stderr(), "{mistakes}").map(|()| 2),
        None => writeln!(std::io::stderr(), "aegis-gateway: {error:#}").map(|()| code),
    };
    ExitCode::from(written.unwrap_or(code))
}
