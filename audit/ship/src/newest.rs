//! The newest signed head of a log, for whoever shows it to others.
//!
//! Not here: signing it (`registry_log`). Invariant: a head that is here is on disk, and none is followed by a smaller one.

use std::sync::Arc;

use parking_lot::Mutex;

/// Where one thread puts heads and others look. Every clone is the same place.
#[derive(Clone, Debug, Default)]
pub struct NewestHead(Arc<Mutex<Held>>);

/// The size of a head and its note, once there is one.
type Held = Option<(u64, Arc<str>)>;

impl NewestHead {
    /// How many records it covers, and the signed note.
    pub fn get(&self) -> Option<(u64, Arc<str>)> {
        self.0.lock().clone()
    }

    pub fn put(&self, size: u64, note: &str) {
        let mut newest = self.0.lock();
        if newest.as_ref().is_none_or(|(known, _)| *known <= size) {
            *newest = Some((size, note.into()));
        }
    }
}
