//! This process's part in the region's ledger.
//!
//! Not here: how voters agree (`raft-store`), and what they agree on (`ledger`). Invariant: a voter whose disk fails ends the
//! process, for what it says from then on may not be what it holds.

use std::path::Path;
use std::sync::Arc;

use aegis_config::Config;
use aegis_raft_store::{Fatal, Node};
use anyhow::Context as _;

/// Opens the ledger of a region that has one voter.
pub(super) async fn open(config: &Config, directory: &Path) -> anyhow::Result<Node> {
    let node = Node::alone(config.region.as_str(), directory, Arc::new(end)).await;
    node.with_context(|| format!("the region's ledger in {} cannot be used", directory.display()))
}

/// Nobody could be told otherwise: the calls of the control API wait for the very disk.
fn end(fatal: &Fatal) {
    tracing::error!(%fatal, "the gateway ends, because its part of the region's ledger cannot go on");
    std::process::exit(1);
}
