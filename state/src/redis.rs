//! The home of the hot state that a fleet shares: one script in Redis or Valkey for each decision and settlement.
//!
//! Not here: what the scripts do to the data (`redis/scripts`, `docs/spec/hot-state.md`). Invariant: a grant is one
//! answer of one server this gateway attached to, within the deadline; anything else is unanswered, and nothing is ever
//! decided here instead.

mod breaker;
mod client;
mod config;
mod holding;
mod keeper;
mod keys;
mod link;
mod memory;
mod resend;
mod scripts;
mod sentinel;
mod sheets;
mod tenant;

use std::sync::Arc;

use aegis_domain::{BudgetKey, DecisionId, HotAnswer, MicroUsd, Outage, TenantId, Timestamp};
use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracing::{debug, info};

pub use self::config::{Clock, Confirm, Deployment, Login, RedisConfig, RedisTls, Server};

use self::client::Client;
use self::holding::Closed;
use self::keeper::Keeper;
use self::keys::Keys;
use self::link::Failure;
use self::resend::{Again, Message};
use self::sheets::{Fields, Grain, slices};
use crate::{
    Adjustment, Ask, Extended, Hold, HotState, InFlightName, Notes, Settled, Spend, StateError,
};

/// The shared hot state. Dropping it closes the connections.
pub struct RedisState {
    client: Arc<Client>,
    keeper: JoinHandle<()>,
}

impl RedisState {
    /// Begins to connect, on `runtime`, and returns at once: until a server answers, every decision is unanswered.
    pub fn open(config: RedisConfig, runtime: Handle) -> Result<Self, StateError> {
        Self::begin(config, None, runtime)
    }

    /// The same, with notes of what it holds, for its next life.
    pub fn open_noting(
        config: RedisConfig,
        notes: Arc<dyn Notes>,
        runtime: Handle,
    ) -> Result<Self, StateError> {
        Self::begin(config, Some(notes), runtime)
    }

    fn begin(
        config: RedisConfig,
        notes: Option<Arc<dyn Notes>>,
        runtime: Handle,
    ) -> Result<Self, StateError> {
        let client = Arc::new(Client::new(config, notes, runtime.clone())?);
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
        let restored = async {
            let line = client.link.line()?;
            tenant.restore(line.wire()?, spent, (now, client.config.clock)).await
        };
        client.within(restored).await?;
        info!(tenant = %tenant.id, "the shared state was restored");
        client.remember()
    }
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
        let message = Message::Settlement { hold: hold.clone(), actual };
        let reply = self.client.tell(&message, now).await?;
        match holding::closed(&reply).ok_or(Failure::Shape)? {
            Closed::Settled(settled) => Ok(settled),
            Closed::TooLate | Closed::NotOverdue => {
                Err(StateError::TooLate { ago_s: now.since(hold.expires_at).s_ceil() })
            }
        }
    }

    /// Sent with the next round of reaping.
    fn abandon(&self, id: &DecisionId) {
        self.client.resends.lock().offer(id);
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
        self.client.tidy(now);
        self.client.remember()?;
        first_failure.map_or(Ok(charged), |failure| Err(failure.into()))
    }

    async fn spend(&self, budget: &BudgetKey, now: Timestamp) -> Result<Spend, StateError> {
        let tenant = self.client.tenant(&budget.tenant);
        let mut reads = redis::Pipeline::new();
        for slice in slices(budget, now, Grain::Coarse) {
            let read = reads.cmd("HMGET").arg(slice.key);
            for Fields { spent, held } in slice.fields {
                read.arg(spent).arg(held);
            }
        }
        let read = async {
            let replies = self.client.link.line()?.wire()?.send_all(reads, tenant.slot).await?;
            replies.into_iter().try_fold(Spend::default(), |sum, reply| {
                let sums: Vec<Option<u64>> =
                    redis::from_redis_value(reply).map_err(|_| Failure::Shape)?;
                Ok(sums.chunks(2).fold(sum, add))
            })
        };
        Ok(self.client.call(&tenant, read).await?)
    }

    async fn extend(
        &self,
        hold: &Hold,
        total: MicroUsd,
        now: Timestamp,
    ) -> Result<Extended, StateError> {
        self.client.extend(hold, total, now).await?.ok_or(StateError::NotHeld)
    }

    /// One that gets no answer is sent again, as a settlement is.
    async fn adjust(&self, adjustment: &Adjustment) -> Result<Spend, StateError> {
        let message = Message::Adjustment(adjustment.clone());
        let reply = self.client.tell(&message, adjustment.now).await?;
        Ok(holding::adjusted(&reply).ok_or(Failure::Shape)?)
    }

    /// By the clock of the asker; a call whose hold expires this moment may be told or not.
    async fn in_flight(
        &self,
        tenant: &TenantId,
        of: &InFlightName,
        now: Timestamp,
    ) -> Result<u32, StateError> {
        let tenant = self.client.tenant(tenant);
        let mut command = redis::cmd("ZCOUNT");
        command.arg(Keys::of(&tenant.id).flight(of)).arg(format!("({}", now.unix_ms())).arg("+inf");
        let read = async {
            let reply = self.client.link.line()?.wire()?.send(command, tenant.slot).await?;
            redis::from_redis_value(reply).map_err(|_| Failure::Shape)
        };
        Ok(self.client.call(&tenant, read).await?)
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

/// One pair of what is spent and held on top of the others.
fn add(sum: Spend, pair: &[Option<u64>]) -> Spend {
    let amount = |nth: usize| MicroUsd::new(pair.get(nth).copied().flatten().unwrap_or(0));
    Spend { spent: sum.spent.saturating_add(amount(0)), held: sum.held.saturating_add(amount(1)) }
}
