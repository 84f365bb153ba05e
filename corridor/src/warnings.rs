//! Which budgets a gateway has warned of already: once a period, not once a call.
//!
//! Not here: when a budget is past its warning (`state`). Invariants: memory is bounded; what is forgotten is said again,
//! never left unsaid. Each gateway of a fleet warns for itself.

use std::collections::HashMap;

use aegis_domain::{BudgetKey, Timestamp};
use aegis_state::{Budget, Period};
use parking_lot::Mutex;

/// Budgets remembered; when there are more, all are forgotten.
const BUDGETS_MAX: usize = 65_536;

/// The period in which each budget was last warned of.
#[derive(Debug, Default)]
pub struct Warnings(Mutex<HashMap<BudgetKey, u32>>);

impl Warnings {
    /// Whether this is news. A rolling window's periods are hours.
    pub fn is_first(&self, budget: &Budget, now: Timestamp) -> bool {
        let period = Period::of(budget.key.window, now).index;
        let mut told = self.0.lock();
        if told.get(&budget.key) == Some(&period) {
            return false;
        }
        if told.len() >= BUDGETS_MAX {
            told.clear();
        }
        told.insert(budget.key.clone(), period);
        true
    }
}

#[cfg(test)]
mod tests {
    use aegis_domain::{BudgetScope, BudgetWindow, Hours, MicroUsd, TenantId};

    use super::*;

    fn of(window: BudgetWindow) -> Budget {
        let tenant = TenantId::parse("acme").unwrap();
        Budget::hard(BudgetKey { tenant, scope: BudgetScope::Tenant, window }, MicroUsd::new(1))
    }

    #[test]
    fn a_budget_is_warned_of_once_in_each_of_its_periods() {
        let warnings = Warnings::default();
        let (day, rolling) =
            (of(BudgetWindow::Day), of(BudgetWindow::Rolling(Hours::new(24).unwrap())));
        let at = Timestamp::from_unix_s;
        assert!(warnings.is_first(&day, at(0)));
        assert!(!warnings.is_first(&day, at(86_399)));
        assert!(warnings.is_first(&day, at(86_400)));
        assert!(warnings.is_first(&rolling, at(0)), "another budget");
        assert!(!warnings.is_first(&rolling, at(3_599)));
        assert!(warnings.is_first(&rolling, at(3_600)));
    }
}
