//! Where money is counted: the seam between the API and the hot state.
//!
//! Not here: limits that the region sets (`agents/registry`). Invariant: a purse does what an adjustment orders once, however
//! often it is asked.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use aegis_domain::{BudgetKey, Timestamp};
use aegis_registry::{Adjustment, BudgetTerms, Correction};
use aegis_state::{Budget, Change, HotState, Spend, StateError};
use async_trait::async_trait;
use parking_lot::RwLock;

/// Counts what budgets have spent.
#[async_trait]
pub trait Purse: Send + Sync + fmt::Debug {
    /// What a budget's current window has spent and holds.
    async fn spend(&self, budget: &BudgetKey, now: Timestamp) -> Result<Spend, StateError>;

    /// Corrects a spend in the window in which that was ordered, and tells what it is then.
    async fn adjust(&self, adjustment: &Adjustment) -> Result<Spend, StateError>;

    /// The budgets of a gateway's own configuration, and of what the region defines in its place. Where the region sets one of the same name, the region's counts.
    fn configured(&self) -> Arc<BTreeMap<BudgetKey, BudgetTerms>>;
}

/// The hot state that gateways ask about every call.
pub struct HotPurse {
    state: Arc<dyn HotState>,
    configured: RwLock<Arc<BTreeMap<BudgetKey, BudgetTerms>>>,
}

impl HotPurse {
    pub fn new(state: Arc<dyn HotState>, configured: impl IntoIterator<Item = Budget>) -> Self {
        let purse = Self { state, configured: RwLock::default() };
        purse.configure(configured);
        purse
    }

    /// From now on these.
    pub fn configure(&self, configured: impl IntoIterator<Item = Budget>) {
        let terms = |budget: Budget| {
            let Budget { key, limit, warn_at, overrun } = budget;
            (key, BudgetTerms { limit, warn_at, overrun })
        };
        *self.configured.write() = Arc::new(configured.into_iter().map(terms).collect());
    }
}

impl fmt::Debug for HotPurse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HotPurse").field("configured", &self.configured()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Purse for HotPurse {
    async fn spend(&self, budget: &BudgetKey, now: Timestamp) -> Result<Spend, StateError> {
        self.state.spend(budget, now).await
    }

    async fn adjust(&self, adjustment: &Adjustment) -> Result<Spend, StateError> {
        let change = match adjustment.correction {
            Correction::Add(amount) => Change::Add(amount),
            Correction::Subtract(amount) => Change::Subtract(amount),
        };
        let (id, key, now) = (adjustment.id, adjustment.budget.clone(), adjustment.at);
        self.state.adjust(&aegis_state::Adjustment { id, key, change, now }).await
    }

    fn configured(&self) -> Arc<BTreeMap<BudgetKey, BudgetTerms>> {
        Arc::clone(&self.configured.read())
    }
}
