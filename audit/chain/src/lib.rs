//! The audit record, its hash chain and Merkle tree, heads, and the verifier.
//!
//! Laid out with the workspace; its modules follow.
