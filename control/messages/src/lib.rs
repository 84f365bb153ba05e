//! Requests of the control API as its handlers take them, and answers as they are written: strict bodies, pages, shapes, problems.
//!
//! Not here: what is asked for and who may ask (`control`). Invariant: a request is read whole and understood whole or refused,
//! and every refusal has one status and one type.

pub mod clock;
pub mod page;
pub mod problem;
pub mod read;
pub mod shapes;
pub mod stream;
