//! The home of the hot state that a fleet shares: one script in Redis or Valkey for each decision and settlement.
//!
//! Not here: what the scripts do to the data (`redis/scripts`, `docs/spec/hot-state.md`). Invariant: a grant is one
//! answer of one server this gateway attached to, within the deadline; anything else is unanswered, and nothing is ever
//! decided here instead.

mod breaker;
mod client;
mod config;
mod keeper;
mod keys;
mod link;
mod memory;
mod resend;
mod scripts;
mod sentinel;
mod tenant;

use std::sync::Arc;
use std::time::Instant;

use aegis_domain::{BudgetKey, HotAnswer, MicroUsd, Outage, TenantId, Timestamp, Ttl};
use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracing::{debug, info};

pub use self::config::{Clock, Confirm, Deployment, Login, RedisConfig, RedisTls, Server};

use self::client::Client;
use self::keeper::Keeper;
use self::keys::{Sheet, place};
use self::link::Failure;
use self::resend::Again;
use self::scripts::Closed;
use crate::{
    Adjustment, Ask, Budget, Budgets, Extended, Hold, HotState, InFlightName, Settled, Spend,
    StateError,
};

/// The shared hot state. Dropping it closes the connections.
pub struct RedisState {
    client: Arc<Client>,
    keeper: JoinHandle<()>,
}

impl RedisState {
    /// Begins to connect, on `runtime`, and returns at once: until a server answers, every decision is unanswered.
    pub fn open(config: RedisConfig, runtime: Handle) -> Result<Self, StateError> {
        let client = Arc::new(Client::new(config, runtime.clone())?);
        let keeper = Keeper::new(Arc::clone(&client.config), Arc::clone(&client.link))
            .map_err(|source| StateError::Redis { what: "use its configuration", source })?;
        Ok(Self { client, keeper: runtime.spawn(keeper.run()) })
    }

    /// Accepts a tenant's data after a loss (a flush, an old dump), with what was spent as the audit log tells it.
    /// A sum only grows. Single-use tokens of the time before stay refused.
    pub async fn restore(
        &self,
        tenant: &TenantId,
        spent: &[(BudgetKey, MicroUsd)],
        now: Timestamp,
    ) -> Result<(), StateError> {
        let client = &self.client;
        let tenant = client.tenant(tenant);
        let sums: Vec<_> = spent.iter().map(|(key, spent)| sum(key, *spent, now)).collect();
        let restored = async {
            let line = client.link.line()?;
            tenant.restore(line.wire()?, &sums, (now, client.config.clock)).await
        };
        client.within(restored).await?;
        info!(tenant = %tenant.id, "the shared state was restored");
        client.remember()
    }
}

/// One budget's line for `restore`: its sheet, how long that lives, the field and the amount.
fn sum(key: &BudgetKey, spent: MicroUsd, now: Timestamp) -> (String, Ttl, String, u64) {
    let (sheet, field, _) = place(key, now);
    let budgets = Budgets::new(vec![Budget::hard(key.clone(), MicroUsd::MAX)]);
    let sheets = budgets.map(|budgets| Sheet::all(&budgets, now)).unwrap_or_default();
    let life = sheets.first().map_or(Ttl::from_s(1), |sheet| sheet.life(now));
    (sheet, life, field, spent.micro_usd())
}

impl Drop for RedisState {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl From<Failure> for StateError {
    fn from(failure: Failure) -> Self {
        match (failure.outage(), failure) {
            (_, Failure::Redis(source)) => {
                StateError::Redis { what: "get an answer that counts", source }
            }
            (Outage::TimedOut, _) => StateError::TimedOut,
            (Outage::Unreachable, _) => StateError::Unreachable,
            (Outage::Storage, Failure::Lost(why) | Failure::Unfit(why)) => StateError::Lost { why },
            (Outage::Storage, _) => StateError::Lost { why: "an answer has an unknown shape" },
        }
    }
}

#[async_trait]
impl HotState for RedisState {
    async fn decide(&self, ask: &Ask) -> HotAnswer {
        self.client.decide(ask).await.unwrap_or_else(|cause| {
            debug!(%cause, tenant = %ask.tenant, "the shared state gave no answer");
            HotAnswer::Unanswered(cause.outage())
        })
    }

    /// A settlement that gets no answer is sent again as soon as a server gives one; the error says that it waits.
    async fn settle(
        &self,
        hold: &Hold,
        actual: MicroUsd,
        now: Timestamp,
    ) -> Result<Settled, StateError> {
        self.client.resends.lock().note(hold, actual, now, Instant::now());
        match self.client.settle(hold, actual, now).await? {
            Closed::Settled(settled) => Ok(settled),
            Closed::TooLate | Closed::NotOverdue => {
                Err(StateError::TooLate { ago_s: now.since(hold.expires_at).s_ceil() })
            }
        }
    }

    async fn reap(&self, now: Timestamp, max: usize) -> Result<usize, StateError> {
        let mut charged = 0;
        let mut first_failure = None;
        for tenant in self.client.everyone() {
            match self.client.reap(&tenant, now, max.saturating_sub(charged)).await {
                Ok(more) => charged += more,
                Err(failure) => drop(first_failure.get_or_insert(failure)),
            }
            self.client.send_again(&tenant, Again::Unconfirmed);
        }
        self.client.remember()?;
        first_failure.map_or(Ok(charged), |failure| Err(failure.into()))
    }

    async fn spend(&self, budget: &BudgetKey, now: Timestamp) -> Result<Spend, StateError> {
        let tenant = self.client.tenant(&budget.tenant);
        let (sheet, spent, held) = place(budget, now);
        let read = async {
            let mut command = redis::cmd("HMGET");
            command.arg(sheet).arg(spent).arg(held);
            let reply = self.client.link.line()?.wire()?.send(command, tenant.slot).await?;
            let sums: [Option<u64>; 2] =
                redis::from_redis_value(reply).map_err(|_| Failure::Shape)?;
            Ok(sums.map(|sum| MicroUsd::new(sum.unwrap_or(0))))
        };
        let [spent, held] = self.client.call(&tenant, read).await?;
        Ok(Spend { spent, held })
    }

    async fn extend(&self, _: &Hold, _: MicroUsd, _: Timestamp) -> Result<Extended, StateError> {
        Err(StateError::NotHeld)
    }

    async fn adjust(&self, adjustment: &Adjustment) -> Result<Spend, StateError> {
        self.spend(&adjustment.key, adjustment.now).await
    }

    async fn in_flight(
        &self,
        _: &TenantId,
        _: &InFlightName,
        _: Timestamp,
    ) -> Result<u32, StateError> {
        Ok(0)
    }

    /// Whether the servers answer and the data of every tenant are those this gateway knows.
    async fn health(&self) -> Result<(), StateError> {
        for tenant in self.client.everyone() {
            if let Some(why) = tenant.is_lost() {
                return Err(StateError::Lost { why });
            }
            if tenant.breaker.lock().is_open() {
                return Err(StateError::Unreachable);
            }
        }
        self.client.link.line()?;
        Ok(())
    }
}
