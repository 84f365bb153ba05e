//! Load on the gateway over HTTP: open-loop latency, closed-loop throughput, memory, side by side with a bare proxy.
//!
//! Not here: anything the gateway is made of; it is measured from outside, as the binary that users run.
//! Invariant: all load goes to loopback, is bounded in count and time, and stops by itself.

pub mod call;
mod certificates;
mod connection;
mod decisions;
mod disk;
mod environment;
pub mod figures;
mod handshakes;
pub mod idle;
pub mod interception;
pub mod load;
mod median;
pub mod peers;
pub mod process;
pub mod schedule;
mod stage;
pub mod tally;
mod token;
mod tunnel;
pub mod upstream;
