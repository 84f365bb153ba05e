//! The registry heads that an auditor keeps from one run to the next.
//!
//! Not here: comparing a log with them (`audit/verify`). Invariant: what is kept is replaced whole or not at all.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use aegis_audit_chain::Head;

use crate::EvidenceError;

/// The heads an earlier run kept: checkpoints of three lines each. The first run has nothing to remember.
pub fn recall(path: &Path) -> Result<Vec<Head>, EvidenceError> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.map_err(EvidenceError::file("the remembered head", path))?,
    };
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let heads: Option<Vec<Head>> =
        lines.chunks(3).map(|head| Head::parse(&head.concat())).collect();
    match heads {
        Some(heads) if !heads.is_empty() => Ok(heads),
        _ => Err(EvidenceError::invalid(path.display().to_string(), "it holds no checkpoint")),
    }
}

/// Written beside and renamed, so that an interrupted run forgets nothing.
pub fn memorise(path: &Path, heads: &[Head]) -> Result<(), EvidenceError> {
    if heads.is_empty() {
        return Ok(());
    }
    let heads: String = heads.iter().map(Head::checkpoint).collect();
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let written = fs::write(&beside, heads).and_then(|()| fs::rename(&beside, path));
    written.map_err(EvidenceError::file("the folder of the remembered head", path))
}
