//! What the voters of a region agree on: agents, policy releases, approvals, sessions, tenants, audit heads and the voters themselves,
//! as one state machine.
//!
//! Pure: the leader stamps the time, and nothing is drawn at random. Not here: how voters agree and where it is kept
//! (`raft-store`), and who may command (`control`).
//! Invariant: the same commands in the same order give the same state, and a command with one client id and serial is
//! applied once, whatever came of it.
#![deny(clippy::wildcard_enum_match_arm, clippy::as_conversions)]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod approvals;
mod clients;
mod command;
mod ledger;
mod releases;
mod sessions;
mod streams;
mod tenants;
mod voters;
mod wire;

#[cfg(test)]
mod tests;

pub use approvals::{
    Approval, ApprovalAct, ApprovalKey, ApprovalRefusal, ApprovalState, Approvals, WaitingCall,
};
pub use command::{Action, Answer, Batch, Command, Outcome, Refusal};
pub use ledger::{Checkpoint, FEATURE_LEVEL, Ledger, WEIGHS_PROOFS};
pub use releases::{
    Author, Brought, CONTENT_BYTES_MAX, Choice, Content, Environment, Line, LineKey, Pointer,
    ReleaseAct, ReleaseRefusal, Releases, Rollout, Taking, Version,
};
pub use sessions::{Session, SessionAct, SessionRefusal, Sessions};
pub use streams::{Doubt, Evidence, Stream, StreamAct, StreamRefusal, Streams};
pub use tenants::{Residency, Tenant, TenantAct, TenantRefusal, Tenants};
pub use voters::{Cosigner, Voter, VoterAct, VoterRefusal, Voters};
