//! The log file: a header, then one frame a record, then zeros up to the preallocated size.
//!
//! Pure: bytes in, records out. Not here: the chain over the records (`link`). Invariant: a reader never
//! returns a record whose checksum does not match, and never looks past the first frame that is bad.

use crate::{Origin, record};

const MAGIC: &[u8; 8] = b"AEGISWAL";
const VERSION: u32 = 1;
/// Length and checksum before each record.
pub const FRAME_OVERHEAD: usize = 8;
/// How much unused room is passed over at a time.
const BLOCK: usize = 4_096;

/// Why bytes are not a log file, or not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("the file does not begin with a whole log header")]
    Header,
    #[error("the log's format version is {0}, not 1")]
    Version(u32),
    #[error("a frame is longer than a record may be")]
    TooLong,
    #[error("a frame reaches beyond the end of the file")]
    Short,
    #[error("a frame's checksum does not match its record")]
    Checksum,
    #[error("bytes other than zero stand after the last frame")]
    Trailing,
}

/// What a log file says of itself: magic, version, first record, origin, checksum; all numbers big-endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub origin: Origin,
    /// Number of the first record in the file.
    pub first: u64,
}

impl Header {
    pub fn encode(&self) -> Vec<u8> {
        let origin = self.origin.as_str().as_bytes();
        let mut out = Vec::with_capacity(26_usize.saturating_add(origin.len()));
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&self.first.to_be_bytes());
        // An origin has at most 255 bytes.
        out.extend_from_slice(&u16::try_from(origin.len()).unwrap_or(0).to_be_bytes());
        out.extend_from_slice(origin);
        out.extend_from_slice(&crc32c::crc32c(&out).to_be_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Result<(Self, usize), FrameError> {
        let mut rest = bytes;
        if take::<8>(&mut rest)? != *MAGIC {
            return Err(FrameError::Header);
        }
        let version = u32::from_be_bytes(take(&mut rest)?);
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        let first = u64::from_be_bytes(take(&mut rest)?);
        let length = usize::from(u16::from_be_bytes(take(&mut rest)?));
        let (origin, mut rest) = rest.split_at_checked(length).ok_or(FrameError::Header)?;
        let covered = bytes.len().saturating_sub(rest.len());
        let crc = crc32c::crc32c(bytes.get(..covered).ok_or(FrameError::Header)?);
        if u32::from_be_bytes(take(&mut rest)?) != crc {
            return Err(FrameError::Header);
        }
        let origin = std::str::from_utf8(origin).map_err(|_| FrameError::Header)?;
        let origin = Origin::parse(origin).map_err(|_| FrameError::Header)?;
        Ok((Self { origin, first }, bytes.len().saturating_sub(rest.len())))
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], FrameError> {
    let (taken, left) = rest.split_first_chunk::<N>().ok_or(FrameError::Header)?;
    *rest = left;
    Ok(*taken)
}

/// Appends one frame: length, CRC-32C, record.
pub fn push_frame(out: &mut Vec<u8>, record: &[u8]) {
    // A record has at most 16,384 bytes.
    out.extend_from_slice(&u32::try_from(record.len()).unwrap_or(0).to_be_bytes());
    out.extend_from_slice(&crc32c::crc32c(record).to_be_bytes());
    out.extend_from_slice(record);
}

/// One record and where its frame begins in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub offset: usize,
    pub record: &'a [u8],
}

/// Walks the frames of one log file; after the first error it is at its end.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    bytes: &'a [u8],
    offset: usize,
    ended: bool,
}

impl<'a> Frames<'a> {
    /// Reads the header and stands before the first frame.
    pub fn open(bytes: &'a [u8]) -> Result<(Header, Self), FrameError> {
        let (header, offset) = Header::decode(bytes)?;
        Ok((header, Self { bytes, offset, ended: false }))
    }

    /// Goes on at an offset that an earlier walk over the same file ended at.
    pub fn resume(bytes: &'a [u8], offset: usize) -> Self {
        Self { bytes, offset, ended: false }
    }

    /// Where the next frame begins, or where the bad one does.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// What stands from the current offset to the last byte that is not zero.
    pub fn leftover(&self) -> &'a [u8] {
        let mut rest = self.bytes.get(self.offset..).unwrap_or_default();
        // Most of a file is room that was never written; it is passed over by the block.
        while let Some((before, last)) = rest.split_last_chunk::<BLOCK>() {
            if *last != [0; BLOCK] {
                break;
            }
            rest = before;
        }
        let used = rest.iter().rposition(|byte| *byte != 0).map_or(0, |at| at.saturating_add(1));
        rest.get(..used).unwrap_or_default()
    }

    fn read(&mut self) -> Result<Option<Frame<'a>>, FrameError> {
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        let Some((head, body)) = rest.split_first_chunk::<FRAME_OVERHEAD>() else {
            return if self.leftover().is_empty() { Ok(None) } else { Err(FrameError::Trailing) };
        };
        let [l0, l1, l2, l3, c0, c1, c2, c3] = *head;
        let length = u32::from_be_bytes([l0, l1, l2, l3]);
        if length == 0 {
            return if self.leftover().is_empty() { Ok(None) } else { Err(FrameError::Trailing) };
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > record::MAX_BYTES {
            return Err(FrameError::TooLong);
        }
        let record = body.get(..length).ok_or(FrameError::Short)?;
        if crc32c::crc32c(record) != u32::from_be_bytes([c0, c1, c2, c3]) {
            return Err(FrameError::Checksum);
        }
        let frame = Frame { offset: self.offset, record };
        self.offset = self.offset.saturating_add(FRAME_OVERHEAD).saturating_add(length);
        Ok(Some(frame))
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = self.read().transpose();
        self.ended = !matches!(item, Some(Ok(_)));
        item
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(records: &[&[u8]]) -> Vec<u8> {
        let origin = Origin::parse("d/r/w/1").unwrap();
        let mut bytes = Header { origin, first: 5 }.encode();
        for record in records {
            push_frame(&mut bytes, record);
        }
        bytes
    }

    fn read(bytes: &[u8]) -> (Vec<&[u8]>, Option<FrameError>) {
        let (_, frames) = Frames::open(bytes).unwrap();
        let (mut records, mut error) = (Vec::new(), None);
        for item in frames {
            match item {
                Ok(frame) => records.push(frame.record),
                Err(bad) => error = Some(bad),
            }
        }
        (records, error)
    }

    #[test]
    fn frames_read_back_and_zeros_end_the_log() {
        let mut bytes = file(&[b"one", b"two"]);
        let (header, _) = Frames::open(&bytes).unwrap();
        assert_eq!((header.origin.as_str(), header.first), ("d/r/w/1", 5));
        assert_eq!(read(&bytes), (vec![&b"one"[..], b"two"], None));
        for room in [4_096, 8_192, 70_000] {
            bytes.resize(room, 0);
            assert_eq!(read(&bytes), (vec![&b"one"[..], b"two"], None));
            bytes.push(1);
            assert_eq!(read(&bytes).1, Some(FrameError::Trailing));
            bytes.pop();
        }
    }

    #[test]
    fn a_tail_torn_at_any_byte_keeps_every_whole_frame_and_nothing_else() {
        let whole = file(&[b"one", b"three", b"fourth"]);
        let start = file(&[b"one"]).len();
        for cut in start..whole.len() {
            let mut torn = whole[..cut].to_vec();
            torn.resize(4096, 0);
            let (records, error) = read(&torn);
            let kept = [start, file(&[b"one", b"three"]).len()];
            assert_eq!(records.len(), kept.iter().filter(|end| **end <= cut).count(), "cut {cut}");
            // A cut on a frame's edge, or one that left only zeros, is a clean end.
            assert_eq!(
                error.is_none(),
                Frames::resume(&torn, kept[records.len() - 1]).leftover().is_empty()
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_fail(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok((_, frames)) = Frames::open(&bytes) {
                let _count = frames.count();
            }
            let _count = Frames::resume(&bytes, 0).count();
        }

        #[test]
        fn one_flipped_bit_is_never_read_as_a_record(bit in 0usize..8 * 8) {
            let whole = file(&[b"one", b"two"]);
            let mut bytes = whole.clone();
            let at = file(&[b"one"]).len();
            bytes[at + bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(read(&bytes).0, vec![&b"one"[..]]);
        }
    }
}
