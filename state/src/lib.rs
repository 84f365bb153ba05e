//! Hot state: replay of tokens, rates of calls and budgets of money, behind one trait.
//!
//! Not here: the home inside one process (`aegis-state-embedded`), what a refusal or an outage means for a call (`decide`), and clocks: `now` comes with every question.
//! Invariant: a refusal changes nothing, and for every call exactly one cost is ever counted: the actual one once
//! it is settled, the estimate until then.

mod ask;
mod budget;
mod notes;
mod redis;

use aegis_domain::{DecisionId, HotAnswer, MicroUsd, TenantId, Timestamp};
use async_trait::async_trait;

pub use self::redis::{
    Clock, Confirm, Deployment, Login, RedisConfig, RedisState, RedisTls, Server,
};
pub use aegis_domain::{BudgetKey, BudgetScope, BudgetWindow, Hours, Overrun};
pub use ask::{
    Adjustment, Ask, Binding, Change, Counted, Hold, InFlight, InFlightName, RateLimit, Rates,
    TokenCheck,
};
pub use budget::{Budget, BudgetError, Budgets, Period, When, ttl_ceil};
pub use notes::{LeftHold, Notes};

/// How long after a hold expired its settlement is still told from a duplicate and corrects the estimate charged.
pub const LATE_SETTLE: aegis_domain::Ttl = aegis_domain::Ttl::from_s(600);

/// What every home of the hot state promises; the suite in `tests/conformance` holds each of them to it.
#[async_trait]
pub trait HotState: Send + Sync {
    /// Uses the token, counts the call and holds the money in one step, or refuses and changes nothing.
    ///
    /// The same decision id asked again gets the same grant and counts once, also after it was settled.
    /// Dropping the future does not undo a grant: an owner that goes away lets the hold expire.
    async fn decide(&self, ask: &Ask) -> HotAnswer;

    /// Replaces the hold by what the call really cost. A hold that already expired is corrected, and one that
    /// was lost is charged all the same.
    async fn settle(
        &self,
        hold: &Hold,
        actual: MicroUsd,
        now: Timestamp,
    ) -> Result<Settled, StateError>;

    /// Raises what a call holds to `total`, or refuses and changes nothing.
    ///
    /// Asked again with no more than is held, it does nothing. A hold that ended, or that nobody knows, is an error.
    async fn extend(
        &self,
        hold: &Hold,
        total: MicroUsd,
        now: Timestamp,
    ) -> Result<Extended, StateError>;

    /// The call whose decision was unanswered is refused for that, and its id will not be asked again: what is held all the
    /// same is given back, sooner or later. Anything else about it is ignored.
    fn abandon(&self, _id: &DecisionId) {}

    /// Gives the money back because the call never left.
    async fn release(&self, hold: &Hold, now: Timestamp) -> Result<Settled, StateError> {
        self.settle(hold, MicroUsd::ZERO, now).await
    }

    /// Charges the estimate of at most `max` overdue holds, because a crashed gateway may have spent the money,
    /// and forgets what is too old to matter. Returns how many holds it charged.
    async fn reap(&self, now: Timestamp, max: usize) -> Result<usize, StateError>;

    /// What the budget's current window has spent and holds.
    async fn spend(&self, budget: &BudgetKey, now: Timestamp) -> Result<Spend, StateError>;

    /// Corrects what a budget has spent in its current window, once per id, and tells what it has then.
    async fn adjust(&self, adjustment: &Adjustment) -> Result<Spend, StateError>;

    /// How many calls are under way, of those that were asked about with a limit for this scope.
    async fn in_flight(
        &self,
        tenant: &TenantId,
        of: &InFlightName,
        now: Timestamp,
    ) -> Result<u32, StateError>;

    /// Gives back what is held for no call; asked last, before the process ends.
    async fn close(&self, _now: Timestamp) -> Result<(), StateError> {
        Ok(())
    }

    /// Whether a decision made now could be kept.
    async fn health(&self) -> Result<(), StateError>;

    /// Returns once nothing can be kept until the process is started again; never, where that cannot be.
    async fn failed(&self) {
        std::future::pending().await
    }
}

/// What a settlement did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    Applied,
    /// The call was settled before; the first settlement stands.
    Duplicate,
}

/// What became of the wish to hold more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extended {
    Granted,
    Refused {
        /// Its place among the hold's budgets.
        nth: u8,
        left: MicroUsd,
    },
}

/// Money of one budget in one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spend {
    pub spent: MicroUsd,
    pub held: MicroUsd,
}

/// Why the hot state could not keep what it was told.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("another process uses the state directory")]
    Locked,
    #[error("the state files are damaged: {what}")]
    Damaged { what: &'static str },
    #[error("cannot {what}")]
    Io { what: &'static str, source: std::io::Error },
    #[error("a sync of the journal failed; only a restart tells what reached the disk")]
    SyncFailed,
    #[error("the state is full of entries that have not expired")]
    Full,
    #[error("the hold expired {ago_s} s ago, so its estimate stands")]
    TooLate { ago_s: u64 },
    #[error("no such hold is open")]
    NotHeld,
    #[error("no server of the shared state is connected")]
    Unreachable,
    #[error("the shared state did not answer in time")]
    TimedOut,
    #[error("the shared state cannot be trusted: {why}")]
    Lost { why: &'static str },
    #[error("the shared state cannot {what}")]
    Redis { what: &'static str, source: ::redis::RedisError },
}

impl StateError {
    /// Whether a settlement that met this is kept by its home, and sent again once a server answers.
    pub fn is_sent_again(&self) -> bool {
        match self {
            StateError::Unreachable
            | StateError::TimedOut
            | StateError::Lost { .. }
            | StateError::Redis { .. } => true,
            StateError::Locked
            | StateError::Damaged { .. }
            | StateError::Io { .. }
            | StateError::SyncFailed
            | StateError::Full
            | StateError::NotHeld
            | StateError::TooLate { .. } => false,
        }
    }
}
