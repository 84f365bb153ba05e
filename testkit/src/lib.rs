//! The real gateway on loopback, a recording upstream, and the language end-to-end tests are written in.
//!
//! Not here: what the gateway must do; its own tests say that. Invariant: everything runs on ports and in a folder of
//! its own, so that tests can run side by side, and a failed expectation panics in the test that had it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and this is only ever part of one"
)]

mod agent;
mod authority;
mod building;
mod clock;
mod fault;
mod frame_line;
pub mod frames;
pub mod hot;
mod journal;
mod line;
mod ops;
mod plan;
mod ports;
mod raw;
mod region;
mod reply;
mod upstream;
mod usage;
mod voters;
mod witness;

pub use agent::{Agent, Ask};
pub use authority::{Authority, Leaf};
pub use building::{Building, NotStarted};
pub use fault::Fault;
pub use frame_line::{FrameLine, Heard};
pub use journal::{Journal, Outcomes};
pub use line::{Line, Wire};
pub use ops::OpsReply;
pub use plan::Plan;
pub use raw::Raw;
pub use region::{Enrolled, Region};
pub use reply::{Answering, Reply, Tunnel};
pub use upstream::{Answer, Gate, Handshake, Puppet, Received, Script, Upstream, Word};
pub use usage::Usage;
pub use witness::OutsideWitness;
