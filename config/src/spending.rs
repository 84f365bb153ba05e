//! What the calls of a tenant, a team, an agent or a tool may spend, how many may come, and how many may be under way.
//!
//! Not here: how people write it (`read_spending`), and what is spent (`state`). Invariant: what a tenant and an agent
//! spend in a day and a month is counted, limited or not; no call counts against more budgets than may be asked about.

use std::num::NonZeroU32;

use aegis_domain::{AgentId, BudgetKey, BudgetScope, BudgetWindow, MicroUsd, TeamId, TenantId};
use aegis_state::{Budget, BudgetError, Budgets, Overrun, Rates};

use crate::Tenant;

/// The limits of one tenant, agent or tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallLimits {
    pub spend: Vec<SpendLimit>,
    pub rates: Rates,
    /// How many calls may be under way at once.
    pub in_flight: Option<NonZeroU32>,
}

/// What may be spent in one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpendLimit {
    pub window: BudgetWindow,
    pub limit: MicroUsd,
    /// From here on callers and operators are told.
    pub warn_at: Option<MicroUsd>,
    pub overrun: Overrun,
}

impl Tenant {
    /// What the calls of an agent count against, whatever tool they are for: its own budgets, its team's and the tenant's.
    pub fn budgets_of(
        &self,
        agent: &AgentId,
        team: Option<&TeamId>,
        own: &[SpendLimit],
    ) -> Result<Budgets, BudgetError> {
        let mut budgets = self.counted(&BudgetScope::Agent(agent.clone()), own);
        if let Some((team, limits)) = team.and_then(|team| self.teams.get_key_value(team)) {
            budgets.extend(limited(&self.id, &BudgetScope::Team(team.clone()), limits));
        }
        budgets.extend(self.counted(&BudgetScope::Tenant, &self.limits.spend));
        Budgets::new(budgets)
    }

    /// Every budget that some call of it counts against; some stand there more than once.
    pub fn budgets(&self) -> Vec<Budget> {
        let agents = self.agents.values().flat_map(|agent| agent.budgets.iter().cloned());
        let mut all: Vec<Budget> = agents.collect();
        all.extend(self.counted(&BudgetScope::Tenant, &self.limits.spend));
        for (team, limits) in &self.teams {
            all.extend(limited(&self.id, &BudgetScope::Team(team.clone()), limits));
        }
        for (tool, binding) in &self.tools {
            let scope = BudgetScope::Tool(tool.clone());
            all.extend(limited(&self.id, &scope, &binding.limits.spend));
        }
        all
    }

    /// The tenant with other limits for all its agents together.
    pub fn limited_to(&self, limits: CallLimits) -> Result<Self, BudgetError> {
        let mut tenant = Self { limits, ..self.clone() };
        let shared = tenant.counted(&BudgetScope::Tenant, &tenant.limits.spend);
        for agent in tenant.agents.values_mut() {
            let own = agent.budgets.iter().filter(|it| it.key.scope != BudgetScope::Tenant);
            agent.budgets = Budgets::new(own.chain(&shared).cloned().collect())?;
        }
        Ok(tenant)
    }

    /// The limited windows of a scope, and its days and months in any case.
    fn counted(&self, scope: &BudgetScope, limits: &[SpendLimit]) -> Vec<Budget> {
        let is_limited = |window| limits.iter().any(|limit| limit.window == window);
        let always = [BudgetWindow::Day, BudgetWindow::Month].into_iter();
        let unlimited = always.filter(|window| !is_limited(*window)).map(|window| SpendLimit {
            window,
            limit: MicroUsd::MAX,
            warn_at: None,
            overrun: Overrun::Refuse,
        });
        let all: Vec<SpendLimit> = limits.iter().copied().chain(unlimited).collect();
        limited(&self.id, scope, &all).collect()
    }
}

/// Limits as budgets of a scope.
pub fn limited(
    tenant: &TenantId,
    scope: &BudgetScope,
    limits: &[SpendLimit],
) -> impl Iterator<Item = Budget> {
    limits.iter().map(move |SpendLimit { window, limit, warn_at, overrun }| Budget {
        key: BudgetKey { tenant: tenant.clone(), scope: scope.clone(), window: *window },
        limit: *limit,
        warn_at: *warn_at,
        overrun: *overrun,
    })
}
