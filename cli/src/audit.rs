//! `aegisctl audit`: look at the audit journal, and prove that it is whole.
//!
//! Not here: the format and the proofs (`audit/chain`). Invariant: nothing is ever written to a journal.

mod attestation;
mod prove;
mod show;
mod tail;
mod verify;

use std::path::Path;

use aegis_audit_ship::{BucketError, Log};
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

/// Opens a log wherever it lies.
fn open(from: &str, options: &[prove::StoreOption]) -> Result<Log, Failure> {
    Log::open(from, options).map_err(|error| match error {
        BucketError::Folder(source) => Failure::file("the audit log", Path::new(from), source),
        error => Failure::Bucket(error),
    })
}
