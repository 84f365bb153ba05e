//! The chunked coding, checked byte by byte (RFC 9112 §7.1).
//!
//! Not here: what the content says. Invariant: a chunk is a size in hexadecimal digits, CRLF, that many bytes, CRLF, and
//! nothing else; there are no extensions, whose line ends readers are known to disagree on (CVE-2025-55315).

use crate::fields::{Field, recognise};
use crate::lines::{FirstLine, LineScan, Scanned, lines};
use crate::{Limits, Progress, Refusal};

/// Where the reading of one chunked body stands.
#[derive(Clone, Debug)]
pub(crate) struct Chunks {
    place: Place,
    content_bytes: u64,
    trailers: Vec<u8>,
    scan: LineScan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Size { size: u64, digits: u8 },
    SizeLf { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    Trailers,
}

/// Enough for any size that fits 64 bits.
const DIGITS_MAX: u8 = 16;

/// Trailers that would frame, route, identify or change the content after it was judged (RFC 9110 §6.5.1), beside the
/// names that decide something in a head.
const NOT_IN_TRAILERS: [&str; 10] = [
    "age",
    "cache-control",
    "content-encoding",
    "content-range",
    "cookie",
    "max-forwards",
    "proxy-authenticate",
    "set-cookie",
    "trailer",
    "www-authenticate",
];

impl Chunks {
    pub(crate) fn new() -> Self {
        Self {
            place: Place::Size { size: 0, digits: 0 },
            content_bytes: 0,
            trailers: Vec::new(),
            scan: LineScan::new(FirstLine::Field, Limits::TRAILERS),
        }
    }

    pub(crate) fn content_bytes(&self) -> u64 {
        self.content_bytes
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Progress, Refusal> {
        let mut at = 0_usize;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let taken = match self.place {
                Place::Trailers => match self.take_trailers(rest)? {
                    Progress::More => return Ok(Progress::More),
                    Progress::Ends { at: end } => {
                        return Ok(Progress::Ends { at: at.saturating_add(end) });
                    }
                },
                Place::Data { left } => self.take_data(rest, left),
                Place::Size { .. } | Place::SizeLf { .. } | Place::DataCr | Place::DataLf => {
                    self.place = match rest.first() {
                        Some(&byte) => self.place.after(byte)?,
                        None => self.place,
                    };
                    1
                }
            };
            at = at.saturating_add(taken);
        }
        Ok(Progress::More)
    }

    fn take_data(&mut self, rest: &[u8], left: u64) -> usize {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
        let taken_bytes = u64::try_from(taken).unwrap_or(left);
        self.content_bytes = self.content_bytes.saturating_add(taken_bytes);
        let left = left.saturating_sub(taken_bytes);
        self.place = if left == 0 { Place::DataCr } else { Place::Data { left } };
        taken
    }

    fn take_trailers(&mut self, rest: &[u8]) -> Result<Progress, Refusal> {
        let before = self.trailers.len();
        let room = Limits::TRAILERS.head_bytes_max.saturating_add(1).saturating_sub(before);
        self.trailers.extend_from_slice(rest.get(..room).unwrap_or(rest));
        match self.scan.scan(&self.trailers)? {
            Scanned::Partial => Ok(Progress::More),
            Scanned::Complete { bytes } => {
                let section = self.trailers.get(..bytes).unwrap_or_default();
                lines(section).try_for_each(check_trailer)?;
                Ok(Progress::Ends { at: bytes.saturating_sub(before) })
            }
        }
    }
}

impl Place {
    /// Where one byte of a line between data leads.
    fn after(self, byte: u8) -> Result<Self, Refusal> {
        match (self, byte) {
            (Place::Size { digits: 0, .. }, b'\r') => Err(Refusal::ChunkSize),
            (Place::Size { size, .. }, b'\r') => Ok(Place::SizeLf { size }),
            (Place::Size { digits: 1.., .. }, b';') => Err(Refusal::ChunkExtension),
            (Place::Size { size, digits }, _) => {
                let digit = char::from(byte).to_digit(16).ok_or(Refusal::ChunkSize)?;
                if digits == DIGITS_MAX {
                    return Err(Refusal::ChunkSize);
                }
                let size = size.wrapping_shl(4) | u64::from(digit);
                Ok(Place::Size { size, digits: digits.saturating_add(1) })
            }
            (Place::SizeLf { size: 0 }, b'\n') => Ok(Place::Trailers),
            (Place::SizeLf { size }, b'\n') => Ok(Place::Data { left: size }),
            (Place::SizeLf { .. }, _) => Err(Refusal::LineEnd),
            (Place::DataCr, b'\r') => Ok(Place::DataLf),
            (Place::DataLf, b'\n') => Ok(Place::Size { size: 0, digits: 0 }),
            (Place::DataCr | Place::DataLf, _) => Err(Refusal::ChunkEnd),
            (Place::Data { .. } | Place::Trailers, _) => Ok(self),
        }
    }
}

fn check_trailer(line: &[u8]) -> Result<(), Refusal> {
    let name = Field::parse(line)?.name;
    let is_listed = NOT_IN_TRAILERS.iter().any(|text| name.eq_ignore_ascii_case(text.as_bytes()));
    match recognise(name)? {
        None if !is_listed => Ok(()),
        None | Some(_) => Err(Refusal::TrailerName),
    }
}
