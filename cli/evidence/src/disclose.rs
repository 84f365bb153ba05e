//! `aegisctl audit disclose`, and `audit check` of what it writes: some values of some records, to somebody who checks them.
//!
//! Not here: proofs and digests (`audit/proof`). Invariant: nothing is disclosed that was not named, and nothing that its reader
//! would not believe.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aegis_audit_chain::disclosure::Disclosure;
use aegis_audit_chain::record::{Entry, Record};
use aegis_audit_disclosures::Kept;
use aegis_audit_proof::{Disclosed, Proof, ProofError, digests, prove};
use aegis_audit_trust::Trust;
use aegis_domain::{DecisionId, TenantId};
use clap::Args;
use serde_json::{Value, json};

use crate::answer::{Answer, Outcome, Table};
use crate::log::{LogArgs, write_new};
use crate::records::is_deleted;
use crate::{EvidenceError, Progress};

/// Write some of what the digests of a tenant's records stand for, with the proof that the records are in the log.
#[derive(Debug, Args)]
#[command(after_help = "\
Whoever is handed the file needs the trust file and nothing else, and learns nothing that was not named:
  aegisctl audit check jones.disclosure --trust registry.txt

Without --field it says which fields there are, and writes nothing.

Examples:
  aegisctl audit disclose --tenant acme 01K9ZQ4T3X8E5R6Y7W2V1BNM0C
  aegisctl audit disclose --tenant acme 01K9ZQ4T3X8E5R6Y7W2V1BNM0C --field path --out jones.disclosure")]
pub struct DiscloseArgs {
    /// The decisions; their outcomes have digests as well.
    #[arg(value_name = "DECISION", value_parser = DecisionId::parse, required = true)]
    ids: Vec<DecisionId>,
    /// Whose records they are.
    #[arg(long, value_name = "TENANT", value_parser = TenantId::parse)]
    tenant: TenantId,
    /// What to disclose, by name; may be repeated.
    #[arg(long, value_name = "NAME", requires = "out")]
    field: Vec<String>,
    #[command(flatten)]
    log: LogArgs,
    /// The file to write; one that is there is never overwritten.
    #[arg(long, value_name = "FILE", requires = "field")]
    out: Option<PathBuf>,
}

/// What can still be opened, by the decision it is of.
type Opened = BTreeMap<DecisionId, Vec<Disclosure>>;

impl DiscloseArgs {
    pub fn run(&self, root: &Path, progress: Progress<'_>) -> Result<Answer, EvidenceError> {
        let opened = self.opened(root)?;
        let (log, trust) = self.log.open(root)?;
        progress(0);
        let proofs = log.each(&trust, &mut |source, trust| {
            let wanted = &mut |_: &_, record: &Record| self.wants(record);
            prove(source, trust, wanted)
                .map_err(|error| EvidenceError::invalid("the audit log", error))
        })?;
        let mut all = Vec::new();
        for proof in proofs.into_iter().flatten() {
            all.extend(self.disclosed(proof, &opened)?);
        }
        if all.is_empty() && is_deleted((&log, &trust), &|_, _| true)? {
            let message = "nothing of these calls is here; older records were shipped and deleted here, and the audit bucket has them (--from)";
            return Err(EvidenceError::Unknown { message: message.to_owned() });
        }
        if self.field.is_empty() {
            return Ok(fields(&all));
        }
        for name in &self.field {
            let has = |it: &Disclosure| name_of(it).is_some_and(|known| known == *name);
            if !all.iter().any(|one| one.disclosures.iter().any(has)) {
                let message = format!("no field `{name}` of these records can be opened");
                return Err(EvidenceError::Unknown { message });
            }
        }
        let text = Disclosed::to_text(&all);
        let answer = check_disclosures(&text, &trust)?;
        if let (Some(out), Outcome::Ok) = (&self.out, answer.outcome) {
            write_new(out, text.as_bytes())?;
        }
        Ok(answer)
    }

    fn wants(&self, record: &Record) -> bool {
        let (id, tenant) = match &record.entry {
            Entry::Decision(it) => (it.id, it.tenant.as_ref()),
            Entry::Outcome(it) => (it.of.id, it.tenant.as_ref()),
            _ => return false,
        };
        tenant == Some(&self.tenant) && self.ids.contains(&id) && !digests(&record.entry).is_empty()
    }

    fn opened(&self, root: &Path) -> Result<Opened, EvidenceError> {
        let dir = root.join("disclosures");
        let mut opened = Opened::new();
        let read = Kept::new(dir.clone()).each(&self.tenant, &mut |line| {
            if self.ids.contains(&line.id) {
                let slot = opened.entry(line.id).or_default();
                slot.extend(line.disclosures.into_iter().flatten());
            }
            Ok(())
        });
        read.map_err(EvidenceError::file("the disclosures", &dir))?;
        Ok(opened)
    }

    /// A record with the fields that were asked for, or all of them; `None` when nothing of it is left to show.
    fn disclosed(&self, proof: Proof, opened: &Opened) -> Result<Option<Disclosed>, EvidenceError> {
        let record = Record::parse(&proof.record)
            .map_err(|error| EvidenceError::invalid("a record", error))?;
        let id = match &record.entry {
            Entry::Decision(it) => it.id,
            Entry::Outcome(it) => it.of.id,
            _ => return Ok(None),
        };
        let known = digests(&record.entry);
        let is_wanted = |it: &&Disclosure| {
            let is_named =
                self.field.is_empty() || name_of(it).is_some_and(|name| self.field.contains(&name));
            is_named && known.contains(&it.digest())
        };
        let opened = opened.get(&id).into_iter().flatten();
        let disclosures: Vec<Disclosure> = opened.filter(is_wanted).cloned().collect();
        Ok((!disclosures.is_empty()).then_some(Disclosed { proof, disclosures }))
    }
}

fn name_of(disclosure: &Disclosure) -> Option<String> {
    Disclosure::parse(disclosure.as_str()).map(|(_, name, _)| name)
}

/// What could be disclosed, without its values.
fn fields(all: &[Disclosed]) -> Answer {
    let mut table = Table::new(&["record", "field"]);
    for one in all {
        for name in one.disclosures.iter().filter_map(name_of) {
            table.rows.push(vec![one.proof.index.into(), name.into()]);
        }
    }
    let row = |row: &Vec<Value>| json!({ "record": row.first(), "field": row.last() });
    let value = table.rows.iter().map(row).collect();
    let nothing = table.rows.is_empty();
    let words = if nothing {
        "nothing of these records can be opened"
    } else {
        "name one or more with --field"
    };
    let outcome = if nothing { Outcome::Incomplete } else { Outcome::Ok };
    Answer { value, tables: vec![table], verdict: None, words: vec![words.to_owned()], outcome }
}

/// Checks a file of disclosures, offline.
pub fn check_disclosures(text: &str, trust: &Trust) -> Result<Answer, EvidenceError> {
    let all = Disclosed::parse_all(text)
        .map_err(|error| EvidenceError::invalid("the disclosures", error))?;
    let mut table = Table::new(&["log", "record", "field", "value"]);
    let (mut records, mut flaw) = (Vec::new(), None::<ProofError>);
    for one in &all {
        match one.check(trust) {
            Err(error) => flaw = flaw.or(Some(error)),
            Ok((proven, values)) => {
                let (origin, seq) = (proven.head.origin.as_str(), one.proof.index);
                for (name, value) in &values {
                    let cells =
                        vec![origin.into(), seq.into(), name.as_str().into(), value.clone()];
                    table.rows.push(cells);
                }
                let record: Value = serde_json::from_slice(&one.proof.record).unwrap_or_default();
                let values: serde_json::Map<String, Value> = values.into_iter().collect();
                records.push(json!({ "log": origin, "record": record, "disclosed": values }));
            }
        }
    }
    let (verdict, outcome) =
        if flaw.is_none() { ("PASS", Outcome::Ok) } else { ("FAIL", Outcome::Failed) };
    let words = match &flaw {
        Some(error) => error.to_string(),
        None => "the records are in the log, unchanged, and their digests stand for these values"
            .to_owned(),
    };
    let value =
        json!({ "verdict": verdict, "records": records, "why": flaw.map(|it| it.to_string()) });
    Ok(Answer { value, tables: vec![table], verdict: Some(verdict), words: vec![words], outcome })
}
