//! What may be typed: the global options and the list of commands.
//!
//! Not here: each command's own options, which stand beside the command. Invariant: an option that several commands
//! know means the same everywhere.

use std::path::PathBuf;

use aegis_cli_region::{ClusterArgs, FleetArgs, RegionCommand};
use aegis_domain::{Timestamp, Ttl};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{audit, budget, ca, clock, cost, doctor, init, policy, token};

const AFTER: &str = "\
Exit codes:
  0  ok
  1  a check failed: a finding, a bad token, a broken bundle or audit log, a budget that differs
  2  the command line is wrong
  3  something is missing or not reachable, an audit log is incomplete, or a policy does not compile
  4  not allowed: permissions, or a file that would be overwritten; or a test of a policy failed
  5  a replay shows what --fail-on names

Examples:
  aegisctl init --tenant acme
  aegisctl doctor
  aegisctl token mint --tenant acme --agent demo | aegisctl token inspect
  aegisctl agent register acme/pay-bot --org acme --scope payments:write
  aegisctl policy test --coverage
  aegisctl audit verify -o json
  aegisctl cost report --by agent --since 24h
  aegisctl budget top --watch
  aegisctl cluster members";

/// Set an Aegis gateway up, look after it, and check what it recorded.
#[derive(Debug, Parser)]
#[command(name = "aegisctl", version, after_help = AFTER, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The gateway's data directory.
    #[arg(long, global = true, env = "AEGIS_DATA", default_value = ".aegis", value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// How data is written to stdout.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// Never use colour; NO_COLOR does the same.
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
    /// Say nothing on stderr but errors.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    #[value(alias = "text")]
    Table,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(init::InitArgs),
    Doctor(doctor::DoctorArgs),
    Token(token::TokenArgs),
    #[command(flatten)]
    Region(RegionCommand),
    Policy(policy::PolicyArgs),
    Fleet(FleetArgs),
    Audit(audit::AuditArgs),
    Ca(ca::CaArgs),
    Cluster(ClusterArgs),
    Cost(cost::CostArgs),
    Budget(budget::BudgetArgs),
    /// Print a completion script for a shell.
    #[command(
        after_help = "Example:\n  aegisctl completions bash > /etc/bash_completion.d/aegisctl"
    )]
    Completions {
        shell: clap_complete::Shell,
    },
}

/// A length of time as people write it: `90s`, `15m`, `24h`, `7d`.
pub(crate) fn ttl(text: &str) -> Result<Ttl, String> {
    const WANTED: &str = "expected a length of time such as 90s, 15m, 24h or 7d";
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(WANTED.to_owned()),
    };
    let count: u64 = digits.parse().map_err(|_| WANTED.to_owned())?;
    count.checked_mul(seconds).map(Ttl::from_s).ok_or_else(|| WANTED.to_owned())
}

/// An instant: `24h` before now, or in RFC 3339.
pub(crate) fn since(text: &str) -> Result<Timestamp, String> {
    if let Ok(ttl) = ttl(text) {
        let ns = clock::now().unix_ns().saturating_sub(ttl.ms().saturating_mul(1_000_000));
        return Ok(Timestamp::from_unix_ns(ns));
    }
    let instant: jiff::Timestamp = text
        .parse()
        .map_err(|_| "expected 90s, 15m, 24h, 7d or an instant such as 2026-11-22T00:00:00Z")?;
    let ns = instant.as_nanosecond();
    u64::try_from(ns)
        .map(Timestamp::from_unix_ns)
        .map_err(|_| "expected an instant after 1970".into())
}
