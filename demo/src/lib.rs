//! The demo that `aegis-gateway dev` plays: an upstream of its own on loopback over TLS, a tenant with three agents,
//! and a scenario with one call for each verdict.
//!
//! Not here: the gateway; the demo only talks to it over its sockets, as any agent does. Time and randomness come
//! from the caller. Invariant: nothing listens outside 127.0.0.1, and what exists in a data directory is never
//! overwritten.

mod chat;
mod client;
mod patients;
mod payments;
mod report;
mod scenario;
mod setup;
mod upstream;

use std::path::{Path, PathBuf};

use aegis_domain::Timestamp;

pub use scenario::play;
pub use setup::lay_out;
pub use upstream::{DemoUpstream, start};

/// What one run of the demo was asked for.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    pub data_dir: PathBuf,
    pub ports: Ports,
    pub after: AfterScenario,
    pub source: Source,
}

/// Where the demo listens on 127.0.0.1.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub plain: u16,
    pub tls: u16,
    pub metrics: u16,
    pub control: u16,
    pub upstream: u16,
}

/// Whether the gateway stays once the scenario has been played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterScenario {
    Stay,
    Stop,
}

/// Time and randomness, which the process reads in one place.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    pub now: fn() -> Timestamp,
    pub random: fn() -> Option<[u8; 10]>,
}

/// Where one of the demo's files lies.
fn demo_file(data_dir: &Path, name: &str) -> PathBuf {
    data_dir.join("demo").join(name)
}
