//! The records of a stream by groups of 256: a root is kept of each and where it begins, and the records are read when they are asked
//! for.
//!
//! Not here: tiles (`tiles`), the files of a log (`audit/ship`). Invariant: no more than one file, or the index of one segment, is in
//! memory while a stream is gone through; records are handed out only where they have the root that was found then.

use aegis_audit_chain::frame::Frames;
use aegis_audit_chain::link::Walker;
use aegis_audit_chain::note::Verifier;
use aegis_audit_chain::source::{LogSource, Pieces, SourceError, required_file, whole_log_files};
use aegis_audit_chain::tree::Frontier;
use aegis_audit_chain::walk::walk_file;
use aegis_audit_chain::{Hash, Head, Origin, layout, tree};

use crate::EvidenceError;
use crate::records::{changed, unreadable};

/// Records in a whole group: hashes, or entries, in a full tile.
pub(crate) const WIDTH: u64 = 256;
/// No group is longer in a file: each record has at most 16,384 bytes, behind eight.
const GROUP_BYTES_MAX: u64 = WIDTH * 16_392;
/// A file's header is no longer.
const HEADER_BYTES_MAX: u64 = 512;

/// What is kept of a stream.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// The root of each group; the last may be of fewer records.
    roots: Vec<Hash>,
    /// Where each begins: the first record of its file, and the offset there. Nothing where the log lies in pieces.
    begins: Vec<(u64, u64)>,
    all: Frontier,
    gathered: Vec<Hash>,
}

impl Groups {
    /// Goes through a stream up to a head of it, which must be its root.
    pub(crate) fn of(
        source: &dyn LogSource,
        (head, region): (&Head, &Verifier),
    ) -> Result<Self, EvidenceError> {
        let mut groups = Self::default();
        match source.pieces() {
            Some(pieces) => groups.pieces(pieces, head).map_err(invalid)?,
            None => groups.files(source, (head, region))?,
        }
        groups.end_group();
        let is_whole = (groups.all.size(), groups.all.root()) == (head.size, head.root);
        groups.roots.shrink_to_fit();
        groups.begins.shrink_to_fit();
        if is_whole { Ok(groups) } else { Err(changed(&head.origin)) }
    }

    pub(crate) fn roots(&self) -> &[Hash] {
        &self.roots
    }

    /// How much memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        let places = self.begins.capacity().saturating_mul(size_of::<(u64, u64)>());
        self.roots.capacity().saturating_mul(size_of::<Hash>()).saturating_add(places)
    }

    fn pieces(&mut self, pieces: &dyn Pieces, head: &Head) -> Result<(), SourceError> {
        for piece in pieces.of(&head.origin) {
            if piece.0 < head.size {
                // An index is held against the root that its manifest was signed for.
                let leaves = pieces.leaves(&head.origin, piece)?;
                leaves.into_iter().for_each(|leaf| self.push(leaf, head.size));
            }
        }
        Ok(())
    }

    fn files(
        &mut self,
        source: &dyn LogSource,
        (head, region): (&Head, &Verifier),
    ) -> Result<(), EvidenceError> {
        let mut walker = Walker::new(head.origin.clone());
        let firsts = whole_log_files(source, (&head.origin, region)).map_err(unreadable)?;
        for first in firsts {
            if walker.size() >= head.size {
                break;
            }
            let path = layout::wal_file(&head.origin, first);
            let bytes = required_file(source, &path).map_err(unreadable)?;
            walk_file(&mut walker, (first, &bytes), &mut |_, step| {
                if step.head.seq.is_multiple_of(WIDTH) && step.head.seq < head.size {
                    self.begins.push((first, step.offset));
                }
                self.push(Hash::leaf(step.record), head.size);
            });
        }
        Ok(())
    }

    /// What stands behind the head is not served.
    fn push(&mut self, leaf: Hash, size: u64) {
        if self.all.size() >= size {
            return;
        }
        self.all.push(leaf);
        self.gathered.push(leaf);
        if self.all.size().is_multiple_of(WIDTH) {
            self.end_group();
        }
    }

    fn end_group(&mut self) {
        if !self.gathered.is_empty() {
            self.roots.push(tree::root(&self.gathered));
            self.gathered.clear();
        }
    }

    /// The first records of a group; `None` where the stream has not that many in it.
    pub(crate) fn read(
        &self,
        source: &dyn LogSource,
        head: &Head,
        (group, width): (u64, u64),
    ) -> Result<Option<Vec<Vec<u8>>>, EvidenceError> {
        let root = usize::try_from(group).ok().and_then(|nth| self.roots.get(nth));
        let (Some(root), Some(first)) = (root, group.checked_mul(WIDTH)) else { return Ok(None) };
        let end = first.saturating_add(WIDTH).min(head.size);
        if end.saturating_sub(first) < width {
            return Ok(None);
        }
        let mut records = match source.pieces() {
            Some(pieces) => in_pieces(pieces, &head.origin, (first, end)).map_err(invalid)?,
            None => self.in_files(source, &head.origin, (first, end))?,
        };
        let leaves: Vec<Hash> = records.iter().map(|record| Hash::leaf(record)).collect();
        if tree::root(&leaves) != *root {
            return Err(changed(&head.origin));
        }
        records.truncate(usize::try_from(width).unwrap_or(usize::MAX));
        Ok(Some(records))
    }

    fn in_files(
        &self,
        source: &dyn LogSource,
        origin: &Origin,
        (first, end): (u64, u64),
    ) -> Result<Vec<Vec<u8>>, EvidenceError> {
        let nth = usize::try_from(first / WIDTH).ok();
        let mut behind = nth.and_then(|nth| self.begins.get(nth..)).unwrap_or_default().iter();
        let (mut file, mut offset) = *behind.next().ok_or_else(|| changed(origin))?;
        // As far as the next group, where that begins in the same file.
        let next = behind.next().filter(|next| next.0 == file);
        let mut bytes_max = next.map_or(GROUP_BYTES_MAX, |(_, next)| next.saturating_sub(offset));
        let mut records = Vec::new();
        let mut seq = first;
        loop {
            let path = layout::wal_file(origin, file);
            let part = source.part(&path, (offset, bytes_max)).map_err(invalid)?;
            for frame in Frames::resume(&part.unwrap_or_default(), 0).map_while(Result::ok) {
                if seq < end {
                    records.push(frame.record.to_vec());
                    seq = seq.saturating_add(1);
                }
            }
            if seq >= end {
                return Ok(records);
            }
            // The group goes on in the next file, which bears the number of its first record.
            let path = layout::wal_file(origin, seq);
            let head = source.part(&path, (0, HEADER_BYTES_MAX)).map_err(invalid)?;
            let behind = Frames::open(&head.unwrap_or_default()).map(|(_, frames)| frames.offset());
            let behind = behind.ok().filter(|_| seq > file).and_then(|at| u64::try_from(at).ok());
            (file, offset) = (seq, behind.ok_or_else(|| changed(origin))?);
            bytes_max = GROUP_BYTES_MAX;
        }
    }
}

fn in_pieces(
    pieces: &dyn Pieces,
    origin: &Origin,
    (first, end): (u64, u64),
) -> Result<Vec<Vec<u8>>, SourceError> {
    let mut records = Vec::new();
    for piece in pieces.of(origin) {
        if piece.0 < end && first < piece.1 {
            let take = &mut |_: u64, record: &[u8]| records.push(record.to_vec());
            pieces.records(origin, piece, first..end, take)?;
        }
    }
    Ok(records)
}

fn invalid(error: SourceError) -> EvidenceError {
    EvidenceError::invalid("the audit log", error)
}
