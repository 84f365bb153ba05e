//! The latest instant that a token of this process says it was issued at.
//!
//! Not here: the tokens. Revocations stop what was issued before an instant; a clock that was set back meanwhile would put
//! that instant before tokens that are already out. Invariant: it never goes back.

use std::sync::atomic::{AtomicU64, Ordering};

use aegis_domain::Timestamp;

#[derive(Debug, Default)]
pub(crate) struct Issued(AtomicU64);

impl Issued {
    /// To be said before the token leaves.
    pub(crate) fn at(&self, now: Timestamp) {
        self.0.fetch_max(now.unix_ns(), Ordering::SeqCst);
    }

    /// `None` if no token was.
    pub(crate) fn latest(&self) -> Option<Timestamp> {
        let latest = self.0.load(Ordering::SeqCst);
        (latest > 0).then(|| Timestamp::from_unix_ns(latest))
    }
}
