//! `aegisctl`: set a gateway up, look after it, and check what it recorded.
//!
//! Links no proxy and no consensus, so an auditor can build the verifier alone. Not here: what the commands do.
//! Invariant: data goes to stdout and words to stderr; the exit code is one of `Exit`.

mod args;
mod audit;
mod budget;
mod ca;
mod clock;
mod config;
mod cost;
mod doctor;
mod evidence;
mod failure;
mod home;
mod init;
mod policy;
mod region;
mod screen;
mod seed;
#[cfg(test)]
mod tests;
mod token;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use args::{Cli, Command};
use config::Config;
use failure::{Exit, Failure};
use home::Home;
use screen::Screen;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let screen = Screen::new(&cli.global);
    let exit = run(cli, &screen).unwrap_or_else(|failure| {
        screen.complain(&failure);
        failure.exit()
    });
    ExitCode::from(exit)
}

fn run(cli: Cli, screen: &Screen) -> Result<Exit, Failure> {
    let home = Home::at(cli.global.data);
    match cli.command {
        Command::Init(args) => init::run(&args, &home, screen),
        Command::Doctor(args) => doctor::run(&args, &home, screen),
        Command::Token(args) => token::run(&args, &home, screen),
        Command::Region(command) => region::show(command.run(home.root(), clock::now()), screen),
        Command::Policy(args) => policy::run(&args, &home, screen),
        Command::Fleet(args) => args.run(home.root(), |told| region::show(Ok(told), screen)),
        Command::Audit(args) => audit::run(&args, &home, screen),
        Command::Ca(args) => ca::run(&args, &home, screen),
        Command::Cluster(args) => {
            let machine = || Config::load(&home.config()).map(|it| (it.region, it.data_dir));
            region::show(Ok(args.run(home.root(), machine, clock::now())?), screen)
        }
        Command::Budget(args) => budget::run(&args, &home, screen),
        Command::Cost(args) => cost::run(&args, &home, screen),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "aegisctl", &mut script);
            screen.raw(&script)?;
            Ok(Exit::Ok)
        }
    }
}
