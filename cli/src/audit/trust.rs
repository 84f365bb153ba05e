//! `aegisctl audit trust`: one trust file for a region's logs, from the voters' ledger or from the files of its gateways.
//!
//! Not here: what they say (`cli/region`, `cli/evidence`). Invariant: a file that is there is never overwritten.

use std::path::PathBuf;

use aegis_cli_evidence::join_trust;
use aegis_cli_region::LedgerTrustArgs;
use clap::Args;

use crate::failure::{Exit, Failure};
use crate::home::Home;
use crate::screen::Screen;
use crate::{evidence, region};

/// Write a trust file for all logs of a region.
#[derive(Debug, Args)]
#[command(after_help = "\
Without files the region's voters are asked: the file names every log they witness and every voter, and believes a log as far as
most voters have seen it. Whoever must not trust the region's operator gets it once, keeps it, and names a witness outside.

With files, these are joined: each gateway keeps a registry of its own, and writes the key of it to trust.txt in its data
directory. A registry speaks for the streams of its own gateway alone, so whoever verifies a fleet trusts all of them; a gateway
that the file leaves out is a stranger, and one that it names and whose log is gone is FAIL.

Examples:
  aegisctl audit trust --out region.txt
  aegisctl audit trust --out region.txt --witness witness.example/w1+1a2b3c4d+BA...
  aegisctl audit trust gw-1/trust.txt gw-2/trust.txt --out region.txt
  aegisctl audit verify --from s3://audit/eu-west-1 --trust region.txt")]
pub(super) struct TrustArgs {
    /// What to join: files with `log` lines, or with one verifier key. All must ask for the same witnesses.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The file to write; one that is there is never overwritten.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    ledger: LedgerTrustArgs,
}

pub(super) fn run(args: &TrustArgs, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    if args.files.is_empty() {
        return region::show(args.ledger.run(home.root(), &args.out), screen);
    }
    evidence::show(join_trust(&args.files, &args.out), screen)
}
