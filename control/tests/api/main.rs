//! The control API on real sockets, called as its users call it.
//!
//! Not here: the rules of the registry and of tokens, which are tested where they stand. Invariant: each test has a node of
//! its own on a port of its own.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests fail by panicking"
)]
#![expect(clippy::print_stdout, reason = "says what was tried and what was skipped")]

mod approvals;
mod attacks;
mod budgets;
mod chronicle;
mod clients;
mod definitions;
mod enrolment;
mod follow;
mod fuzz;
mod node;
mod openapi;
mod people;
mod policies;
mod provider;
mod raw;
mod refusals;
mod regions;
mod releases;
mod roles;
mod rollouts;
mod stopping;
mod tls;
mod tokens;
mod voters;
mod witness;
