//! Records of a log by their numbers, and their paths: by the segments' indexes, and without the other records.
//!
//! Not here: a whole segment (`log`), the proof as a file (`audit/proof`). Invariant: of an object that holds records one range is
//! read, and a record is handed out only with the hash that its index has for it.

use std::ops::Range;
use std::sync::Arc;

use aegis_audit_chain::segment::{Entries, SegmentError};
use aegis_audit_chain::source::{Piece, Pieces, SourceError, Take};
use aegis_audit_chain::{Hash, Origin, layout};
use aegis_audit_index::{GROUP, Index, path, unpack_member};

use crate::log::{BucketLog, causes};

/// Indexes that are kept, of two megabytes each at most.
const KEPT_MAX: usize = 4;

/// One segment's index, how long the object is that it is of, and how long unpacked.
#[derive(Debug)]
pub(crate) struct Indexed {
    origin: Origin,
    index: Index,
    stored_bytes: u64,
    records_bytes: u64,
}

impl Pieces for BucketLog<'_> {
    fn of(&self, log: &Origin) -> Vec<Piece> {
        self.segments(log).collect()
    }

    fn times(&self, log: &Origin, piece: Piece) -> Result<(u64, u64), SourceError> {
        let (manifest, _) = self.manifest(log, piece)?;
        Ok((manifest.from_ts, manifest.to_ts))
    }

    fn records(
        &self,
        log: &Origin,
        piece: Piece,
        span: Range<u64>,
        take: &mut Take<'_>,
    ) -> Result<(), SourceError> {
        let span = span.start.max(piece.0)..span.end.min(piece.1);
        let (Some(last), false) = (span.end.checked_sub(1), span.is_empty()) else { return Ok(()) };
        let indexed = self.indexed(log, piece)?;
        let (index, stored_bytes) = (&indexed.index, indexed.stored_bytes);
        let key = layout::segment_records(log, piece);
        let broken = || SourceError::Broken { path: key.clone(), why: SegmentError::Index };
        let whole = index.place(span.start, stored_bytes).zip(index.place(last, stored_bytes));
        let (from, to) = whole.ok_or_else(broken)?;
        let bytes = self.range(&key, from.bytes.start..to.bytes.end)?;
        let mut seq = span.start.saturating_sub(from.nth);
        let mut rest = bytes.as_ref();
        while seq < span.end {
            let member = index.place(seq, stored_bytes).map(|place| place.bytes);
            let length = member.and_then(|it| usize::try_from(it.end.checked_sub(it.start)?).ok());
            let (member, behind) =
                length.and_then(|length| rest.split_at_checked(length)).ok_or_else(broken)?;
            rest = behind;
            let records = unpack_member(member, indexed.records_bytes).ok_or_else(broken)?;
            for record in Entries(&records) {
                let record = record.map_err(|_| broken())?;
                if index.leaf(seq) != Some(&Hash::leaf(record)) {
                    return Err(broken());
                }
                if span.contains(&seq) {
                    take(seq, record);
                }
                seq = seq.saturating_add(1);
            }
            // A member ends where its group does, or the segment.
            if !seq.is_multiple_of(GROUP) && seq != index.size() {
                return Err(broken());
            }
        }
        Ok(())
    }

    fn leaves(&self, log: &Origin, piece: Piece) -> Result<Vec<Hash>, SourceError> {
        Ok(self.indexed(log, piece)?.index.leaves.clone())
    }

    fn path(
        &self,
        log: &Origin,
        (seq, size): (u64, u64),
    ) -> Result<Option<Vec<Hash>>, SourceError> {
        let pieces = self.segments(log).filter(|(first, end)| seq < *end && *first < size);
        let indexes =
            pieces.map(|piece| self.indexed(log, piece)).collect::<Result<Vec<_>, _>>()?;
        let indexes: Vec<&Index> = indexes.iter().map(|indexed| &indexed.index).collect();
        Ok(path(&indexes, (seq, size)))
    }
}

impl BucketLog<'_> {
    fn indexed(&self, log: &Origin, piece: Piece) -> Result<Arc<Indexed>, SourceError> {
        let is_it = |known: &&Arc<Indexed>| {
            known.origin == *log && (known.index.first(), known.index.size()) == piece
        };
        if let Some(known) = self.indexed.lock().iter().find(is_it) {
            return Ok(Arc::clone(known));
        }
        let (manifest, _) = self.manifest(log, piece)?;
        let key = layout::segment_index(log, piece);
        let index = Index::of(&manifest, &self.object(&key)?);
        let wrong = || SourceError::Broken { path: key, why: SegmentError::Index };
        let index = index.ok_or_else(wrong)?;
        let (stored_bytes, records_bytes) = (manifest.stored.bytes, manifest.records.bytes);
        let origin = log.clone();
        let indexed = Arc::new(Indexed { origin, index, stored_bytes, records_bytes });
        let mut kept = self.indexed.lock();
        kept.push_back(Arc::clone(&indexed));
        if kept.len() > KEPT_MAX {
            kept.pop_front();
        }
        Ok(indexed)
    }

    fn range(&self, key: &str, bytes: Range<u64>) -> Result<bytes::Bytes, SourceError> {
        let read = self.bucket().read_range(key, (self.version(key)?, bytes));
        read.map_err(|error| SourceError::Unreadable { path: key.to_owned(), why: causes(&error) })
    }
}
