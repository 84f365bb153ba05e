//! What stands between a socket and Pingora, on either side, so that it reads one judged message at a time; and the
//! joining of two sockets that it never sees.
//!
//! Not here: deciding anything, and whose connection it is (`gateway::door`). Invariant: Pingora is handed exactly what was
//! checked, once, and a connection comes back with whatever was not for it.

mod gated;
pub mod handshake;
mod passes_on;
mod prefixed;
pub mod replay;
mod splice;
pub mod upstream;

pub use gated::Gated;
pub use prefixed::Prefixed;
pub use splice::{Carried, Ended, splice};
