//! `aegisctl budget`: what the region's books say, and whether the audit log says the same.
//!
//! Not here: the commands that only ask the control API (`cli/region`). Invariant: a view that is watched is drawn anew, not
//! added to, and only where somebody looks on.

mod journal;
mod reconcile;

use std::io::{self, IsTerminal as _};
use std::thread;
use std::time::Duration;

use aegis_cli_region::BudgetCommand;
use clap::{Args, Subcommand};

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
    Reconcile(reconcile::ReconcileArgs),
}

pub(crate) fn run(args: &BudgetArgs, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    match &args.command {
        Command::Region(command) if command.is_watching() => watch(command, home, screen),
        Command::Region(command) => region::show(command.run(home.root(), clock::now()), screen),
        Command::Reconcile(args) => reconcile::run(args, home, screen),
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
