//! Every record of a log, wherever it lies.
//!
//! Not here: whether the log is whole (`audit/verify`). Invariant: a record is shown only when its checksum and its links to all
//! records before it hold; a stream in which one does not is an error.

use aegis_audit_chain::link::Walker;
use aegis_audit_chain::source::{
    FileError, LogSource, deleted_here, log_files, required_file, whole_log_files,
};
use aegis_audit_chain::walk::{FileEnd, walk_file};
use aegis_audit_chain::{Origin, layout, note};
use aegis_audit_registry::{RegistryReader, Stream};
use aegis_audit_ship::Log;
use aegis_audit_trust::Trust;

use crate::{EvidenceError, Progress};

/// Takes a record's stream and its bytes.
pub(crate) type Show<'s> = &'s mut dyn FnMut(&Origin, &[u8]) -> Result<(), EvidenceError>;

/// Shows every record of every stream that a trusted registry names, the streams in the order of their births.
pub(crate) fn each_record(
    (log, trust): (&Log, &Trust),
    progress: Progress<'_>,
    show: Show<'_>,
) -> Result<(), EvidenceError> {
    log.each(trust, &mut |source, trust| {
        for (origin, region) in trust.registries() {
            for stream in streams(source, (origin, region))? {
                stream_records(source, (&stream, region), (progress, show))?;
            }
        }
        Ok::<(), EvidenceError>(())
    })?;
    Ok(())
}

/// The streams that the registry names; none where it is not here.
pub(crate) fn streams(
    source: &dyn LogSource,
    (origin, region): (&Origin, &note::Verifier),
) -> Result<Vec<Stream>, EvidenceError> {
    let firsts = log_files(source, origin).map_err(unreadable)?;
    if firsts.is_empty() {
        return Ok(Vec::new());
    }
    let broken = |error| EvidenceError::invalid("the registry", error);
    let mut reader = RegistryReader::new(origin.clone(), region.clone());
    for first in firsts {
        let bytes = required_file(source, &layout::wal_file(origin, first)).map_err(unreadable)?;
        reader.file(first, &bytes).map_err(broken)?;
    }
    Ok(reader.finish().map_err(broken)?.streams().to_vec())
}

/// Shows the records of one stream, which must reach as far as is signed.
pub(crate) fn stream_records(
    source: &dyn LogSource,
    (stream, region): (&Stream, &note::Verifier),
    (progress, show): (Progress<'_>, Show<'_>),
) -> Result<(), EvidenceError> {
    let (origin, signed) = (&stream.born.origin, stream.last());
    let mut walker = Walker::new(origin.clone());
    for first in whole_log_files(source, (origin, region)).map_err(unreadable)? {
        let path = layout::wal_file(origin, first);
        let bytes = required_file(source, &path).map_err(unreadable)?;
        progress(bytes.len());
        let mut shown = Ok(());
        let end = walk_file(&mut walker, (first, &bytes), &mut |_, step| {
            if shown.is_ok() {
                shown = show(origin, step.record);
            }
        });
        shown?;
        match end {
            // What a crash tears, or a writer is at, is no record yet; whether it was one, the signed size tells.
            FileEnd::Clean | FileEnd::Torn { .. } => {}
            FileEnd::Broken { .. } | FileEnd::Misplaced { .. } => return Err(changed(origin)),
        }
    }
    match signed {
        Some((size, _)) if walker.size() < size => Err(changed(origin)),
        Some(_) | None => Ok(()),
    }
}

/// Whether records of a stream were shipped and deleted here, and were among those that are asked for; in a bucket none are.
pub(crate) fn is_deleted(
    (log, trust): (&Log, &Trust),
    is_asked: &dyn Fn(&Origin, u64) -> bool,
) -> Result<bool, EvidenceError> {
    let found = log.each(trust, &mut |source, trust| {
        if source.pieces().is_some() {
            return Ok(false);
        }
        for (origin, region) in trust.registries() {
            for stream in streams(source, (origin, region))? {
                let origin = &stream.born.origin;
                let to = deleted_here(source, (origin, region));
                let to = to.map_err(|error| unreadable(error.into()))?;
                if to > 0 && is_asked(origin, to) {
                    return Ok(true);
                }
            }
        }
        Ok::<_, EvidenceError>(false)
    })?;
    Ok(found.contains(&true))
}

pub(crate) fn changed(origin: &Origin) -> EvidenceError {
    let message = format!("{origin} is not what was signed; `aegisctl audit verify` says where");
    EvidenceError::invalid("the audit log", message)
}

pub(crate) fn unreadable(error: FileError) -> EvidenceError {
    match error {
        // Nothing is wrong with this log: what is asked for is elsewhere.
        FileError::Deleted { .. } => EvidenceError::Unknown { message: error.to_string() },
        FileError::Source(_) | FileError::Missing(_) => {
            EvidenceError::invalid("the audit log", error)
        }
    }
}
