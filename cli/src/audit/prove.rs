//! `aegisctl audit prove` and `audit check`: one record and the proof that it is in the log, in a file of its own.
//!
//! Not here: the proof itself (`audit/chain`). Invariant: what `prove` writes has been checked as `check` would; `check`
//! reads two files and nothing else.

use std::fs;
use std::path::PathBuf;

use aegis_audit_chain::Cursor;
use aegis_audit_chain::record::Kind;
use aegis_audit_proof::{Proof, Proven, prove, prove_at};
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
  aegisctl audit prove 01K9ZQ4T3X8E5R6Y7W2V1BNM0C --from s3://audit --trust region.txt --out ./proofs
  aegisctl audit prove --record audit.example.com/eu-west-1/gw-1/7#70122 --from s3://audit --trust region.txt")]
pub(super) struct ProveArgs {
    /// The id that a refusal and the Aegis-Decision-Id header name.
    #[arg(value_name = "DECISION", value_parser = DecisionId::parse, required_unless_present = "record")]
    id: Option<DecisionId>,
    /// One record by its place instead, as an attestation names it: the log, `#` and the number. Out of a bucket, no other
    /// record of its log is read.
    #[arg(long, value_name = "LOG#NUMBER", conflicts_with = "id")]
    record: Option<Cursor>,
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
    let wanted = args.wanted()?;
    let proofs = log.each(&trust, &mut |source, trust| match &wanted {
        Wanted::Record(Cursor { origin, seq }) => {
            let proof = prove_at(source, trust, (origin, *seq)).map_err(invalid)?;
            Ok::<_, Failure>(Vec::from_iter(proof))
        }
        Wanted::Decision(id) => {
            prove(source, trust, &mut |_, record| is_about(record, *id)).map_err(invalid)
        }
    })?;
    let proofs: Vec<Proof> = proofs.into_iter().flatten().collect();
    if proofs.is_empty() {
        let message = format!("no record of {wanted} in this log");
        return Err(Failure::Unknown { message });
    }
    let mut sheet = Sheet::new(&["file", "log", "record", "head"]);
    for proof in proofs {
        let proven = proof.check(&trust).map_err(invalid)?;
        let kind = proof.kind().map_or("record", Kind::as_str);
        let path = args.out.join(format!("{}.{kind}.tlog-proof", wanted.file()));
        write(&path, &proof)?;
        let (index, size): (Value, Value) = (proof.index.into(), proven.head.size.into());
        let origin = proven.head.origin.as_str().into();
        sheet.row(vec![path.display().to_string().into(), origin, index, size]);
    }
    screen.sheet(&sheet)?;
    Ok(Exit::Ok)
}

/// What is to be proved.
enum Wanted {
    Decision(DecisionId),
    Record(Cursor),
}

impl ProveArgs {
    /// One of the two is given.
    fn wanted(&self) -> Result<Wanted, Failure> {
        match (&self.record, self.id) {
            (Some(record), _) => Ok(Wanted::Record(record.clone())),
            (None, Some(id)) => Ok(Wanted::Decision(id)),
            (None, None) => {
                Err(Failure::Unknown { message: "name a decision, or a --record".to_owned() })
            }
        }
    }
}

impl Wanted {
    /// What its files are called.
    fn file(&self) -> String {
        match self {
            Self::Decision(id) => id.to_string(),
            Self::Record(Cursor { origin, seq }) => {
                format!("{}-{}-{seq}", origin.writer(), origin.incarnation())
            }
        }
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Decision(id) => write!(f, "decision {id}"),
            Self::Record(place) => write!(f, "the place {place}"),
        }
    }
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
