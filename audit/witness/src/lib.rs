//! Shows the heads of an audit registry to witnesses (<https://c2sp.org/tlog-witness>), and keeps what they say: to the voters of its
//! region as soon as there is a head, to outside witnesses now and then.
//!
//! Not here: the registry and its heads (`audit/ship`), cosignatures and which of them count (`audit/chain`). Invariant: calls
//! never wait for a witness.

mod anchors;
mod ask;
mod channel;
mod edge;
mod region;
mod witnesses;

pub use anchors::{AnchorConfig, AnchorStanding, Anchors};
pub use channel::{Channel, ChannelError, Http};
pub use region::{HttpRegistrar, Registrar, RegistrarError, Voter};
pub use witnesses::{
    Quorum, QuorumStanding, RoundError, WitnessAt, WitnessConfig, WitnessStanding, Witnesses,
};
