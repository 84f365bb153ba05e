//! A home that several gateways share, with the notes of one of them: as each gateway's own connection to it has.
//!
//! Not here: leases. Invariant: a hold is noted before it is asked for.

use std::sync::Arc;

use aegis_domain::{BudgetKey, HotAnswer, MicroUsd, TenantId, Timestamp};
use aegis_state::{
    Adjustment, Ask, Extended, Hold, HotState, InFlightName, Notes, Settled, Spend, StateError,
};
use aegis_state_embedded::HoldNotes;
use async_trait::async_trait;

use crate::conformance::Home;

pub(super) struct Noting<H> {
    pub(super) home: Arc<H>,
    pub(super) notes: Arc<HoldNotes>,
}

#[async_trait]
impl<H: Home + Send> HotState for Noting<H> {
    async fn decide(&self, ask: &Ask) -> HotAnswer {
        self.notes.begin(&ask.hold());
        let answer = (**self.home).decide(ask).await;
        if let HotAnswer::Refused(_) = answer {
            self.notes.end(&ask.id, ask.now);
        }
        answer
    }

    async fn settle(
        &self,
        hold: &Hold,
        actual: MicroUsd,
        now: Timestamp,
    ) -> Result<Settled, StateError> {
        let settled = (**self.home).settle(hold, actual, now).await?;
        self.notes.settled(&hold.id, now);
        Ok(settled)
    }

    async fn extend(
        &self,
        hold: &Hold,
        total: MicroUsd,
        now: Timestamp,
    ) -> Result<Extended, StateError> {
        (**self.home).extend(hold, total, now).await
    }

    async fn reap(&self, now: Timestamp, max: usize) -> Result<usize, StateError> {
        (**self.home).reap(now, max).await
    }

    async fn spend(&self, budget: &BudgetKey, now: Timestamp) -> Result<Spend, StateError> {
        (**self.home).spend(budget, now).await
    }

    async fn adjust(&self, adjustment: &Adjustment) -> Result<Spend, StateError> {
        (**self.home).adjust(adjustment).await
    }

    async fn in_flight(
        &self,
        tenant: &TenantId,
        of: &InFlightName,
        now: Timestamp,
    ) -> Result<u32, StateError> {
        (**self.home).in_flight(tenant, of, now).await
    }

    async fn health(&self) -> Result<(), StateError> {
        (**self.home).health().await
    }
}
