//! What one call counts against: the limits of its agent, its agent's team, its tenant and the tool that it calls.
//!
//! Not here: counting (`state`). Invariant: a budget that the region sets takes the place of the configured one of the same
//! name, and stands beside it where there is none; neither can take the other away.

use aegis_domain::BudgetScope;
use aegis_registry as registry;
use aegis_state::{Budget, BudgetError, Budgets, Counted, InFlight};

use crate::context::{Identified, Read};

/// All of them for one call.
#[derive(Debug)]
pub(crate) struct Bounds {
    pub(crate) rates: Counted,
    pub(crate) in_flight: InFlight,
    pub(crate) budgets: Budgets,
}

impl Bounds {
    /// The limits as they are now. More budgets than can be asked about in one step are a mistake of whoever set them.
    pub(crate) fn of(
        identified: &Identified,
        read: &Read,
        view: &registry::View,
    ) -> Result<Self, BudgetError> {
        let Identified { limits, tenant, .. } = identified;
        let tool = &read.binding.limits;
        let in_flight = InFlight {
            agent: limits.in_flight,
            tenant: tenant.limits.in_flight,
            tool: tool.in_flight,
        };
        Ok(Self {
            rates: Counted { agent: limits.rates, tenant: tenant.limits.rates, tool: tool.rates },
            in_flight,
            budgets: budgets(identified, read, view)?,
        })
    }
}

fn budgets(
    identified: &Identified,
    read: &Read,
    view: &registry::View,
) -> Result<Budgets, BudgetError> {
    let Identified { agent, limits, tenant, .. } = identified;
    let tool = BudgetScope::Tool(read.call.route.clone());
    let of_tool = &read.binding.limits.spend;
    if of_tool.is_empty() && view.budget_count() == 0 {
        return Ok(limits.budgets.clone());
    }
    let of_tool = aegis_config::limited(&tenant.id, &tool, of_tool);
    let mut all: Vec<Budget> = limits.budgets.iter().cloned().chain(of_tool).collect();
    let team = limits.team.clone().map(BudgetScope::Team);
    let scopes = [BudgetScope::Agent(agent.agent.clone()), BudgetScope::Tenant, tool];
    for scope in scopes.into_iter().chain(team) {
        for set in view.budgets_in(&tenant.id, &scope) {
            all.retain(|budget| budget.key != set.key);
            all.push(of_region(set));
        }
    }
    Budgets::new(all)
}

fn of_region(registry::Budget { key, terms, .. }: &registry::Budget) -> Budget {
    let registry::BudgetTerms { limit, warn_at, overrun } = *terms;
    Budget { key: key.clone(), limit, warn_at, overrun }
}
