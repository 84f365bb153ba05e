//! Whether a command may set a budget or correct its spend.
//!
//! Not here: the other commands (`decide`). Invariant: a budget's warning never lies beyond its limit.

use aegis_domain::{BudgetKey, DecisionId};

use super::{ADJUSTMENTS_MAX, BUDGETS_MAX, Desk, Limited, Refusal, at_most};
use crate::{Adjustment, Budget, BudgetTerms, Change, Correction, Purpose, Why};

impl Desk<'_> {
    pub(super) fn set_budget(
        &self,
        key: &BudgetKey,
        seen: Option<u64>,
        terms: Option<BudgetTerms>,
    ) -> Result<Vec<Change>, Refusal> {
        let view = &self.registry.view;
        let before = view.budget(key);
        match (seen, before) {
            (Some(seen), Some(before)) if seen != before.changed => return Err(Refusal::Changed),
            (Some(_), None) => return Err(Refusal::Changed),
            (Some(_), Some(_)) | (None, _) => {}
        }
        let Some(terms) = terms else {
            before.ok_or(Refusal::BudgetUnknown)?;
            return Ok(vec![Change::BudgetGone(key.clone())]);
        };
        if let Some(warn_at) = terms.warn_at {
            let limit = terms.limit.micro_usd();
            at_most(Limited::Warning, warn_at.micro_usd(), limit)?;
        }
        if before.is_none() && view.budget_count() >= BUDGETS_MAX {
            return Err(Refusal::Full);
        }
        let by = self.command.by.clone();
        let budget = Budget { key: key.clone(), terms, by, at: self.at, changed: self.serial };
        Ok(vec![Change::Budget(budget)])
    }

    pub(super) fn adjust(
        &self,
        budget: &BudgetKey,
        correction: Correction,
        purpose: Purpose,
        reason: &Why,
    ) -> Result<Vec<Change>, Refusal> {
        // What cannot be explained later is not done now.
        if self.registry.adjustments.len() >= ADJUSTMENTS_MAX {
            return Err(Refusal::Full);
        }
        let adjustment = Adjustment {
            id: Adjustment::id_of(&self.command.origin, self.at),
            budget: budget.clone(),
            correction,
            purpose,
            reason: reason.clone(),
            by: self.command.by.clone(),
            at: self.at,
            applied_at: None,
        };
        Ok(vec![Change::Adjustment(Box::new(adjustment))])
    }

    pub(super) fn note_adjusted(&self, id: DecisionId) -> Result<Vec<Change>, Refusal> {
        let known = self.registry.adjustments.get(&id).ok_or(Refusal::AdjustmentUnknown)?;
        if known.applied_at.is_some() {
            return Ok(Vec::new());
        }
        let noted = Adjustment { applied_at: Some(self.at), ..known.clone() };
        Ok(vec![Change::Adjustment(Box::new(noted))])
    }
}
