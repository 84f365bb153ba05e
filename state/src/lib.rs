//! Hot state: replay, rates and budgets behind one trait.
//!
//! Laid out with the workspace; its modules follow.
