//! a
//!
//! Not here: b. Invariant: c.
