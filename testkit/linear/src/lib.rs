//! Judges histories of concurrent calls: whether one order of them, true to real time, explains every reply (Herlihy and Wing,
//! "Linearizability", TOPLAS 1990).
//!
//! Pure. Not here: who calls and writes the history down. Invariant: `Linear` comes with an order that anybody can replay, and
//! `Violated` is said only after every order was ruled out.

mod bits;
mod history;
mod models;
mod rollouts;
mod search;

#[cfg(test)]
mod tests;

pub use history::{Model, Of, Operation, Undecided, Verdict, Violation, check, check_by};
pub use models::{
    Grant, GrantCall, GrantReply, Pointer, PointerCall, PointerReply, Register, RegisterCall,
    RegisterReply,
};
pub use rollouts::{Candidate, Drive, Line, LineCall, LineReply, Pointed, Stand, Why};
