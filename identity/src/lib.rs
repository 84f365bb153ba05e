//! Tokens and keys: verify, mint, key sets.
//!
//! Laid out with the workspace; its modules follow.
