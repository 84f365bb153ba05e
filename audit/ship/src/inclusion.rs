//! What shows that one record is in the log: its bytes, the signed head over it, and the path between the two.
//!
//! Not here: the proof as a file (`audit/proof`), and whose record it is. Invariant: nothing is handed out whose path does not
//! lead to a head that is in the registry.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use aegis_audit_chain::note::{Signer, Verifier};
use aegis_audit_chain::record::{AnchorEntry, ClosedEntry, Ending};
use aegis_audit_chain::tree::{Blocks, Frontier, includes};
use aegis_audit_chain::{Hash, Head, Origin, layout};
use parking_lot::Mutex;

use crate::Journal;
use crate::pruned;
use crate::stream_reader::{StreamReader, Wants};

/// One record and why it must be believed to be in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inclusion {
    /// The record as it is stored.
    pub record: Vec<u8>,
    pub index: u64,
    /// Siblings from the leaf to the root.
    pub path: Vec<Hash>,
    /// The stream's head, under the stream's key; under the region's for what only the end of a crashed stream covers.
    pub checkpoint: String,
    /// The stream's key, under the region's.
    pub birth: String,
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum InclusionError {
    #[error("this log has no such record")]
    Unknown,
    #[error("no signed head covers the record yet")]
    Early,
    #[error("the stream is not what was signed, and the record stands behind that")]
    Uncovered,
    #[error("the record was shipped and deleted here; the audit bucket has it")]
    Deleted,
    #[error("the journal is not what was signed")]
    Changed,
    #[error("the journal cannot be read")]
    Io(#[from] io::Error),
}

/// A head and the note that says so.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    head: Head,
    note: String,
}

impl Signed {
    pub(crate) fn by_stream(anchor: &AnchorEntry) -> Self {
        let AnchorEntry { origin, size, root, sig, .. } = anchor;
        let head = Head { origin: origin.clone(), size: *size, root: *root };
        Self { note: head.note_with(sig), head }
    }

    /// The end of a stream whose process died: its key is gone, and the region vouches for what was found. Of one that is not
    /// what was anchored nobody does.
    pub(crate) fn by_region(closed: &ClosedEntry, region: &Signer) -> Option<Self> {
        let ClosedEntry { origin, size, root, .. } = closed;
        match closed.how {
            Ending::Crashed | Ending::IoError => {}
            Ending::Closed | Ending::RolledBack | Ending::Forked => return None,
        }
        let head = Head { origin: origin.clone(), size: *size, root: *root };
        Some(Self { note: head.note(region), head })
    }
}

/// The newest heads of a stream of an earlier life.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reaches {
    /// That it signed.
    pub(crate) anchored: Option<Signed>,
    pub(crate) end: Option<Signed>,
}

/// The streams of earlier lives, by the hashes of their names.
#[derive(Debug)]
pub(crate) struct Earlier {
    pub(crate) region: Verifier,
    pub(crate) heads: BTreeMap<Hash, Reaches>,
    /// The one that was asked about last: to make its blocks takes reading all of it.
    pub(crate) last: Mutex<Option<(Origin, u64, Blocks)>>,
}

/// What the anchor thread knows of the stream being written: a hash for every 4,096 records, so it is cheap to copy.
#[derive(Clone, Debug)]
pub(crate) struct Anchored {
    pub(crate) blocks: Blocks,
    pub(crate) head: Option<AnchorEntry>,
}

impl Default for Anchored {
    fn default() -> Self {
        Self { blocks: Blocks::after(Frontier::new()), head: None }
    }
}

impl Journal {
    /// Shows that a record is in the stream whose name has this hash. Reads files; not for async code.
    pub fn inclusion(&self, stream: Hash, seq: u64) -> Result<Inclusion, InclusionError> {
        let live = &self.shared.origin;
        if Hash::of(live.as_str().as_bytes()) == stream {
            let is_placed = seq < self.head().size;
            let Anchored { blocks, head } = self.shared.anchored.lock().clone();
            return match head.filter(|head| seq < head.size) {
                Some(head) => self.prove(Signed::by_stream(&head), seq, &blocks),
                None if is_placed => Err(InclusionError::Early),
                None => Err(InclusionError::Unknown),
            };
        }
        let Reaches { anchored, end } =
            self.earlier.heads.get(&stream).ok_or(InclusionError::Unknown)?;
        let covers = |signed: &&Signed| seq < signed.head.size;
        let signed = anchored.as_ref().filter(covers).or(end.as_ref().filter(covers));
        let signed = signed.ok_or(InclusionError::Uncovered)?.clone();
        let Head { origin, size, .. } = &signed.head;
        let mut last = self.earlier.last.lock();
        let known = last.take().filter(|(of, upto, _)| (of, upto) == (origin, size));
        let (_, _, blocks) = last.insert(match known {
            Some(known) => known,
            None => (origin.clone(), *size, self.blocks(&signed.head)?),
        });
        self.prove(signed, seq, blocks)
    }

    /// The blocks of a stream that is not written any more.
    fn blocks(&self, head: &Head) -> Result<Blocks, InclusionError> {
        let pruned = pruned::read(&self.dir, &head.origin, &self.earlier.region)?;
        let before = pruned.map_or_else(Frontier::new, |pruned| pruned.walker.tree().clone());
        let mut blocks = Blocks::after(before);
        let mut reader = StreamReader::new(&self.dir, head.origin.clone(), blocks.size());
        reader.read(head.size, &mut |_, record| {
            blocks.push(Hash::leaf(record));
            Wants::More
        })?;
        Ok(blocks)
    }

    fn prove(
        &self,
        signed: Signed,
        seq: u64,
        blocks: &Blocks,
    ) -> Result<Inclusion, InclusionError> {
        let Signed { head: Head { origin, size, root }, note: checkpoint } = signed;
        let (mut leaves, mut found) = (BTreeMap::new(), None);
        for (start, end) in blocks.needed(seq, size) {
            let mut reader = StreamReader::new(&self.dir, origin.clone(), start);
            reader.read(end, &mut |at, record| {
                leaves.insert(at, Hash::leaf(record));
                if at == seq {
                    found = Some(record.to_vec());
                }
                Wants::More
            })?;
        }
        // Files go from the beginning of a stream.
        let record = found.ok_or(InclusionError::Deleted)?;
        let is_here = blocks.size() >= size;
        let missing = if is_here { InclusionError::Deleted } else { InclusionError::Changed };
        let path = blocks.path(seq, size, &leaves).ok_or(missing)?;
        if !includes(size, root, (seq, Hash::leaf(&record)), &path) {
            return Err(InclusionError::Changed);
        }
        let birth = fs::read_to_string(self.dir.join(layout::genesis_note(&origin)))?;
        Ok(Inclusion { record, index: seq, path, checkpoint, birth })
    }
}
