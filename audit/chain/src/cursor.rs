//! How far a reader of the log has come, and what it reads.
//!
//! Not here: where records come from (`audit/ship` and `aegisctl` read files). Invariant: a cursor names the first
//! record not yet seen, so going on from it shows each record once.

use std::fmt;
use std::str::FromStr;

use crate::Origin;

/// The record that a reader wants next; kept by the reader, as text `<origin>#<number>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub origin: Origin,
    pub seq: u64,
}

/// Why a text is not a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cursor is <origin>#<number>")]
pub struct CursorError;

/// A record as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    pub origin: Origin,
    pub seq: u64,
    pub bytes: Vec<u8>,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.origin, self.seq)
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (origin, seq) = text.rsplit_once('#').ok_or(CursorError)?;
        let origin = Origin::parse(origin).map_err(|_| CursorError)?;
        Ok(Self { origin, seq: seq.parse().map_err(|_| CursorError)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_from_its_text() {
        let cursor = Cursor { origin: Origin::parse("d/r/gw-1/3").unwrap(), seq: 41 };
        assert_eq!(cursor.to_string(), "d/r/gw-1/3#41");
        assert_eq!("d/r/gw-1/3#41".parse(), Ok(cursor));
        for bad in ["d/r/gw-1/3", "d/r/gw-1/3#", "#4", "d/r/gw-1/3#-1"] {
            assert_eq!(bad.parse::<Cursor>(), Err(CursorError), "{bad}");
        }
    }
}
