//! A record in the log together with some of what its digests stand for: selective disclosure (RFC 9901) to an auditor.
//!
//! Not here: where disclosures are kept (`audit/ship`). Invariant: a value is shown only when its digest is in a record that is
//! proven to be in the log.

use aegis_audit_chain::Hash;
use aegis_audit_chain::disclosure::Disclosure;
use aegis_audit_chain::record::Entry;
use aegis_audit_trust::Trust;
use serde_json::{Value, json};

use crate::{Proof, ProofError, Proven};

const FORMAT: &str = "aegis.dev/audit/disclosure@v1";

/// One record, proven, and some of its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disclosed {
    pub proof: Proof,
    pub disclosures: Vec<Disclosure>,
}

/// The digests that a record has.
pub fn digests(entry: &Entry) -> &[Hash] {
    match entry {
        Entry::Decision(decision) => &decision.sd,
        Entry::Outcome(outcome) => &outcome.sd,
        _ => &[],
    }
}

impl Disclosed {
    /// Several as one file.
    pub fn to_text(all: &[Self]) -> String {
        let record = |it: &Self| {
            let texts: Vec<&str> = it.disclosures.iter().map(Disclosure::as_str).collect();
            json!({ "proof": it.proof.to_text(), "disclosures": texts })
        };
        let records: Vec<Value> = all.iter().map(record).collect();
        format!("{:#}\n", json!({ "format": FORMAT, "records": records }))
    }

    pub fn parse_all(text: &str) -> Result<Vec<Self>, ProofError> {
        let file: Value = serde_json::from_str(text).map_err(|_| ProofError::Malformed)?;
        let records = file.get("records").and_then(Value::as_array);
        let is_ours = file.get("format").and_then(Value::as_str) == Some(FORMAT);
        let records = records.filter(|all| is_ours && !all.is_empty());
        records.ok_or(ProofError::Malformed)?.iter().map(Self::read).collect()
    }

    fn read(record: &Value) -> Result<Self, ProofError> {
        let proof = record.get("proof").and_then(Value::as_str).ok_or(ProofError::Malformed)?;
        let texts = record.get("disclosures").and_then(Value::as_array);
        let disclosures = texts.ok_or(ProofError::Malformed)?.iter().map(|text| {
            let parsed = text.as_str().and_then(Disclosure::parse);
            parsed.map(|(disclosure, ..)| disclosure).ok_or(ProofError::Malformed)
        });
        Ok(Self {
            proof: Proof::parse(proof)?,
            disclosures: disclosures.collect::<Result<_, _>>()?,
        })
    }

    /// What the record says and what was disclosed of it, each value by its name.
    pub fn check(&self, trust: &Trust) -> Result<(Proven, Vec<(String, Value)>), ProofError> {
        let proven = self.proof.check(trust)?;
        let known = digests(&proven.record.entry);
        let mut values = Vec::new();
        for disclosure in &self.disclosures {
            if !known.contains(&disclosure.digest()) {
                return Err(ProofError::Undisclosed);
            }
            let parsed = Disclosure::parse(disclosure.as_str()).ok_or(ProofError::Malformed)?;
            values.push((parsed.1, parsed.2));
        }
        Ok((proven, values))
    }
}
