//! `aegisctl audit`: look at the audit journal, and prove that it is whole.
//!
//! Not here: the format and the proofs (`audit/chain`). Invariant: nothing is ever written to a journal.

mod log;
mod prove;
mod show;
mod tail;
mod verify;

use clap::{Args, Subcommand};

use crate::failure::{Exit, Failure};
use crate::home::Home;
use crate::screen::Screen;

/// Look at the audit journal, and prove that it is whole.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    Verify(verify::VerifyArgs),
    Tail(tail::TailArgs),
    Show(show::ShowArgs),
    Prove(prove::ProveArgs),
    Check(prove::CheckArgs),
}

pub(crate) fn run(args: &AuditArgs, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    match &args.command {
        AuditCommand::Verify(args) => verify::run(args, home, screen),
        AuditCommand::Tail(args) => tail::run(args, home, screen),
        AuditCommand::Show(args) => show::run(args, home, screen),
        AuditCommand::Prove(args) => prove::run(args, home, screen),
        AuditCommand::Check(args) => prove::check(args, home, screen),
    }
}
