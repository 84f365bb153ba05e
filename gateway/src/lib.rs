//! The doors, the room that dials and the wiring of `aegis-gateway`.
//!
//! Not here: the other rooms and their order (`aegis_corridor`), and what is known about policy, tokens and chains.
//! Invariant: Pingora is used in `door` and `rooms::forward` only, so that everything else can be read without it.

mod closing;
pub mod dev;
pub mod door;
pub mod proofs;
pub mod reload;
pub mod rooms;
pub mod serve;
pub mod wire;
