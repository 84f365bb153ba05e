//! A snapshot that is on its way here, in pieces.
//!
//! Not here: making it the state (`machine`). Invariant: a snapshot is handed on only whole and with the digest it was
//! offered under; what has come stays until another is offered, so that a broken transfer goes on where it stopped.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::message::Digest;

/// More than the ledger's bounds let a snapshot be.
const BYTES_MAX: u64 = 2 * 1_024 * 1_024 * 1_024;

/// What has come of the snapshot that was offered last.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    digest: Digest,
    total: u64,
    bytes: Vec<u8>,
}

impl Incoming {
    fn held(&self) -> u64 {
        u64::try_from(self.bytes.len()).unwrap_or(u64::MAX)
    }

    /// How much of it is here; `None` where it is too large.
    pub(crate) fn offer(&mut self, digest: Digest, total: u64) -> Option<u64> {
        if total > BYTES_MAX {
            return None;
        }
        if digest != self.digest || total != self.total {
            *self = Self { digest, total, bytes: Vec::new() };
        }
        Some(self.held())
    }

    /// Adds a piece if it is the next one, and says how much is here.
    pub(crate) fn piece(&mut self, digest: Digest, from: u64, piece: &[u8]) -> u64 {
        let end = from.checked_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        let fits = end.is_some_and(|end| end <= self.total);
        if digest == self.digest && from == self.held() && fits {
            self.bytes.extend_from_slice(piece);
        }
        self.held()
    }

    /// The snapshot, if all of it is here. If its bytes are not those of the digest, the transfer begins again.
    pub(crate) fn take(&mut self, digest: Digest) -> Option<Arc<Vec<u8>>> {
        if digest != self.digest || self.held() != self.total {
            return None;
        }
        let whole = std::mem::take(self).bytes;
        (*Sha256::digest(&whole) == digest).then(|| Arc::new(whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_goes_on_where_it_stopped_and_is_checked_whole() {
        let digest: Digest = Sha256::digest(b"snapshot").into();
        let mut incoming = Incoming::default();
        assert_eq!(incoming.offer(digest, 8), Some(0));
        assert_eq!(incoming.piece(digest, 0, b"snap"), 4);
        assert_eq!(incoming.piece(digest, 0, b"snap"), 4, "a piece sent twice counts once");
        assert_eq!(incoming.piece(digest, 6, b"ot"), 4, "a piece after a hole is not taken");
        assert!(incoming.take(digest).is_none());
        assert_eq!(incoming.offer(digest, 8), Some(4), "offered again after a break");
        assert_eq!(incoming.piece(digest, 4, b"shot!"), 4, "more than was offered is not taken");
        assert_eq!(incoming.piece(digest, 4, b"shot"), 8);
        assert_eq!(**incoming.take(digest).unwrap(), *b"snapshot");

        assert_eq!(incoming.offer(digest, 8), Some(0));
        assert_eq!(incoming.piece(digest, 0, b"snapshut"), 8);
        assert!(incoming.take(digest).is_none(), "other bytes than the digest's");
        assert_eq!(incoming.offer(digest, 8), Some(0), "begins again");
        assert_eq!(incoming.offer(digest, u64::MAX), None);
    }
}
