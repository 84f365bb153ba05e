//! Packages out of real journals, and everything that may be done to one before it is checked.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and it reads real journals"
)]

mod attacks;
mod python;
mod support;
mod whole;
