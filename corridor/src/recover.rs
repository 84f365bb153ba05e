//! After a start: what an earlier life held is settled by what its records say.
//!
//! Not here: reading the journal in full and writing unknown outcomes (`audit/ship`), charging (`state`). Invariant: a
//! call that was let through and whose end is unknown is charged its estimate; a hold that no record lets through was
//! never sent, so it is given back.

use std::time::Duration;

use aegis_audit_ship::{Recovered, recorded_costs};
use aegis_domain::MicroUsd;
use aegis_state::{Hold, HotState, StateError};
use anyhow::Context as _;

use crate::Corridor;
use crate::clock;

const MET_WITHIN: Duration = Duration::from_secs(1);
const MET_EVERY: Duration = Duration::from_millis(20);

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
    wait_for(&*corridor.state).await;
    let (mut waiting, mut too_late) = (0_u32, 0_u32);
    for hold in &holds {
        let cost = costs.get(&hold.id).copied().unwrap_or(MicroUsd::ZERO);
        match corridor.state.settle(hold, cost, clock::now()).await {
            Ok(_) => {}
            Err(error) if error.is_sent_again() => waiting += 1,
            // Charged its estimate long ago, or settled by the life that held it.
            Err(StateError::TooLate { .. }) => too_late += 1,
            Err(error) => {
                let what = format!("the hold of decision {} cannot be settled", hold.id);
                return Err(anyhow::Error::new(error).context(what));
            }
        }
    }
    let holds = holds.len();
    tracing::warn!(
        holds,
        waiting,
        too_late,
        "holds of an earlier life were settled from its records"
    );
    Ok(())
}

/// Gives servers that are there the time to be met. Those that are not keep nobody from starting: what is settled
/// meanwhile is sent to them later.
async fn wait_for(state: &dyn HotState) {
    let met = async {
        while state.health().await.is_err() {
            tokio::time::sleep(MET_EVERY).await;
        }
    };
    drop(tokio::time::timeout(MET_WITHIN, met).await);
}
