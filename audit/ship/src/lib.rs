//! The audit journal on local disk.
//!
//! Laid out with the workspace; its modules follow.
