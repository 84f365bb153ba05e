//! The doors, the seven rooms and the wiring of `aegis-gateway`.
//!
//! Not here: what is known about policy, tokens, personal data and chains; those are crates of their own.
//! Invariant: Pingora is used in `door` and `rooms::forward` only, so that everything else can be read without it.

pub mod clock;
pub mod context;
pub mod corridor;
pub mod dev;
pub mod door;
pub mod drain;
pub mod files;
pub mod keys;
pub mod recover;
pub mod reload;
pub mod rooms;
pub mod serve;
pub mod shadow;
pub mod wire;
