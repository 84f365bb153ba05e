//! What a gateway writes down about its holds in a shared home, so that its next life can settle them.
//!
//! Not here: where it is written (`aegis-state-embedded`), and settling (`corridor`). Invariant: nothing here fails a call; a
//! note that is lost costs exactness and nothing else, for a hold nobody ends is charged its estimate.

use aegis_domain::{DecisionId, Timestamp};

use crate::Hold;

/// The notes of one gateway.
pub trait Notes: Send + Sync {
    /// A hold is about to be asked for.
    fn begin(&self, hold: &Hold);

    /// It was not granted.
    fn end(&self, id: &DecisionId, now: Timestamp);

    /// A server has its settlement; the note stays until that lasts.
    fn settled(&self, id: &DecisionId, now: Timestamp);

    /// Forgets what is over.
    fn tidy(&self, now: Timestamp);
}
