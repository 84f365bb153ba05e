//! Makes a tenant's package from a whole log.
//!
//! Not here: judging the log (`audit/verify`). Invariant: what is made from a log that does not hold is not a package but an
//! error, because whoever is handed the package must not take the maker's fault for a finding.

use std::collections::BTreeMap;

use aegis_audit_chain::frame::Frames;
use aegis_audit_chain::link::Walker;
use aegis_audit_chain::note::Verifier;
use aegis_audit_chain::record;
use aegis_audit_chain::roster::{Lines, Reach};
use aegis_audit_chain::source::{FileError, LogSource, log_files, required_file, whole_log_files};
use aegis_audit_chain::walk::walk_file;
use aegis_audit_chain::{Hash, Origin, layout, tree};
use aegis_audit_registry::{Registry, RegistryError, RegistryReader, Stream};
use aegis_audit_trust::Trust;
use aegis_domain::TenantId;

use crate::package::{Package, RegistryPart, Standing, StreamPart};

/// Why no package can be made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the registry does not hold")]
    Registry(#[from] RegistryError),
    #[error("{origin} is not what was signed; `aegisctl audit verify` says where")]
    Changed { origin: Origin },
}

/// The head that a stream's part is proven under: its end, or its newest anchor.
pub(crate) fn target(stream: &Stream) -> Option<(u64, Hash)> {
    stream.last().filter(|(size, _)| *size > 0)
}

/// Makes the package of one tenant, of the trusted registries that are here. `progress` is told the bytes of each file read.
pub fn make(
    source: &dyn LogSource,
    trust: &Trust,
    tenant: &TenantId,
    progress: &mut dyn FnMut(usize),
) -> Result<Package, MakeError> {
    let mut registries = Vec::new();
    for (origin, region) in trust.registries() {
        if log_files(source, origin)?.is_empty() {
            continue;
        }
        let (registry, records) = registry(source, (origin, region), progress)?;
        let mut streams = Vec::new();
        for stream in registry.streams() {
            streams.push(part(source, (stream, region, tenant), progress)?);
        }
        registries.push(RegistryPart { origin: origin.clone(), records, streams });
    }
    Ok(Package { tenant: tenant.clone(), registries })
}

/// What the registry says, and its records up to its newest signed head.
fn registry(
    source: &dyn LogSource,
    (origin, region): (&Origin, &Verifier),
    progress: &mut dyn FnMut(usize),
) -> Result<(Registry, Vec<Vec<u8>>), MakeError> {
    let mut reader = RegistryReader::new(origin.clone(), region.clone());
    let mut records = BTreeMap::new();
    for first in log_files(source, origin)? {
        let bytes = required_file(source, &layout::wal_file(origin, first))?;
        progress(bytes.len());
        reader.file(first, &bytes)?;
        // Where a crash left an unsigned tail, a later file goes on before it.
        let frames = Frames::open(&bytes).into_iter().flat_map(|(_, frames)| frames).flatten();
        records.extend((first..).zip(frames.map(|frame| frame.record.to_vec())));
    }
    let registry = reader.finish()?;
    let records = records.into_values();
    let signed = usize::try_from(registry.walker().size()).unwrap_or(usize::MAX);
    Ok((registry, records.take(signed).collect()))
}

/// What a stream holds of the tenant, up to its newest signed head.
fn part(
    source: &dyn LogSource,
    (stream, region, tenant): (&Stream, &Verifier, &TenantId),
    progress: &mut dyn FnMut(usize),
) -> Result<StreamPart, MakeError> {
    let origin = &stream.born.origin;
    let Some((size, root)) = target(stream) else { return Ok(unsigned(origin)) };
    let mut walker = Walker::new(origin.clone());
    let (mut leaves, mut own, mut lines) = (Vec::new(), Vec::new(), None::<Lines>);
    for first in whole_log_files(source, (origin, region))? {
        let bytes = required_file(source, &layout::wal_file(origin, first))?;
        progress(bytes.len());
        walk_file(&mut walker, (first, &bytes), &mut |before, step| {
            if before.size() == size {
                lines = Some(before.roster_lines());
            }
            if before.size() >= size {
                return;
            }
            leaves.push(Hash::leaf(step.record));
            let of = record::kind_and_tenant(step.record).and_then(|(_, tenant)| tenant);
            if of == Some(tenant.as_str()) {
                own.push((step.head.seq, step.record.to_vec()));
            }
        });
        if lines.is_some() {
            break;
        }
    }
    let lines = lines.unwrap_or_else(|| walker.roster_lines());
    let whole = u64::try_from(leaves.len()) == Ok(size) && tree::root(&leaves) == root;
    let changed = || MakeError::Changed { origin: origin.clone() };
    if !whole {
        return Err(changed());
    }
    let wanted: Vec<usize> = own.iter().filter_map(|(seq, _)| usize::try_from(*seq).ok()).collect();
    let path = match wanted.as_slice() {
        [] => Vec::new(),
        wanted => tree::subset_proof(&leaves, wanted).ok_or_else(changed)?,
    };
    let records: Vec<Vec<u8>> = own.into_iter().map(|(_, record)| record).collect();
    let (shown, roster) = lines.prove(origin.before_tenant(tenant.as_str()));
    let standing = match (records.last(), shown.first()) {
        (Some(last), Some((index, _))) => {
            let count = u64::try_from(records.len()).unwrap_or(u64::MAX);
            let reach = Reach { records: count, last: Hash::leaf(last) };
            Standing::Present { index: *index, reach }
        }
        (Some(_) | None, _) => Standing::Absent(shown),
    };
    Ok(StreamPart { origin: origin.clone(), size, records, path, standing, roster })
}

/// The part of a stream of which nothing is signed yet.
fn unsigned(origin: &Origin) -> StreamPart {
    StreamPart {
        origin: origin.clone(),
        size: 0,
        records: Vec::new(),
        path: Vec::new(),
        standing: Standing::Absent(Vec::new()),
        roster: Vec::new(),
    }
}
