//! `aegisctl audit prove` and `audit check`: one record and the proof that it is in the log, in a file of its own.
//!
//! Not here: the proof itself (`audit/chain`). Invariant: what `prove` writes has been checked as `check` would; `check`
//! reads two files and nothing else.

use std::fs;
use std::path::PathBuf;

use aegis_audit_chain::record::Kind;
use aegis_audit_proof::{Proof, Proven, prove};
use aegis_cli_evidence::{StoreOption, check_disclosures, load_trust, open_log, store_option};
use aegis_domain::DecisionId;
use clap::Args;
use serde_json::{Value, json};

use super::show::is_about;
use crate::evidence;
use crate::failure::{Exit, Failure};
use crate::home::{self, Home};
use crate::screen::Screen;
use aegis_cli_sheet::{Mood, Sheet};

/// Write proofs that a decision and its outcome are in the log, one C2SP tlog-proof a record.
#[derive(Debug, Args)]
#[command(after_help = "\
Whoever holds a proof and the trust file needs nothing else, and no network:
  aegisctl audit check 01K9ZQ4T3X8E5R6Y7W2V1BNM0C.decision.tlog-proof --trust registry.txt

Examples:
  aegisctl audit prove 01K9ZQ4T3X8E5R6Y7W2V1BNM0C
  aegisctl audit prove 01K9ZQ4T3X8E5R6Y7W2V1BNM0C --from s3://audit/gw-1 --out ./proofs")]
pub(super) struct ProveArgs {
    /// The id that a refusal and the Aegis-Decision-Id header name.
    #[arg(value_name = "DECISION", value_parser = DecisionId::parse)]
    id: DecisionId,
    /// Where the log lies: a folder, or s3://, gs:// or az://bucket/prefix; the data directory's own unless given.
    #[arg(long, value_name = "FROM")]
    from: Option<String>,
    /// What the bucket's client must be told; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = store_option)]
    store_option: Vec<StoreOption>,
    /// Which registries to believe; the data directory's trust.txt unless given.
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    /// The folder to write to; a file that is there is never overwritten.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

/// Check a proof that a record is in the log, or a file of disclosures, offline.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// What `audit prove` or `audit disclose` wrote.
    #[arg(value_name = "FILE")]
    proof: PathBuf,
    /// Which registries to believe; the data directory's trust.txt unless given.
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
}

pub(super) fn run(args: &ProveArgs, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    let trust = load_trust(&args.trust.clone().unwrap_or_else(|| home.trust()))?;
    let from = args.from.clone().unwrap_or_else(|| home.audit().display().to_string());
    let log = open_log(&from, &args.store_option)?;
    let invalid = |error| Failure::invalid("the audit log", error);
    let proofs = log.each(&trust, &mut |source, trust| {
        prove(source, trust, &mut |_, record| is_about(record, args.id)).map_err(invalid)
    })?;
    let proofs: Vec<Proof> = proofs.into_iter().flatten().collect();
    if proofs.is_empty() {
        let message = format!("no record of decision {} in this log", args.id);
        return Err(Failure::Unknown { message });
    }
    let mut sheet = Sheet::new(&["file", "log", "record", "head"]);
    for proof in proofs {
        let proven = proof.check(&trust).map_err(invalid)?;
        let name =
            format!("{}.{}.tlog-proof", args.id, proof.kind().map_or("record", Kind::as_str));
        let path = args.out.join(name);
        write(&path, &proof)?;
        let (index, size): (Value, Value) = (proof.index.into(), proven.head.size.into());
        let origin = proven.head.origin.as_str().into();
        sheet.row(vec![path.display().to_string().into(), origin, index, size]);
    }
    screen.sheet(&sheet)?;
    Ok(Exit::Ok)
}

fn write(path: &std::path::Path, proof: &Proof) -> Result<(), Failure> {
    use std::io::Write as _;
    let file = fs::OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = match file {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Failure::Exists { path: path.to_owned() });
        }
        file => file.map_err(|error| Failure::file("the folder for proofs", path, error))?,
    };
    let written = file.write_all(proof.to_text().as_bytes());
    written.map_err(|error| Failure::file("the proof", path, error))
}

pub(super) fn check(args: &CheckArgs, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    let trust = load_trust(&args.trust.clone().unwrap_or_else(|| home.trust()))?;
    let text = home::read("the proof", &args.proof)?;
    if text.starts_with('{') {
        return evidence::show(check_disclosures(&text, &trust), screen);
    }
    let proof = Proof::parse(&text);
    let invalid = |error| Failure::invalid(args.proof.display().to_string(), error);
    let checked = proof.and_then(|proof| proof.check(&trust).map(|proven| (proof, proven)));
    let (proof, Proven { head, registry, .. }) = checked.map_err(invalid)?;
    let record: Value = serde_json::from_slice(&proof.record)
        .map_err(|error| Failure::invalid(args.proof.display().to_string(), error))?;
    let mut sheet = Sheet::new(&["name", "value"]);
    sheet.row(vec!["log".into(), head.origin.as_str().into()]);
    sheet.row(vec!["registry".into(), registry.as_str().into()]);
    sheet.row(vec!["head".into(), head.size.into()]);
    for (name, value) in record.as_object().into_iter().flatten() {
        sheet.row_in(Mood::Plain, vec![name.as_str().into(), value.clone()]);
    }
    let value = json!({
        "log": head.origin.as_str(), "registry": registry.as_str(),
        "head": head.checkpoint(), "record": record,
    });
    screen.thing(&value, &sheet)?;
    screen.say("the record is in the log, unchanged");
    Ok(Exit::Ok)
}
