//! Segments: the records of a stream as they lie in object storage, and the signed manifest that says what is in one.
//!
//! Pure: bytes in, bytes out. Not here: compression and objects (`audit/ship`). Invariant: the bytes of a segment are whole
//! C2SP entry bundles, one after the other (<https://c2sp.org/tlog-tiles>), and a manifest covers every one of them.

use crate::frame::{Header, push_frame};
use crate::note::{NoteError, Signer, Verifier};
use crate::{Hash, Origin, record};

const TITLE: &str = "aegis.dev/audit/segment@v2";
/// A segment ends after this many records.
pub const RECORDS_MAX: u64 = 65_536;
/// A segment ends before it would be longer than this.
pub const BYTES_MAX: usize = 48 * 1024 * 1024;

/// Why a segment does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    #[error("the manifest does not hold: {0}")]
    Note(NoteError),
    #[error("the manifest is of another place than its name says")]
    Misplaced,
    #[error("the manifest does not follow the one before it")]
    Previous,
    #[error("the segment is not the one that its manifest was signed for")]
    Stored,
    #[error("the segment's records are not those that its manifest was signed for")]
    Records,
    #[error("the segment holds bytes that are no records")]
    Framing,
    #[error("an object was written {0} times: the oldest is read, and the others are not ours")]
    Versions(usize),
    #[error("a delete marker was put over an object")]
    DeleteMarker,
    #[error("an object that the manifest names is gone")]
    Gone,
    #[error("the index is not that of the segment's records")]
    Index,
    #[error("an object stands here that the log did not write")]
    Stray,
}

/// Length and SHA-256 of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    pub bytes: u64,
    pub sha256: Hash,
}

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        Self { bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX), sha256: Hash::of(bytes) }
    }
}

/// What a segment holds and where it stands in its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub origin: Origin,
    /// Number of the first record.
    pub first: u64,
    /// Records of the stream up to the segment's end.
    pub size: u64,
    /// Root over all of these.
    pub root: Hash,
    /// SHA-256 of the manifest before, as a note; zero for the first.
    pub previous: Hash,
    /// The object as it is stored: compressed.
    pub stored: Digest,
    /// The records in their bundles.
    pub records: Digest,
    /// The object that says where each record lies.
    pub index: Digest,
    /// How many records of the registry were here before this segment: it was never shorter since.
    pub registry: u64,
    /// Wall clocks of the first and the last record.
    pub from_ts: u64,
    pub to_ts: u64,
}

impl Manifest {
    /// The text that the region key signs.
    fn text(&self) -> String {
        let Self { origin, first, size, root, previous, stored, records, .. } = self;
        let Self { index, registry, from_ts, to_ts, .. } = self;
        let (root, previous) = (root.standard(), previous.standard());
        let line = |digest: &Digest| format!("{} {}", digest.bytes, digest.sha256.standard());
        let (stored, records, index) = (line(stored), line(records), line(index));
        let place = format!("{TITLE}\n{origin}\n{first}\n{size}\n{root}\n{previous}\n");
        format!("{place}{stored}\n{records}\n{index}\n{registry}\n{from_ts} {to_ts}\n")
    }

    pub fn note(&self, region: &Signer) -> String {
        region.note(&self.text())
    }

    /// Reads a manifest that the region key signed, and what the next one must call its `previous`.
    pub fn open(note: &str, region: &Verifier) -> Result<(Self, Hash), SegmentError> {
        let text = region.open(note).map_err(SegmentError::Note)?;
        let manifest = Self::parse(text).ok_or(SegmentError::Note(NoteError::Malformed))?;
        Ok((manifest, Hash::of(note.as_bytes())))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.split('\n');
        let mut next = || lines.next();
        if next()? != TITLE {
            return None;
        }
        let digest = |line: &str| {
            let (bytes, sha256) = line.split_once(' ')?;
            Some(Digest { bytes: bytes.parse().ok()?, sha256: Hash::parse_standard(sha256)? })
        };
        let (origin, first, size) = (next()?, next()?, next()?);
        let (root, previous) = (next()?, next()?);
        let (stored, records) = (next()?, next()?);
        let (index, registry) = (next()?, next()?);
        let (from_ts, to_ts) = next()?.split_once(' ')?;
        let manifest = Self {
            origin: Origin::parse(origin).ok()?,
            first: first.parse().ok()?,
            size: size.parse().ok()?,
            root: Hash::parse_standard(root)?,
            previous: Hash::parse_standard(previous)?,
            stored: digest(stored)?,
            records: digest(records)?,
            index: digest(index)?,
            registry: registry.parse().ok()?,
            from_ts: from_ts.parse().ok()?,
            to_ts: to_ts.parse().ok()?,
        };
        // One meaning has one text.
        (manifest.first < manifest.size && manifest.text() == text).then_some(manifest)
    }

    /// Whether this manifest may stand after `before`, which ends where it begins.
    pub fn follows(&self, before: Option<&(Manifest, Hash)>) -> bool {
        match before {
            None => self.first == 0 && self.previous == Hash::ZERO,
            Some((before, hash)) => {
                self.origin == before.origin && self.first == before.size && self.previous == *hash
            }
        }
    }

    /// The records as a log file (`frame`) that begins where the segment does.
    pub fn as_log_file(&self, bundles: &[u8]) -> Result<Vec<u8>, SegmentError> {
        if Digest::of(bundles) != self.records {
            return Err(SegmentError::Records);
        }
        let mut file = Header { origin: self.origin.clone(), first: self.first }.encode();
        file.reserve(bundles.len());
        let mut count = 0_u64;
        for record in Entries(bundles) {
            push_frame(&mut file, record?);
            count = count.saturating_add(1);
        }
        let whole = self.first.checked_add(count) == Some(self.size);
        if whole { Ok(file) } else { Err(SegmentError::Framing) }
    }
}

/// Appends one entry of a bundle: its length in two bytes, big-endian, and the record.
pub fn push_entry(out: &mut Vec<u8>, record: &[u8]) {
    // A record has at most 16,384 bytes.
    out.extend_from_slice(&u16::try_from(record.len()).unwrap_or(0).to_be_bytes());
    out.extend_from_slice(record);
}

/// Walks the records of bundles; nothing may be left over.
#[derive(Clone, Copy, Debug)]
pub struct Entries<'a>(pub &'a [u8]);

impl<'a> Iterator for Entries<'a> {
    type Item = Result<&'a [u8], SegmentError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let entry = self.0.split_first_chunk::<2>().and_then(|(length, rest)| {
            let length = usize::from(u16::from_be_bytes(*length));
            rest.split_at_checked(length)
        });
        match entry {
            Some((record, rest)) if !record.is_empty() && record.len() <= record::MAX_BYTES => {
                self.0 = rest;
                Some(Ok(record))
            }
            _ => {
                self.0 = &[];
                Some(Err(SegmentError::Framing))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::Frames;
    use crate::note::SecretKey;

    fn bundles(records: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for record in records {
            push_entry(&mut out, record);
        }
        out
    }

    fn manifest(first: u64, records: &[&[u8]]) -> Manifest {
        Manifest {
            origin: Origin::parse("d/r/gw-1/3").unwrap(),
            first,
            size: first + records.len() as u64,
            root: Hash::leaf(b"root"),
            previous: Hash::ZERO,
            stored: Digest::of(b"stored"),
            records: Digest::of(&bundles(records)),
            index: Digest::of(b"index"),
            registry: 3,
            from_ts: 5,
            to_ts: 7,
        }
    }

    #[test]
    fn a_manifest_has_one_text_and_counts_only_under_the_region_key() {
        let region = Signer::new("d/r/registry/1", SecretKey::from_seed(&[1; 32]));
        let other = Signer::new("d/r/registry/1", SecretKey::from_seed(&[2; 32]));
        let manifest = manifest(0, &[b"one", b"two"]);
        let note = manifest.note(&region);
        let opened = Manifest::open(&note, region.verifier()).unwrap();
        assert_eq!(opened, (manifest.clone(), Hash::of(note.as_bytes())));
        assert!(Manifest::open(&manifest.note(&other), region.verifier()).is_err());
        for bad in ["\n0\n", "\n00\n", "\n2 \n", "more\n"] {
            let text = manifest.text().replace("\n0\n2\n", bad);
            assert_eq!(Manifest::parse(&text), None, "{bad:?}");
        }
    }

    #[test]
    fn a_manifest_follows_only_the_one_that_ends_where_it_begins() {
        let region = Signer::new("d/r/registry/1", SecretKey::from_seed(&[1; 32]));
        let first = manifest(0, &[b"one", b"two"]);
        let before = Manifest::open(&first.note(&region), region.verifier()).unwrap();
        let second = Manifest { previous: before.1, ..manifest(2, &[b"three"]) };
        assert!(first.follows(None) && second.follows(Some(&before)));
        assert!(!second.follows(None) && !first.follows(Some(&before)));
        assert!(!Manifest { previous: Hash::ZERO, ..second }.follows(Some(&before)));
    }

    #[test]
    fn a_segment_becomes_the_log_file_it_was_made_from() {
        let records: [&[u8]; 2] = [b"one", b"two"];
        let file = manifest(4, &records).as_log_file(&bundles(&records)).unwrap();
        let (header, frames) = Frames::open(&file).unwrap();
        assert_eq!((header.origin.as_str(), header.first), ("d/r/gw-1/3", 4));
        let read: Vec<_> = frames.map(|frame| frame.unwrap().record).collect();
        assert_eq!(read, records);
        let (more, fewer) = (manifest(4, &[b"one", b"two", b"x"]), bundles(&[b"one"]));
        assert_eq!(more.as_log_file(&bundles(&records)), Err(SegmentError::Records));
        let lies = Manifest { records: Digest::of(&fewer), ..manifest(4, &records) };
        assert_eq!(lies.as_log_file(&fewer), Err(SegmentError::Framing));
    }

    proptest! {
        #[test]
        fn entries_read_back_and_nothing_is_left_over(
            records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..9),
            extra in proptest::collection::vec(any::<u8>(), 1..9),
        ) {
            let slices: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
            let mut bytes = bundles(&slices);
            let read: Result<Vec<_>, _> = Entries(&bytes).collect();
            prop_assert_eq!(read, Ok(slices));
            bytes.extend_from_slice(&extra);
            // No bytes make the walk fail, or go on for ever.
            let _count = Entries(&bytes).count();
        }
    }
}
