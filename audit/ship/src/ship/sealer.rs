//! Cuts one stream into segments, from the journal's files, and signs for each.
//!
//! Not here: the way into the bucket (`mod`), the files of the spool (`spool`). Invariant: a manifest is signed only over
//! records that were read back from disk, linked and hashed anew; where a signed head is due, the root is that of the head.

use std::path::Path;

use aegis_audit_chain::link::Walker;
use aegis_audit_chain::note::Signer;
use aegis_audit_chain::segment::{BYTES_MAX, Digest, Manifest, RECORDS_MAX};
use aegis_audit_chain::{Hash, Origin, record};
use aegis_audit_index::{Groups, Index};

use super::error::{ShipError, io_error};
use super::ledger::Reach;
use crate::stream_reader::{StreamReader, Wants};

/// A segment that is ready to go.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) manifest: Manifest,
    pub(crate) note: String,
    pub(crate) stored: Vec<u8>,
    pub(crate) index: Vec<u8>,
}

/// Takes a record: its head, its leaf hash, its bytes.
type Each<'e> = dyn FnMut((&record::Head, Hash), &[u8]) -> Wants + 'e;

#[derive(Debug)]
pub(crate) struct Sealer {
    reader: StreamReader,
    walker: Walker,
    previous: Hash,
}

impl Sealer {
    /// Stands before the stream's first record that is here, or at a resume point of the registry.
    pub(crate) fn new(root: &Path, origin: &Origin, before: Option<Walker>) -> Self {
        let walker = before.unwrap_or_else(|| Walker::new(origin.clone()));
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

    /// The next segment on the way to `reach`, which must lie ahead; so many records of the registry are in the bucket.
    pub(crate) fn cut(
        &mut self,
        reach: &Reach,
        (region, registry): (&Signer, u64),
    ) -> Result<Segment, ShipError> {
        let before = self.walker.tree().clone();
        let first = before.size();
        let (mut groups, mut leaves, mut times) = (Groups::default(), Vec::new(), None);
        self.walk(reach.size, &mut |(head, leaf), record| {
            groups.push(head.seq, record);
            leaves.push(leaf);
            let (from, _) = times.unwrap_or((head.ts, head.ts));
            times = Some((from, head.ts));
            let room = BYTES_MAX.saturating_sub(groups.bundles().len());
            let is_full = head.seq.saturating_sub(first) >= RECORDS_MAX - 1;
            if is_full || room < record::MAX_BYTES { Wants::Enough } else { Wants::More }
        })?;
        let head = self.walker.head();
        if leaves.is_empty() {
            let (origin, found) = (head.origin, head.size);
            return Err(ShipError::Short { origin, found, signed: reach.size });
        }
        if head.size == reach.size && head.root != reach.root {
            return Err(ShipError::Changed { origin: head.origin, size: head.size });
        }
        let (stored, members) = groups.pack().map_err(io_error("compressing a segment"))?;
        let index = Index { before, members, leaves }.encode();
        let (from_ts, to_ts) = times.unwrap_or_default();
        let manifest = Manifest {
            origin: head.origin,
            first,
            size: head.size,
            root: head.root,
            previous: self.previous,
            stored: Digest::of(&stored),
            records: Digest::of(groups.bundles()),
            index: Digest::of(&index),
            registry,
            from_ts,
            to_ts,
        };
        let note = manifest.note(region);
        self.previous = Hash::of(note.as_bytes());
        Ok(Segment { manifest, note, stored, index })
    }

    /// Reads on, each record checked against all before it.
    fn walk(&mut self, end: u64, each: &mut Each<'_>) -> Result<(), ShipError> {
        let Self { reader, walker, .. } = self;
        let mut broken = false;
        let read = reader.read(end, &mut |_, record| match walker.check(record) {
            Ok(checked) => {
                let leaf = walker.accept(record, &checked);
                each((&checked.head, leaf), record)
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
