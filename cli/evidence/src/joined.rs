//! The trust files of a region's gateways as one, for whoever verifies their log as one.
//!
//! Not here: which files to believe; each comes by a way that the log's operator does not control. Invariant: the file that is
//! written trusts what the files that were read trust, and nothing else.

use std::path::{Path, PathBuf};

use aegis_audit_trust::Trust;
use serde_json::json;

use crate::EvidenceError;
use crate::answer::{Answer, Table};
use crate::log::{load_trust, write_new};

/// Joins them into one file, which must not be there yet.
pub fn join_trust(files: &[PathBuf], out: &Path) -> Result<Answer, EvidenceError> {
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
    before.join(trust).ok_or_else(|| {
        let why = "it asks for other witnesses than the files before it; write one quorum for all";
        EvidenceError::invalid(file.display().to_string(), why)
    })
}
