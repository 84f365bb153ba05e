//! The seven rooms a call walks through, in this order and no other.
//!
//! Not here: sockets (`door`). Invariant: `seal` stands between judging and forwarding; there is no way around it.

pub mod forward;
pub mod gather;
pub mod identify;
pub mod judge;
pub mod mcp;
pub mod read;
pub mod seal;
pub mod settle;
