//! `aegisctl budget`: what the region's books say, and whether the audit log says the same.
//!
//! Not here: what is asked and compared (`cli/region`). Invariant: a view that is watched is drawn anew, not
//! added to, and only where somebody looks on.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use aegis_cli_region::{Access, Books, BudgetCommand, Comparison, OnDifference};
use aegis_domain::{TenantId, Timestamp, Ttl};
use clap::{Args, Subcommand};

use crate::args::{since, ttl};
use crate::failure::{Exit, Failure};
use crate::home::Home;
use crate::screen::Screen;
use crate::{clock, region};

const EVERY: Duration = Duration::from_secs(2);
/// ECMA-48: the cursor to the top left, and everything after it gone.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Set, show, watch and correct what tenants, teams, agents and tools may spend.
#[derive(Debug, Args)]
pub(crate) struct BudgetArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Region(BudgetCommand),
    Reconcile(ReconcileArgs),
}

/// Compare what the region counts as spent with what the audit journal says.
#[derive(Debug, Args)]
#[command(after_help = "\
Recomputed are the windows under way, call by call: an ended call at its cost, one without an outcome at what it holds, each in
the budgets that its decision names, teams and tools among them. Amendments made by hand belong to what should be counted.
Ends with 1 if anything differs, and with 0 once --apply has mended it.

The journal of every gateway must be named that shares the hot state: a call in none of them looks like money that nobody spent.

Examples:
  aegisctl budget reconcile --tenant acme
  aegisctl budget reconcile --audit /mnt/gw-1/audit --audit /mnt/gw-2/audit
  aegisctl budget reconcile --apply")]
struct ReconcileArgs {
    /// Of this tenant only.
    #[arg(long)]
    tenant: Option<TenantId>,
    /// Leave out windows that began before: a length of time back from now, or an RFC 3339 instant.
    #[arg(long, value_parser = since, value_name = "WHEN")]
    since: Option<Timestamp>,
    /// A gateway's audit journal; that of the data directory unless given, and one for each gateway that shares the hot state.
    #[arg(long = "audit", value_name = "DIR")]
    journals: Vec<PathBuf>,
    /// Correct what differs.
    #[arg(long)]
    apply: bool,
    /// How long after the first look a second one is taken, if anything differs.
    #[arg(long, value_parser = ttl, default_value = "3s", value_name = "TIME")]
    patience: Ttl,
    #[command(flatten)]
    access: Access,
}

pub(crate) fn run(args: &BudgetArgs, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    match &args.command {
        Command::Region(command) if command.is_watching() => watch(command, home, screen),
        Command::Region(command) => region::show(command.run(home.root(), clock::now()), screen),
        Command::Reconcile(args) => reconcile(args, home, screen),
    }
}

/// Shows it until someone interrupts, or the region is gone.
fn watch(command: &BudgetCommand, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    loop {
        let told = command.run(home.root(), clock::now());
        if io::stdout().is_terminal() && !screen.is_json() {
            screen.raw(CLEAR)?;
        }
        region::show(told, screen)?;
        thread::sleep(EVERY);
    }
}

fn reconcile(args: &ReconcileArgs, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    let books = Books::open(&args.access, home.root())?;
    let own = || vec![home.audit()];
    let comparison = Comparison {
        tenant: args.tenant.clone(),
        since: args.since,
        journals: Some(args.journals.clone()).filter(|named| !named.is_empty()).unwrap_or_else(own),
        patience: args.patience,
        on_difference: if args.apply { OnDifference::Correct } else { OnDifference::Tell },
    };
    let (told, differing) = aegis_cli_region::reconcile(&comparison, &books, clock::now())?;
    region::show(Ok(told), screen)?;
    Ok(if differing == 0 { Exit::Ok } else { Exit::CheckFailed })
}
