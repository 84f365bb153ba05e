//! Streams whose keys are believed up to a head and no further, because somebody else may have had them since.
//!
//! Not here: the registry's own word for it (`stream_revoked`). Invariant: the line is given by a way that neither the log's operator nor
//! a thief controls, so it holds whatever the log says; of one stream there is one.

use std::fmt;

use aegis_audit_chain::{Hash, Head, Origin};

use crate::TrustError;

/// How far a stream is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked(Head);

impl Revoked {
    pub fn new(head: Head) -> Self {
        Self(head)
    }

    /// Reads what stands behind the word `revoke`: name, size, root.
    pub(crate) fn parse(
        line: usize,
        (origin, size, root): (&str, &str, &str),
    ) -> Result<Self, TrustError> {
        let wrong = || TrustError::Revoked(line);
        let origin = Origin::parse(origin).ok().filter(|origin| !origin.is_registry());
        let root = Hash::parse_standard(root).ok_or_else(wrong)?;
        let number: u64 = size.parse().map_err(|_| wrong())?;
        // Of nothing there is one root, and a number has one text.
        let fits = number.to_string() == size && (number > 0 || root == Hash::empty_root());
        let origin = origin.filter(|_| fits).ok_or_else(wrong)?;
        Ok(Self(Head { origin, size: number, root }))
    }

    /// The head that stands, and all before it.
    pub fn head(&self) -> &Head {
        &self.0
    }

    /// Whether a head of this stream is believed where the records are not at hand: that one alone. Whoever has the key signs a
    /// smaller one over other records just as well.
    pub fn believes(&self, head: &Head) -> bool {
        *head == self.0
    }
}

impl fmt::Display for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Head { origin, size, root } = &self.0;
        write!(f, "revoke {origin} {size} {}", root.standard())
    }
}
