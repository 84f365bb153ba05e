//! The journal read for people and machines: JSON lines and metrics.
//!
//! Laid out with the workspace; its modules follow.
