//! The rooms a call walks through, in this order and no other.
//!
//! Not here: room 6, which dials (`rooms::forward` in the gateway). Invariant: `seal` stands between judging and
//! forwarding; there is no way around it.

pub mod approve;
pub mod gather;
pub mod identify;
pub mod judge;
pub mod mcp;
mod overrun;
pub mod prepare;
pub mod read;
pub mod seal;
pub mod settle;
mod unsent;
