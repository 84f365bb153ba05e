//! Shows the heads of an audit registry to witnesses (<https://c2sp.org/tlog-witness>), and keeps what they say.
//!
//! Not here: the registry and its heads (`audit/ship`), cosignatures and which of them count (`audit/chain`). Invariant: calls
//! never wait for a witness.

mod ask;
mod edge;
mod witnesses;

pub use witnesses::{RoundError, WitnessAt, WitnessConfig, WitnessStanding, Witnesses};
