//! Hot state in which calls of hot budgets are paid out of leases that this process holds in the home it stands before.
//!
//! Not here: what leases are good for and what they cost (`docs/adr/0016`), and the home itself. Invariant: whatever a call
//! is granted here, the inner home holds already, and the one settlement of a lease is what its calls cost.

mod asked;
mod books;
mod lease;
mod scope;
mod tokens;

use std::num::NonZeroU32;
use std::sync::Arc;

use aegis_domain::{
    BudgetKey, DecisionId, HotAnswer, Jti, MicroUsd, TenantId, Timestamp, TokenUse, Ttl,
};
use aegis_state::{
    Adjustment, Ask, Binding, Counted, Extended, Hold, HotState, InFlight, InFlightName, Notes,
    Settled, Spend, StateError, TokenCheck,
};
use async_trait::async_trait;
use futures::future::join_all;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tracing::error;

use crate::books::{Books, Drawn, End, Growth, Telling, Way};

/// When a list of budgets is leased, and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseConfig {
    /// The most that one lease holds, before calls of it grow.
    pub amount: MicroUsd,
    /// How many gateways may hold leases on one budget: each takes at most half of its share of what is left.
    pub gateways: NonZeroU32,
    /// How long calls are paid out of one lease.
    pub ttl: Ttl,
    /// How many calls a second make a list of budgets hot.
    pub hot_calls_per_s: NonZeroU32,
}

impl LeaseConfig {
    /// Less often, asking each time costs the home no more than leases do.
    pub const HOT_CALLS_PER_S: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);
}

/// An inner home, and leases on it.
pub struct Leased {
    shared: Arc<Shared>,
    /// Where leases are asked for and settled, so that no call waits.
    runtime: Handle,
}

struct Shared {
    inner: Arc<dyn HotState>,
    notes: Arc<dyn Notes>,
    books: Mutex<Books>,
    ttl: Ttl,
}

impl Leased {
    /// Notes must be those that the inner home uses, if it does.
    pub fn new(
        inner: Arc<dyn HotState>,
        notes: Arc<dyn Notes>,
        config: LeaseConfig,
        runtime: Handle,
    ) -> Self {
        let (ttl, books) = (config.ttl, Mutex::new(Books::new(config)));
        Self { shared: Arc::new(Shared { inner, notes, books, ttl }), runtime }
    }

    /// Pays a call out of a lease, once that is noted.
    fn drawn(&self, ask: &Ask, Drawn { grant, lease, renew }: Drawn) -> Option<HotAnswer> {
        if let Some(amount) = renew {
            self.lease(ask, amount);
        }
        match self.shared.notes.draw(&lease, &ask.id) {
            Ok(()) => Some(HotAnswer::Granted(grant)),
            Err(cause) => {
                error!(%cause, decision = %ask.id, "a call cannot be paid out of a lease");
                self.shared.books.lock().undo(&ask.id);
                None
            }
        }
    }

    fn lease(&self, ask: &Ask, amount: MicroUsd) {
        let (shared, ask) = (Arc::clone(&self.shared), ask.clone());
        drop(self.runtime.spawn(async move { shared.lease(&ask, amount).await }));
    }
}

impl Shared {
    /// Asks for a lease on the budgets of `like`.
    async fn lease(&self, like: &Ask, amount: MicroUsd) {
        let Some(ask) = lease_ask(like, amount, self.ttl) else {
            return self.books.lock().refused(like);
        };
        let hold = ask.hold();
        if let Err(cause) = self.notes.lease(&hold) {
            error!(%cause, "a lease cannot be noted, so none is held");
            return self.books.lock().refused(like);
        }
        match self.inner.decide(&ask).await {
            HotAnswer::Granted(grant) => {
                self.books.lock().opened(hold, grant);
                self.tell_ripe(ask.now).await;
            }
            HotAnswer::Refused(_) => {
                self.notes.end(&hold.id, ask.now);
                self.books.lock().refused(&ask);
            }
            HotAnswer::Unanswered(_) => {
                // It may be held all the same.
                self.books.lock().refused(&ask);
                match self.inner.release(&hold, ask.now).await {
                    Ok(_) => self.notes.settled(&hold.id, ask.now),
                    Err(cause) => {
                        error!(%cause, lease = %hold.id, "a lease nobody has may be held until it expires");
                    }
                }
            }
        }
    }

    async fn tell_ripe(&self, now: Timestamp) {
        let ripe = self.books.lock().ripe(now);
        join_all(ripe.iter().map(|telling| self.tell(telling, now))).await;
    }

    /// Settles a lease; what fails is tried again with the next round of reaping, and a duplicate changes nothing.
    async fn tell(&self, telling: &Telling, now: Timestamp) {
        let id = &telling.hold.id;
        match self.inner.settle(&telling.hold, telling.cost, now).await {
            Ok(Settled::Applied | Settled::Duplicate) => self.notes.settled(id, now),
            Err(StateError::TooLate { ago_s }) => {
                error!(lease = %id, ago_s, "a lease expired before it was settled, so all of it is charged");
            }
            Err(cause) => return error!(lease = %id, %cause, "a lease could not be settled yet"),
        }
        self.books.lock().told(telling);
    }
}

#[async_trait]
impl HotState for Leased {
    async fn decide(&self, ask: &Ask) -> HotAnswer {
        let way = self.shared.books.lock().decide(ask);
        let paid = match way {
            Way::Again(grant) => Some(HotAnswer::Granted(grant)),
            Way::Drawn(drawn) => self.drawn(ask, drawn),
            Way::Inner => None,
        };
        if let Some(answer) = paid {
            return answer;
        }
        let answer = self.shared.inner.decide(ask).await;
        let wanted = self.shared.books.lock().learn(ask, answer);
        if let Some(amount) = wanted {
            self.lease(ask, amount);
        }
        answer
    }

    async fn settle(
        &self,
        hold: &Hold,
        actual: MicroUsd,
        now: Timestamp,
    ) -> Result<Settled, StateError> {
        let end = self.shared.books.lock().settle(hold, actual, now);
        match end {
            End::Done(settled) => settled,
            End::Ripe(telling) => {
                let shared = Arc::clone(&self.shared);
                drop(self.runtime.spawn(async move { shared.tell(&telling, now).await }));
                Ok(Settled::Applied)
            }
            End::Inner => self.shared.inner.settle(hold, actual, now).await,
        }
    }

    async fn extend(
        &self,
        hold: &Hold,
        total: MicroUsd,
        now: Timestamp,
    ) -> Result<Extended, StateError> {
        let growth = self.shared.books.lock().extend(hold, total, now);
        match growth {
            Growth::Done(extended) => extended,
            Growth::Ask { lease, total, more } => {
                let extended = self.shared.inner.extend(&lease, total, now).await;
                self.shared.books.lock().extended(hold, more, &extended);
                extended
            }
            Growth::Inner => self.shared.inner.extend(hold, total, now).await,
        }
    }

    fn abandon(&self, id: &DecisionId) {
        self.shared.inner.abandon(id);
    }

    async fn reap(&self, now: Timestamp, max: usize) -> Result<usize, StateError> {
        self.shared.tell_ripe(now).await;
        self.shared.books.lock().tidy(now);
        self.shared.notes.tidy(now);
        self.shared.inner.reap(now, max).await
    }

    async fn close(&self, now: Timestamp) -> Result<(), StateError> {
        self.shared.books.lock().close();
        self.shared.tell_ripe(now).await;
        self.shared.inner.close(now).await
    }

    /// What leases hold is held, whatever of it was spent.
    async fn spend(&self, budget: &BudgetKey, now: Timestamp) -> Result<Spend, StateError> {
        self.shared.inner.spend(budget, now).await
    }

    async fn adjust(&self, adjustment: &Adjustment) -> Result<Spend, StateError> {
        self.shared.inner.adjust(adjustment).await
    }

    async fn in_flight(
        &self,
        tenant: &TenantId,
        of: &InFlightName,
        now: Timestamp,
    ) -> Result<u32, StateError> {
        self.shared.inner.in_flight(tenant, of, now).await
    }

    async fn health(&self) -> Result<(), StateError> {
        self.shared.inner.health().await
    }

    async fn failed(&self) {
        self.shared.inner.failed().await;
    }
}

/// A decision of its own over the very budgets of `like`, with a token nobody else has; its hold outlives those of all
/// calls that are paid out of it.
fn lease_ask(like: &Ask, amount: MicroUsd, ttl: Ttl) -> Option<Ask> {
    let mut random = [0; 10];
    getrandom::fill(&mut random).ok()?;
    let id = DecisionId::new(like.now.unix_ms(), random);
    let hold_ttl = Ttl::from_ms(ttl.ms().saturating_add(like.hold_ttl.ms()));
    let token = TokenCheck {
        jti: Jti::parse(&format!("lease-{id}")).ok()?,
        token_use: TokenUse::Bound,
        binding: Binding::from_bytes([0; 32]),
        issued_at: Some(like.now),
        expires_at: like.now.plus(hold_ttl),
    };
    let (rates, in_flight) = (Counted::default(), InFlight::default());
    Some(Ask { id, token, rates, in_flight, estimate: amount, hold_ttl, ..like.clone() })
}
