//! After a start: what an earlier life held is settled by what its records say.
//!
//! Not here: reading the journal in full and writing unknown outcomes (`audit/ship`), charging (`state`). Invariant: a
//! call that was let through and whose end is unknown is charged its estimate; a hold that no record lets through was
//! never sent, so it is given back.

use aegis_audit_ship::{Recovered, recorded_costs};
use aegis_domain::MicroUsd;
use aegis_state::Hold;
use anyhow::Context as _;

use crate::Corridor;
use crate::clock;

/// What an earlier life left to be settled.
pub struct Recovery {
    pub records: Recovered,
    pub holds: Vec<Hold>,
}

/// Settles every hold that was open when the earlier life ended.
pub async fn settle(corridor: &Corridor, recovery: Recovery) -> anyhow::Result<()> {
    for stream in &recovery.records.streams {
        let (origin, size) = (stream.origin.as_str(), stream.size);
        tracing::warn!(origin, size, how = ?stream.how, "an earlier life did not end in order");
    }
    let holds = recovery.holds;
    let Some(oldest) = holds.iter().map(|hold| hold.decided_at).min() else { return Ok(()) };
    let wanted = holds.iter().map(|hold| hold.id).collect();
    let audit = corridor.config.data_dir.join("audit");
    let costs = recorded_costs(&audit, &wanted, oldest)
        .context("the records of an earlier life cannot be read, so its holds cannot be settled")?;
    for hold in &holds {
        let cost = costs.get(&hold.id).copied().unwrap_or(MicroUsd::ZERO);
        let settled = corridor.state.settle(hold, cost, clock::now()).await;
        settled.with_context(|| format!("the hold of decision {} cannot be settled", hold.id))?;
    }
    tracing::warn!(holds = holds.len(), "holds of an earlier life were settled from its records");
    Ok(())
}
