//! The follower, the lines and the metrics over journals written with the chain's own sequencer.
//!
//! Not here: the gateway's real journal (`audit/ship`, which no adapter may import). Invariant: what a test journal
//! holds is known record by record.

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod following;
#[cfg(test)]
mod lines;
#[cfg(test)]
mod metrics;
