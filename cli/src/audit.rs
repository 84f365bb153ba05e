//! `aegisctl audit`: look at the audit journal, and prove that it is whole.
//!
//! Not here: the format and the proofs (`audit/chain`). Invariant: nothing is ever written to a journal.

mod show;
mod tail;
mod verify;

use aegis_cli_evidence::{
    Answer, CheckArgs, DiscloseArgs, EraseArgs, EvidenceError, ExportArgs, Progress, ProveArgs,
    QueryArgs, RevokeArgs, ServeArgs, TenantArgs, TrustArgs,
};
use aegis_cli_region::{HeadsArgs, LedgerTrustArgs, LogsArgs, WitnessArgs};
use clap::{Args, Subcommand};

use crate::clock;
use crate::evidence;
use crate::failure::{Exit, Failure};
use crate::home::Home;
use crate::region;
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
    Prove(ProveArgs),
    Check(CheckArgs),
    Tenant(TenantArgs),
    Trust(TrustArgs<LedgerTrustArgs>),
    Logs(LogsArgs),
    Heads(HeadsArgs),
    Witness(WitnessArgs),
    Revoke(RevokeArgs),
    Disclose(DiscloseArgs),
    Erase(EraseArgs),
    Export(ExportArgs),
    Query(QueryArgs),
    Serve(ServeArgs),
}

pub(crate) fn run(args: &AuditArgs, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    match &args.command {
        AuditCommand::Verify(args) => verify::run(args, home, screen),
        AuditCommand::Tail(args) => tail::run(args, home, screen),
        AuditCommand::Show(args) => show::run(args, home, screen),
        AuditCommand::Prove(args) => {
            with_progress(screen, |progress| args.run(home.root(), progress))
        }
        AuditCommand::Check(args) => evidence::show(args.run(home.root()), screen),
        AuditCommand::Tenant(args) => {
            with_progress(screen, |progress| args.run(home.root(), progress))
        }
        AuditCommand::Trust(args) => match args.joined() {
            Some(joined) => evidence::show(joined, screen),
            None => region::show(args.ledger.run(home.root(), &args.out), screen),
        },
        AuditCommand::Logs(args) => region::show(args.run(home.root()), screen),
        AuditCommand::Heads(args) => region::show(args.run(home.root()), screen),
        AuditCommand::Witness(args) => region::show(args.run(home.root()), screen),
        AuditCommand::Revoke(args) => evidence::show(args.run(home.root()), screen),
        AuditCommand::Disclose(args) => {
            with_progress(screen, |progress| args.run(home.root(), progress))
        }
        AuditCommand::Export(args) => {
            with_progress(screen, |progress| args.run(home.root(), progress))
        }
        AuditCommand::Query(args) => {
            with_progress(screen, |progress| args.run(home.root(), progress))
        }
        AuditCommand::Serve(args) => {
            let server = args.bind(home.root())?;
            screen.say(&format!("listening on http://{}", args.listen));
            server.run();
            Ok(Exit::Ok)
        }
        AuditCommand::Erase(args) => evidence::show(args.run(home.root(), clock::now()), screen),
    }
}

/// Runs a command that reads a whole log, with a bar for whoever waits.
fn with_progress(
    screen: &Screen,
    run: impl FnOnce(Progress<'_>) -> Result<Answer, EvidenceError>,
) -> Result<Exit, Failure> {
    let bar = screen.progress(0);
    let answer = run(&mut |bytes| bar.advance(bytes));
    bar.done();
    evidence::show(answer, screen)
}
