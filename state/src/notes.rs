//! What a gateway writes down about its holds in a shared home, so that its next life can settle them.
//!
//! Not here: where it is written (`aegis-state-embedded`), and settling (`corridor`). Invariant: a note that is lost
//! costs exactness and nothing else, for a hold nobody ends is charged its estimate; only a lease, which is settled by its
//! notes, stands and falls with them.

use aegis_domain::{DecisionId, Timestamp};

use crate::{Hold, StateError};

/// A hold that an earlier life left open, and the calls that were paid out of it: it is settled at what all of them cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftHold {
    pub hold: Hold,
    /// Empty for the hold of one call, which has the same id.
    pub draws: Vec<DecisionId>,
}

/// The notes of one gateway.
pub trait Notes: Send + Sync {
    /// A hold is about to be asked for.
    fn begin(&self, hold: &Hold);

    /// A hold out of which calls will be paid is about to be asked for. It must not be where this fails.
    fn lease(&self, hold: &Hold) -> Result<(), StateError>;

    /// A call is about to be paid out of such a hold. It must not be where this fails: its cost would be forgotten.
    fn draw(&self, lease: &DecisionId, id: &DecisionId) -> Result<(), StateError>;

    /// It was not granted.
    fn end(&self, id: &DecisionId, now: Timestamp);

    /// A server has its settlement; the note stays until that lasts.
    fn settled(&self, id: &DecisionId, now: Timestamp);

    /// Forgets what is over.
    fn tidy(&self, now: Timestamp);
}
