//! After a start: what an earlier life held is settled by what its records say.
//!
//! Not here: reading records (`audit/ship`) and charging (`state`). Invariant: a call whose record lets it through and
//! whose end is unknown is charged its estimate; a hold without such a record was never sent, so it is given back.

use std::collections::BTreeMap;

use aegis_domain::{DecisionId, MicroUsd};
use anyhow::Context as _;

use crate::clock;
use crate::wire::{Gateway, Recovery};

/// Settles every hold that was open when the earlier life ended.
pub async fn settle(gateway: &Gateway, recovery: Recovery) -> anyhow::Result<()> {
    let Recovery { records, holds } = recovery;
    for stream in &records.streams {
        let (origin, size) = (stream.origin.as_str(), stream.size);
        tracing::warn!(origin, size, how = ?stream.how, "an earlier life did not end in order");
    }
    let costs: BTreeMap<DecisionId, MicroUsd> =
        records.ended.iter().map(|ended| (ended.id, ended.cost)).collect();
    for hold in &holds {
        let cost = costs.get(&hold.id).copied().unwrap_or(MicroUsd::ZERO);
        let settled = gateway.state.settle(hold, cost, clock::now()).await;
        settled.with_context(|| format!("the hold of decision {} cannot be settled", hold.id))?;
    }
    Ok(())
}
