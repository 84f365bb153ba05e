//! The home of the hot state inside one process: maps under one lock, and a journal on local disk.
//!
//! Not here: clocks (every question brings `now`) and sharing between processes (`aegis_state::RedisState`). Invariant: a change is
//! in the journal before it is answered, so a killed process neither loses nor repeats it; a power cut loses at
//! most what was not synced, and in `Strict` nothing that was answered.

mod codec;
mod core;
mod files;
mod flight;
mod journal;
mod keeper;
mod ledger;
mod notes;
mod rates;
mod record;
mod sums;
mod tokens;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use aegis_domain::{BudgetKey, HotAnswer, MicroUsd, Outage, TenantId, Timestamp};
use async_trait::async_trait;
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;
use tracing::{debug, error};

use self::core::Core;
use self::journal::{Disk, Files, Journal};
use self::keeper::{Keeper, Shared, Synced};
use self::ledger::Ledger;
pub use self::notes::HoldNotes;
use aegis_state::{
    Adjustment, Ask, Extended, Hold, HotState, InFlightName, Settled, Spend, StateError,
};

/// When an answer may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Once the change is written. A power cut loses what was written in the last 50 ms and one sync.
    Relaxed,
    /// Once the change is synced to disk.
    Strict,
}

/// How many entries of each kind are kept; beyond that, new ones are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tokens that have not expired.
    pub tokens_max: usize,
    /// Calls from their grant until `LATE_SETTLE` after their hold's expiry, and adjustments.
    pub calls_max: usize,
    /// Agents, tenants and tools whose rates are not at rest.
    pub paced_max: usize,
}

/// Where and how the state is kept.
#[derive(Clone, Debug)]
pub struct EmbeddedConfig {
    pub directory: PathBuf,
    pub durability: Durability,
    /// The journal is compacted when it has grown this long.
    pub compact_bytes: u64,
    pub limits: Limits,
}

impl EmbeddedConfig {
    pub fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            durability: Durability::Relaxed,
            compact_bytes: 64 << 20,
            limits: Limits { tokens_max: 1 << 20, calls_max: 4 << 20, paced_max: 1 << 20 },
        }
    }
}

/// The embedded hot state. Dropping it syncs the journal and frees the directory.
pub struct EmbeddedState {
    shared: Arc<Shared>,
    durability: Durability,
    keeper: Option<JoinHandle<()>>,
    _lock: File,
}

impl EmbeddedState {
    /// Takes the directory and rebuilds the state that its files tell of. Blocks on the disk.
    pub fn open(config: EmbeddedConfig) -> Result<Self, StateError> {
        Self::open_on(config, Arc::new(Files))
    }

    fn open_on(config: EmbeddedConfig, disk: Arc<dyn Disk>) -> Result<Self, StateError> {
        let io = |source| StateError::Io { what: "open the state journal", source };
        let lock = files::lock(&config.directory)?;
        let files::Recovered { ledger, base, generation, len } =
            files::recover(&config.directory, u64::MAX)?;
        files::remove_before(&config.directory, base).map_err(io)?;
        for earlier in base..generation {
            let path = files::journal_path(&config.directory, earlier);
            disk.write_again(&path, u64::MAX).map_err(io)?;
        }
        let path = files::journal_path(&config.directory, generation);
        disk.write_again(&path, len).map_err(io)?;
        let (sink, len) = journal::open_at(&*disk, &path, len).map_err(io)?;
        journal::sync_directory(&config.directory).map_err(io)?;
        let core = Core::new(ledger, Journal::new(sink, len), config.limits);
        let shared = Arc::new(Shared {
            core: Mutex::new(core),
            wake: Condvar::new(),
            synced: watch::Sender::new(Synced::default()),
        });
        let keeper = Keeper {
            shared: Arc::clone(&shared),
            disk,
            directory: config.directory,
            durability: config.durability,
            compact_bytes: config.compact_bytes,
            generation,
            compaction: None,
        };
        let thread = thread::Builder::new().name("aegis-state".into());
        let keeper = thread
            .spawn(move || keeper.run())
            .map_err(|source| StateError::Io { what: "start the journal's thread", source })?;
        Ok(Self { shared, durability: config.durability, keeper: Some(keeper), _lock: lock })
    }

    /// The holds no settlement was seen for. After a crash the gateway compares them with its audit journal and
    /// settles those whose outcome it finds there.
    pub fn open_holds(&self) -> Vec<Hold> {
        let core = self.shared.core.lock();
        core.ledger.open_holds().filter(|hold| Ledger::must_last(hold, None)).cloned().collect()
    }

    /// Works on the state, wakes the keeper if the journal grew, and says up to where an answer has to wait.
    fn locked<T>(&self, work: impl FnOnce(&mut Core) -> T) -> (T, u64) {
        let mut core = self.shared.core.lock();
        let was_dirty = core.dirty;
        let done = work(&mut core);
        if core.dirty && !was_dirty {
            self.shared.wake.notify_one();
        }
        (done, core.journal.appended())
    }

    async fn durable(&self, upto: u64) -> Result<(), StateError> {
        if self.durability == Durability::Relaxed {
            return Ok(());
        }
        let mut synced = self.shared.synced.subscribe();
        let reached = synced.wait_for(|synced| synced.failed || synced.upto >= upto).await;
        match reached {
            Ok(synced) if synced.upto >= upto => Ok(()),
            Ok(_) | Err(_) => Err(StateError::SyncFailed),
        }
    }
}

#[async_trait]
impl HotState for EmbeddedState {
    async fn decide(&self, ask: &Ask) -> HotAnswer {
        let (answer, upto) = self.locked(|core| core.decide(ask));
        let answer = match answer {
            Ok(HotAnswer::Granted(grant)) => {
                self.durable(upto).await.map(|()| HotAnswer::Granted(grant))
            }
            other => other,
        };
        answer.unwrap_or_else(|cause| {
            debug!(%cause, tenant = %ask.tenant, "the hot state could not keep a decision");
            HotAnswer::Unanswered(Outage::Storage)
        })
    }

    async fn settle(
        &self,
        hold: &Hold,
        actual: MicroUsd,
        now: Timestamp,
    ) -> Result<Settled, StateError> {
        let (settled, upto) = self.locked(|core| core.settle(hold, actual, now));
        let settled = settled?;
        self.durable(upto).await?;
        Ok(settled)
    }

    async fn reap(&self, now: Timestamp, max: usize) -> Result<usize, StateError> {
        self.locked(|core| core.reap(now, max)).0
    }

    async fn spend(&self, budget: &BudgetKey, now: Timestamp) -> Result<Spend, StateError> {
        Ok(self.shared.core.lock().ledger.sums.spend(budget, now))
    }

    async fn extend(
        &self,
        hold: &Hold,
        total: MicroUsd,
        now: Timestamp,
    ) -> Result<Extended, StateError> {
        let (extended, upto) = self.locked(|core| core.extend(hold, total, now));
        let extended = extended?;
        self.durable(upto).await?;
        Ok(extended)
    }

    async fn adjust(&self, adjustment: &Adjustment) -> Result<Spend, StateError> {
        let (spend, upto) = self.locked(|core| core.adjust(adjustment));
        let spend = spend?;
        self.durable(upto).await?;
        Ok(spend)
    }

    async fn in_flight(
        &self,
        tenant: &TenantId,
        of: &InFlightName,
        now: Timestamp,
    ) -> Result<u32, StateError> {
        Ok(self.shared.core.lock().ledger.flight.count(tenant, of, now))
    }

    async fn health(&self) -> Result<(), StateError> {
        self.locked(|core| core.health()).0
    }

    async fn failed(&self) {
        // The sender lives as long as `self`, so this cannot fail.
        drop(self.shared.synced.subscribe().wait_for(|synced| synced.failed).await);
    }
}

impl Drop for EmbeddedState {
    fn drop(&mut self) {
        self.locked(|core| core.closing = true);
        self.shared.wake.notify_one();
        if self.keeper.take().is_some_and(|keeper| keeper.join().is_err()) {
            error!("the state journal's thread panicked");
        }
    }
}

#[cfg(test)]
mod faults;
