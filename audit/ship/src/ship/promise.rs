//! What a store must keep and for how long: its promise is asked for again and again, and each object's lock is held against it.
//!
//! Not here: what kinds of store can be asked (`audit/bucket`). Invariant: where a retention is asked for, nothing is sent to a store
//! that was never heard to promise it, and no object counts that a store says it keeps for less.

use aegis_audit_bucket::{Bucket, BucketError, Receipt, Retention};
use aegis_domain::Timestamp;

use super::error::ShipError;

/// How long a promise is good for.
const ASK_EVERY_S: u64 = 60 * 60;
/// A process that starts again within a day goes on with what the one before it sent; what was written before that was judged by
/// whoever wrote it, under the retention of then.
const EARLIER_S: u64 = 24 * 60 * 60;

pub(crate) struct Promise {
    /// `None` asks for nothing.
    asked: Option<Retention>,
    /// When it was heard last.
    heard_at: Option<Timestamp>,
    /// Whether the store could not be asked since.
    is_unheard: bool,
    began_s: u64,
    /// Whether the store has said of any object until when it is kept.
    says_until: bool,
}

impl Promise {
    /// Of a process that begins now.
    pub(crate) fn new(asked: Option<Retention>, heard: Heard, now: Timestamp) -> Self {
        let heard_at = match heard {
            Heard::Now => Some(now),
            Heard::Never => None,
        };
        let began_s = now.unix_s();
        Self { asked, heard_at, is_unheard: false, began_s, says_until: false }
    }

    /// Asks the store once its word is old. Less than was asked for is an error until it is mended; a store that has promised and
    /// cannot be asked just now gets what it is sent, and is asked again at the next round.
    pub(crate) fn ask(&mut self, bucket: &Bucket, now: Timestamp) -> Result<(), ShipError> {
        let Some(asked) = self.asked else { return Ok(()) };
        if self.heard_at.is_some_and(|at| is_fresh(at, now)) {
            return Ok(());
        }
        match bucket.check_retention(asked) {
            Ok(()) => (self.heard_at, self.is_unheard) = (Some(now), false),
            Err(error) if self.heard_at.is_none() => return Err(error.into()),
            Err(error @ (BucketError::Retention { .. } | BucketError::Unproven)) => {
                self.heard_at = None;
                return Err(error.into());
            }
            Err(error) => {
                if !self.is_unheard {
                    tracing::warn!(%error, "audit bucket cannot be asked again for its retention");
                }
                self.is_unheard = true;
            }
        }
        Ok(())
    }

    /// Compares how long the store keeps an object with what was asked for.
    pub(crate) fn check(&mut self, receipt: &Receipt) -> Result<(), ShipError> {
        let Some(asked) = self.asked else { return Ok(()) };
        // Some say it of none, and S3 says it to those only who may ask: silence means something once it was said of another.
        self.says_until |= receipt.kept_until.is_some();
        let is_earlier = receipt.written_s.saturating_add(EARLIER_S) < self.began_s;
        if is_earlier || !self.says_until {
            return Ok(());
        }
        Ok(receipt.check_kept(asked)?)
    }
}

/// Whether the store has promised at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Now,
    Never,
}

/// A clock that was set back says nothing about how long ago that was.
fn is_fresh(heard_at: Timestamp, now: Timestamp) -> bool {
    now.unix_s().checked_sub(heard_at.unix_s()).is_some_and(|ago_s| ago_s < ASK_EVERY_S)
}
