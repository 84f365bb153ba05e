//! `aegisctl audit prove` and `audit check`: one record and the proof that it is in the log, in a file of its own.
//!
//! Not here: the proof itself (`audit/proof`). Invariant: what `prove` writes has been checked as `check` would; `check`
//! reads two files and nothing else.

use std::path::{Path, PathBuf};

use aegis_audit_chain::record::{Entry, Kind, Record};
use aegis_audit_chain::{Cursor, Origin};
use aegis_audit_proof::{Proof, Proven, Search, prove_at, prove_call};
use aegis_domain::DecisionId;
use clap::Args;
use serde_json::{Value, json};

use crate::answer::{Answer, Table};
use crate::disclose::check_disclosures;
use crate::log::{LogArgs, load_trust, write_new};
use crate::named::{self, PROOFS_BYTES_MAX};
use crate::records::is_deleted;
use crate::{EvidenceError, Progress};

/// Write proofs that a decision and its outcome are in the log, one C2SP tlog-proof a record.
#[derive(Debug, Args)]
#[command(after_help = "\
Whoever holds a proof and the trust file needs nothing else, and no network:
  aegisctl audit check 01K9ZQ4T3X8E5R6Y7W2V1BNM0C.decision.tlog-proof --trust registry.txt

Examples:
  aegisctl audit prove 01K9ZQ4T3X8E5R6Y7W2V1BNM0C
  aegisctl audit prove 01K9ZQ4T3X8E5R6Y7W2V1BNM0C --from s3://audit --trust region.txt --out ./proofs
  aegisctl audit prove --record audit.example.com/eu-west-1/gw-1/7#70122 --from s3://audit --trust region.txt")]
pub struct ProveArgs {
    /// The id that a refusal and the Aegis-Decision-Id header name.
    #[arg(value_name = "DECISION", value_parser = DecisionId::parse, required_unless_present = "record")]
    id: Option<DecisionId>,
    /// One record by its place instead, as an attestation names it: the log, `#` and the number. Out of a bucket, no other
    /// record of its log is read.
    #[arg(long, value_name = "LOG#NUMBER", conflicts_with = "id")]
    record: Option<Cursor>,
    /// Read a bucket from end to end where a decision is not found about the time that its id names: its gateway's clock may
    /// have been set. Takes as long as the log is.
    #[arg(long, conflicts_with = "record")]
    everywhere: bool,
    #[command(flatten)]
    log: LogArgs,
    /// The folder to write to; a file that is there is never overwritten.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

/// Check a proof that a record is in the log, or a file of disclosures, offline.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// What `audit prove` or `audit disclose` wrote.
    #[arg(value_name = "FILE")]
    proof: PathBuf,
    /// Which registries to believe; the data directory's trust.txt unless given.
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
}

/// What is to be proved.
#[derive(Clone, Debug)]
enum Wanted {
    Decision(DecisionId),
    Record(Cursor),
}

impl ProveArgs {
    pub fn run(&self, root: &Path, progress: Progress<'_>) -> Result<Answer, EvidenceError> {
        let wanted = match (&self.record, self.id) {
            (Some(place), _) => Wanted::Record(place.clone()),
            (None, Some(id)) => Wanted::Decision(id),
            (None, None) => {
                let message = "name a decision, or a place with --record".to_owned();
                return Err(EvidenceError::Usage { message });
            }
        };
        let search = if self.everywhere { Search::Everywhere } else { Search::AboutItsTime };
        let (log, trust) = self.log.open(root)?;
        progress(0);
        let mut is_in_pieces = false;
        let proofs = log.each(&trust, &mut |source, trust| {
            is_in_pieces |= source.pieces().is_some();
            let made = match &wanted {
                Wanted::Record(Cursor { origin, seq }) => {
                    prove_at(source, trust, (origin, *seq)).map(Vec::from_iter)
                }
                Wanted::Decision(id) => prove_call(source, trust, (*id, search)),
            };
            made.map_err(|error| EvidenceError::invalid("the audit log", error))
        })?;
        let proofs: Vec<Proof> = proofs.into_iter().flatten().collect();
        if proofs.is_empty() {
            let is_deleted = is_deleted((&log, &trust), &|origin, to| wanted.may_be(origin, to))?;
            let is_narrow = is_in_pieces && search == Search::AboutItsTime;
            return Err(wanted.not_found(is_deleted, is_narrow));
        }
        let (mut table, mut value) = (Table::new(&["file", "log", "record", "head"]), Vec::new());
        for proof in proofs {
            let proven = proof.check(&trust);
            let Proven { head, .. } =
                proven.map_err(|error| EvidenceError::invalid("the audit log", error))?;
            let kind = proof.kind().map_or("record", Kind::as_str);
            let path = self.out.join(format!("{}.{kind}.tlog-proof", wanted.file()));
            write_new(&path, proof.to_text().as_bytes())?;
            let (file, log) = (path.display().to_string(), head.origin.as_str());
            let row = vec![file.clone().into(), log.into(), proof.index.into(), head.size.into()];
            table.rows.push(row);
            value.push(json!({
                "file": file, "log": log, "record": proof.index, "head": head.size,
            }));
        }
        Ok(Answer { value: value.into(), tables: vec![table], ..Answer::default() })
    }
}

impl Wanted {
    /// Whether it may be among the records of a stream before this one.
    fn may_be(&self, origin: &Origin, to: u64) -> bool {
        match self {
            Self::Decision(_) => true,
            Self::Record(place) => place.origin == *origin && place.seq < to,
        }
    }

    /// Where to look, if it may be elsewhere.
    fn not_found(&self, is_deleted: bool, is_narrow: bool) -> EvidenceError {
        let message = match self {
            Self::Decision(_) | Self::Record(_) if is_deleted => format!(
                "no record of {self} is here; older ones were shipped and deleted here, and the audit bucket has them (--from)"
            ),
            Self::Decision(_) if is_narrow => format!(
                "no record of {self} within five minutes of the time that it names; --everywhere reads the whole log"
            ),
            Self::Decision(_) | Self::Record(_) => format!("no record of {self} in this log"),
        };
        EvidenceError::Unknown { message }
    }

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

/// Whether a record is a decision, or the outcome of it.
pub fn is_about(record: &Record, id: DecisionId) -> bool {
    match &record.entry {
        Entry::Decision(decision) => decision.id == id,
        Entry::Outcome(outcome) => outcome.of.id == id,
        Entry::Genesis(_)
        | Entry::Clock(_)
        | Entry::AnchorRef(_)
        | Entry::Change(_)
        | Entry::TenantSeal(_)
        | Entry::Seal(_)
        | Entry::Close
        | Entry::Born(_)
        | Entry::Anchor(_)
        | Entry::Failed(_)
        | Entry::Revoked(_)
        | Entry::Closed(_)
        | Entry::Head(_)
        | Entry::Gap(_) => false,
    }
}

impl CheckArgs {
    pub fn run(&self, root: &Path) -> Result<Answer, EvidenceError> {
        let trust = load_trust(&self.trust.clone().unwrap_or_else(|| root.join("trust.txt")))?;
        let text = named::read("the proof", &self.proof, PROOFS_BYTES_MAX)?;
        if text.starts_with('{') {
            return check_disclosures(&text, &trust);
        }
        let name = || self.proof.display().to_string();
        let proof = Proof::parse(&text);
        let checked = proof.and_then(|proof| proof.check(&trust).map(|proven| (proof, proven)));
        let (proof, Proven { head, registry, .. }) =
            checked.map_err(|error| EvidenceError::invalid(name(), error))?;
        let record: Value = serde_json::from_slice(&proof.record)
            .map_err(|error| EvidenceError::invalid(name(), error))?;
        let mut table = Table::new(&["name", "value"]);
        table.rows.push(vec!["log".into(), head.origin.as_str().into()]);
        table.rows.push(vec!["registry".into(), registry.as_str().into()]);
        table.rows.push(vec!["head".into(), head.size.into()]);
        table.rows.extend(Table::of_members(&record).rows);
        let value = json!({
            "log": head.origin.as_str(), "registry": registry.as_str(),
            "head": head.checkpoint(), "record": record,
        });
        let words = vec!["the record is in the log, unchanged".to_owned()];
        Ok(Answer { value, tables: vec![table], words, ..Answer::default() })
    }
}
