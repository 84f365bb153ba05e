//! Cuts one stream into segments, from the journal's files, and signs for each.
//!
//! Not here: the way into the bucket (`mod`), the files of the spool (`spool`). Invariant: a manifest is signed only over
//! records that were read back from disk, linked and hashed anew; where a signed head is due, the root is that of the head.

use std::io::Write as _;
use std::path::Path;

use aegis_audit_chain::link::{Pruned, Walker};
use aegis_audit_chain::note::Signer;
use aegis_audit_chain::segment::{BYTES_MAX, Digest, Manifest, RECORDS_MAX, push_entry};
use aegis_audit_chain::{Hash, Origin, record};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::error::{ShipError, io_error};
use super::ledger::Reach;
use crate::stream_reader::{StreamReader, Wants};

/// A segment that is ready to go.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) manifest: Manifest,
    pub(crate) note: String,
    pub(crate) stored: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Sealer {
    reader: StreamReader,
    walker: Walker,
    previous: Hash,
}

impl Sealer {
    /// Stands before the stream's first record that is here.
    pub(crate) fn new(root: &Path, origin: &Origin, pruned: Option<Pruned>) -> Self {
        let walker = pruned.map_or_else(|| Walker::new(origin.clone()), |pruned| pruned.walker);
        let reader = StreamReader::new(root, origin.clone(), walker.size());
        Self { reader, walker, previous: Hash::ZERO }
    }

    pub(crate) fn size(&self) -> u64 {
        self.walker.size()
    }

    fn origin(&self) -> Origin {
        self.walker.origin().clone()
    }

    /// Goes past a segment that was shipped before, if the journal still says the same.
    pub(crate) fn pass(&mut self, manifest: &Manifest, hash: Hash) -> Result<(), ShipError> {
        self.walk(manifest.size, &mut |_, _| Wants::More)?;
        let (size, root) = (self.walker.size(), self.walker.head().root);
        if (size, root) != (manifest.size, manifest.root) {
            return Err(ShipError::Changed { origin: self.origin(), size: manifest.size });
        }
        self.previous = hash;
        Ok(())
    }

    /// The next segment on the way to `reach`, which must lie ahead.
    pub(crate) fn cut(&mut self, reach: &Reach, region: &Signer) -> Result<Segment, ShipError> {
        let first = self.walker.size();
        let (mut bundles, mut times) = (Vec::new(), None);
        let mut count = 0_u64;
        self.walk(reach.size, &mut |ts, record| {
            push_entry(&mut bundles, record);
            let (from, _) = times.unwrap_or((ts, ts));
            times = Some((from, ts));
            count = count.saturating_add(1);
            let room = BYTES_MAX.saturating_sub(bundles.len());
            let is_full = count >= RECORDS_MAX || room < record::MAX_BYTES;
            if is_full { Wants::Enough } else { Wants::More }
        })?;
        let head = self.walker.head();
        if count == 0 {
            let (origin, found) = (head.origin, head.size);
            return Err(ShipError::Short { origin, found, signed: reach.size });
        }
        if head.size == reach.size && head.root != reach.root {
            return Err(ShipError::Changed { origin: head.origin, size: head.size });
        }
        let stored = pack(&bundles).map_err(io_error("compressing a segment"))?;
        let (from_ts, to_ts) = times.unwrap_or_default();
        let manifest = Manifest {
            origin: head.origin,
            first,
            size: head.size,
            root: head.root,
            previous: self.previous,
            stored: Digest::of(&stored),
            records: Digest::of(&bundles),
            from_ts,
            to_ts,
        };
        let note = manifest.note(region);
        self.previous = Hash::of(note.as_bytes());
        Ok(Segment { manifest, note, stored })
    }

    /// Reads on, each record checked against all before it.
    fn walk(
        &mut self,
        end: u64,
        each: &mut dyn FnMut(u64, &[u8]) -> Wants,
    ) -> Result<(), ShipError> {
        let Self { reader, walker, .. } = self;
        let mut broken = false;
        let read = reader.read(end, &mut |_, record| match walker.check(record) {
            Ok(checked) => {
                walker.accept(record, &checked);
                each(checked.head.ts, record)
            }
            Err(_) => {
                broken = true;
                Wants::Enough
            }
        });
        read.map_err(io_error("reading back the journal"))?;
        let size = self.walker.size().saturating_add(1);
        if broken { Err(ShipError::Changed { origin: self.origin(), size }) } else { Ok(()) }
    }
}

fn pack(bundles: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bundles)?;
    encoder.finish()
}
