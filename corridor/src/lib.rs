//! The corridor: who calls, what they want, what is decided of it, and that it is on record before it leaves.
//!
//! Not here: sockets, HTTP versions and statuses (the gateway's doors), and dialling (its room `forward`). Invariant: no
//! Pingora here, so that the order of the checks can be read, built and tested without a proxy.

pub mod allowance;
pub mod approvals;
mod bounds;
pub mod clock;
pub mod context;
pub mod credential;
pub mod drain;
pub mod headers;
pub mod recover;
pub mod refusal;
mod registered;
pub mod rooms;
pub mod roster;
pub mod shadow;
pub mod tenants;
pub mod via;
mod walk;
pub mod warnings;

pub use walk::{Admission, BodySource, Corridor};
