//! The policy language: parse, compile to safe Rego, evaluate on the RVM.
//!
//! Laid out with the workspace; its modules follow.
