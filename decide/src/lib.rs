//! judge(): the one function that turns a call, an identity, facts and a snapshot into a decision.
//!
//! Laid out with the workspace; its modules follow.
