//! Files that a person names on the command line and somebody else may have made.
//!
//! Not here: how a file is opened (`audit/plain`). Invariant: each kind has a length past which none is read.

use std::path::Path;

use crate::EvidenceError;

/// Trust files, key sets, heads, attestations: some hundred bytes for each registry, witness or key.
pub(crate) const SMALL_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Proofs have a few kilobytes; disclosures as much for each of their records.
pub(crate) const PROOFS_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// A tenant's records and whole registries, which grow by a kilobyte for each second with traffic: half a year without a pause.
pub(crate) const PACKAGE_BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;

/// The text of such a file; `what` names it for people.
pub(crate) fn read(
    what: &'static str,
    path: &Path,
    bytes_max: u64,
) -> Result<String, EvidenceError> {
    aegis_audit_plain::read_text(path, bytes_max).map_err(EvidenceError::file(what, path))
}
