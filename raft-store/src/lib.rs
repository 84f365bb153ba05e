//! The region's ledger where it is kept and agreed on: Raft, its log on disk, and its transport.
//!
//! Not here: what a command does (`ledger`), and who may command (`control`). openraft and redb are named in this crate only.
//! Invariant: what was answered for is on the disks of a quorum; what is not known is called unknown.
#![deny(clippy::wildcard_enum_match_arm, clippy::as_conversions)]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod clocks;
mod disk;
mod host;
mod lead;
mod log;
mod machine;
mod members;
mod node;
mod propose;
mod reads;
mod rescue;
mod state;
mod status;
mod talk;
mod types;
mod wire;

#[cfg(test)]
mod tests;

pub use disk::{DiskError, Fatal, Identity, OnFatal};
pub use node::{Door, Node, NodeError, Pace, Settings};
pub use propose::{ProposeError, Wish};
pub use rescue::{Backup, Recovered, recover, restore};
pub use status::Status;
pub use talk::Answers;
pub use wire::tls::{Credentials, TlsError};
