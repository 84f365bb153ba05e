//! The one room with sockets; the others are in the corridor.
//!
//! Not here: whether a call may leave (`aegis_corridor`). Invariant: nothing is dialled without a `Permit`.

pub mod forward;
