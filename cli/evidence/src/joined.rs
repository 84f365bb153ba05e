//! `aegisctl audit trust`: one trust file for a region's logs; here, the files of its gateways joined, for whoever verifies their log as one.
//!
//! Not here: which files to believe; each comes by a way that the log's operator does not control. Invariant: the file that is
//! written trusts what the files that were read trust, and nothing else.

use std::path::{Path, PathBuf};

use aegis_audit_trust::Trust;
use clap::Args;
use serde_json::json;

use crate::EvidenceError;
use crate::answer::{Answer, Table};
use crate::log::{load_trust, write_new};

/// Write a trust file for all logs of a region.
#[derive(Debug, Args)]
#[command(after_help = "\
Without files the region's voters are asked: the file names every log they witness and every voter, and believes a log as far as
most voters have seen it. Whoever must not trust the region's operator gets it once, keeps it, and names a witness outside. The
voters know of no stream that `aegisctl audit revoke` revoked in a trust file: --renew takes that over from the file before.

With files, these are joined: each gateway keeps a registry of its own, and writes the key of it to trust.txt in its data
directory. A registry speaks for the streams of its own gateway alone, so whoever verifies a fleet trusts all of them; a gateway
that the file leaves out is a stranger, and one that it names and whose log is gone is FAIL.

Examples:
  aegisctl audit trust --out region.txt
  aegisctl audit trust --out region.txt --witness witness.example/w1+1a2b3c4d+BA...
  aegisctl audit trust --out region-3.txt --renew region-2.txt
  aegisctl audit trust gw-1/trust.txt gw-2/trust.txt --out region.txt
  aegisctl audit verify --from s3://audit/eu-west-1 --trust region.txt")]
pub struct TrustArgs<L: Args> {
    /// What to join: files with `log` lines, or with one verifier key. All must ask for the same witnesses.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The file to write; one that is there is never overwritten.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    #[command(flatten)]
    pub ledger: L,
}

impl<L: Args> TrustArgs<L> {
    /// Joins the files, if any are named.
    pub fn joined(&self) -> Option<Result<Answer, EvidenceError>> {
        (!self.files.is_empty()).then(|| join_files(&self.files, &self.out))
    }
}

fn join_files(files: &[PathBuf], out: &Path) -> Result<Answer, EvidenceError> {
    let mut joined: Option<Trust> = None;
    for file in files {
        joined = Some(join(joined, load_trust(file)?, file)?);
    }
    let Some(trust) = joined else { return Ok(Answer::default()) };
    write_new(out, trust.to_string().as_bytes())?;
    let (mut table, mut value) = (Table::new(&["registry", "key"]), Vec::new());
    for (origin, vkey) in trust.registries() {
        table.rows.push(vec![origin.as_str().into(), vkey.to_string().into()]);
        value.push(json!({ "registry": origin.as_str(), "key": vkey.to_string() }));
    }
    Ok(Answer { value: value.into(), tables: vec![table], ..Answer::default() })
}

fn join(joined: Option<Trust>, trust: Trust, file: &Path) -> Result<Trust, EvidenceError> {
    let Some(before) = joined else { return Ok(trust) };
    before.join(trust).map_err(|why| EvidenceError::invalid(file.display().to_string(), why))
}
