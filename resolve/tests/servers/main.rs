//! The resolver against name servers on loopback that rebind, stall, fail, truncate and flood.
//!
//! Not here: how long which answer holds, to the moment (`src/limits.rs`, `src/memory.rs`). Invariant: whatever a name
//! server does, a call gets addresses that were all checked, or a refusal, and in bounded time.

#[cfg(test)]
mod answers;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod trouble;
