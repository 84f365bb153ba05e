//! The real gateway on loopback, between real agents and a real upstream.
//!
//! Not here: rules of single rooms (next to the code) and kill -9 (`kill.rs`). Invariant: no test depends on how fast
//! anything is; what must wait, waits for an event.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
#![expect(clippy::print_stdout, reason = "tests over corpora print their counts")]

mod anchors;
mod approvals;
mod bodies;
mod changes;
mod clients;
mod conversations;
mod definitions;
mod disks;
mod evidence;
mod floods;
mod followers;
mod frames;
mod hostile;
mod inside;
mod leases;
mod life;
mod limits;
mod mcp;
mod modes;
mod money;
mod operators;
mod outside;
mod overruns;
mod policies;
mod probes;
mod proxy;
mod redaction;
mod refusals;
mod regions;
mod registry;
mod releases;
mod replays;
mod revoked;
mod slow;
mod streams;
mod unopened;
mod unseen;
mod upstream_tls;
mod upstreams;
mod voters;
mod wires;

use aegis_testkit::{Building, Plan};

const GATEWAY: &str = env!("CARGO_BIN_EXE_aegis-gateway");

/// The standard building, running.
async fn house() -> Building {
    Plan::new().await.start(GATEWAY).await
}
