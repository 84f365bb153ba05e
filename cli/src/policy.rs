//! `aegisctl policy`: write a policy, prove it, see what it would do, ship it.
//!
//! Not here: the language (`policies/language`) and the engine (`policies/engine`). Invariant: each file is judged by
//! itself, as the gateway loads it, and every mistake in every file is shown before a command ends.

mod build;
mod call;
mod check;
mod coverage;
mod diff;
mod explain;
mod lint;
mod load;
mod release;
mod replay;
mod schema;
mod simulate;
mod test;
mod verify;

use aegis_cli_region::ReleaseCommand;
use clap::{Args, Subcommand};

use crate::failure::{Exit, Failure};
use crate::home::Home;
use crate::screen::Screen;

pub(crate) use load::compile;

const AFTER: &str = "\
Exit codes:
  0  ok
  1  a finding under --deny-findings, too little coverage, a bundle that does not verify, or a rollout that was taken back
  2  the command line is wrong
  3  a policy does not compile, or something is missing or not reachable
  4  a test failed, or something is not allowed
  5  a replay shows what --fail-on names

Examples:
  aegisctl policy check policies/acme.yaml
  aegisctl policy test --coverage
  aegisctl policy explain --test 'secrets: 1'
  aegisctl policy replay --candidate policies/acme-next.yaml --baseline policies/acme.yaml
  aegisctl policy push policies/acme.yaml --tenant acme --env prod
  aegisctl policy rollout start 7 --stages 5%@10m,50%@10m,100% --tenant acme --env prod
  aegisctl policy rollback --tenant acme --env prod";

/// Write a policy, prove it, see what it would do, ship it.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    Check(check::CheckArgs),
    Lint(lint::LintArgs),
    Test(test::TestArgs),
    Coverage(coverage::CoverageArgs),
    Explain(Box<explain::ExplainArgs>),
    Diff(diff::DiffArgs),
    Simulate(simulate::SimulateArgs),
    Replay(replay::ReplayArgs),
    Build(build::BuildArgs),
    Verify(verify::VerifyArgs),
    Schema(schema::SchemaArgs),
    #[command(flatten)]
    Release(ReleaseCommand),
    Export(aegis_cli_region::ExportArgs),
}

pub(crate) fn run(args: &PolicyArgs, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    match &args.command {
        PolicyCommand::Check(args) => check::run(args, home, screen),
        PolicyCommand::Lint(args) => lint::run(args, home, screen),
        PolicyCommand::Test(args) => test::run(args, home, screen),
        PolicyCommand::Coverage(args) => coverage::run(args, home, screen),
        PolicyCommand::Explain(args) => explain::run(args, home, screen),
        PolicyCommand::Diff(args) => diff::run(args, home, screen),
        PolicyCommand::Simulate(args) => simulate::run(args, home, screen),
        PolicyCommand::Replay(args) => replay::run(args, home, screen),
        PolicyCommand::Build(args) => build::run(args, home, screen),
        PolicyCommand::Verify(args) => verify::run(args, home, screen),
        PolicyCommand::Schema(_) => schema::run(screen),
        PolicyCommand::Release(command) => release::run(command, home, screen),
        PolicyCommand::Export(args) => crate::region::show(args.run(home.root()), screen),
    }
}
