//! Reads where a stream begins whose first records were shipped and deleted.
//!
//! Not here: deleting them (`ship::prune`). Invariant: a note that the region key did not sign counts as none, and then the
//! missing files are missed.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use aegis_audit_chain::link::Pruned;
use aegis_audit_chain::note::Verifier;
use aegis_audit_chain::{Origin, layout};

pub(crate) fn read(root: &Path, origin: &Origin, region: &Verifier) -> io::Result<Option<Pruned>> {
    let note = match fs::read_to_string(root.join(layout::pruned_note(origin))) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        note => note?,
    };
    let pruned = Pruned::open(&note, region).ok();
    Ok(pruned.filter(|pruned| pruned.walker.origin() == origin))
}
