//! One record of a stream by its number, and its path: by the segment's index, and without the other records.
//!
//! Not here: a whole segment (`log`), the proof as a file (`audit/proof`). Invariant: of the objects that hold records one
//! range is read, whatever the stream's length, and a record is handed out only with the hash that its index has for it.

use aegis_audit_chain::segment::{Entries, SegmentError};
use aegis_audit_chain::source::{Indexed, SourceError};
use aegis_audit_chain::{Hash, Origin, layout};
use aegis_audit_index::{Index, path, unpack_member};

use super::log::{BucketLog, causes};

impl BucketLog<'_> {
    /// The record of that number, and its path in the tree of `size`; `None` where no segments reach that far.
    pub(super) fn one(
        &self,
        origin: &Origin,
        (seq, size): (u64, u64),
    ) -> Result<Option<Indexed>, SourceError> {
        let places = self.segments(origin);
        let places = places.filter(|(first, end)| seq < *end && *first < size);
        let (mut indexes, mut stored_bytes, mut first_at) = (Vec::new(), 0, None);
        for at in places {
            let (index, bytes) = self.index(origin, at)?;
            if first_at.is_none() {
                (first_at, stored_bytes) = (Some(at), bytes);
            }
            indexes.push(index);
        }
        let (Some(at), Some(index)) = (first_at, indexes.first()) else { return Ok(None) };
        let key = layout::segment_records(origin, at);
        let broken = || SourceError::Broken { path: key.clone(), why: SegmentError::Index };
        let Some(place) = index.place(seq, stored_bytes) else { return Ok(None) };
        let bytes = self.range(&key, place.bytes)?;
        let records = unpack_member(&bytes).ok_or_else(broken)?;
        let nth = usize::try_from(place.nth).unwrap_or(usize::MAX);
        let record = Entries(&records).nth(nth).and_then(Result::ok).ok_or_else(broken)?;
        let leaf = seq.checked_sub(index.first()).and_then(|at| usize::try_from(at).ok());
        if leaf.and_then(|at| index.leaves.get(at)) != Some(&Hash::leaf(record)) {
            return Err(broken());
        }
        let record = record.to_vec();
        Ok(path(&indexes, (seq, size)).map(|path| Indexed { record, path }))
    }

    /// A segment's index, and the length of the object it is of.
    fn index(&self, origin: &Origin, at: (u64, u64)) -> Result<(Index, u64), SourceError> {
        let (manifest, _) = self.manifest(origin, at)?;
        let key = layout::segment_index(origin, at);
        let index = Index::of(&manifest, &self.object(&key)?);
        let wrong = || SourceError::Broken { path: key, why: SegmentError::Index };
        Ok((index.ok_or_else(wrong)?, manifest.stored.bytes))
    }

    fn range(&self, key: &str, bytes: std::ops::Range<u64>) -> Result<bytes::Bytes, SourceError> {
        let read = self.bucket().read_range(key, (self.version(key)?, bytes));
        read.map_err(|error| SourceError::Unreadable { path: key.to_owned(), why: causes(&error) })
    }
}
