//! The redis home on real servers: the suite every home must pass, and what only shared state promises.
//!
//! Not here: starting servers (`aegis_testkit::hot`). Invariant: each test has servers of its own.

mod conforms;
mod exact;
mod failover;
mod figures;
mod others;
mod outages;
mod stand;
mod steps;
