//! What a reviewer asks of a policy set: what in it is unwise (`lint`), and what a new version changes (`diff`).
//!
//! Not here: errors, which the language itself reports, and what a policy decides (`policies/engine`). Invariant: what
//! is said of rules follows from `truth`, which proves it for every call that the checks of a tool let through.

pub mod diff;
pub mod lint;
mod truth;
