//! What is registered about an agent: in the configuration, or in the region's registry.
//!
//! Not here: whom tokens name (`rooms::identify`). Invariant: an agent is looked up where its issuer keeps its agents and
//! nowhere else, so that no issuer speaks for another's; the registry can ask for more than a tenant does, never for less.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use aegis_config::{SpendLimit, Standing, Tenant};
use aegis_domain::{AgentId, BudgetWindow, Reason, TeamId};
use aegis_identity::Modes;
use aegis_registry as registry;
use aegis_state::{Overrun, RateLimit, Rates};
use serde_json::Value;

use crate::context::AgentLimits;

/// The attribute that says in which team an agent of the registry is.
const TEAM_ATTRIBUTE: &str = "team";

/// One agent, as the rooms need to know it.
pub(crate) struct Registered {
    pub(crate) parent: Option<AgentId>,
    pub(crate) groups: BTreeSet<String>,
    pub(crate) attributes: BTreeMap<String, Value>,
    /// The most its tokens may say, where that is kept.
    pub(crate) scopes: Option<BTreeSet<String>>,
    /// Of each of these, one must be met.
    pub(crate) modes: [Modes; 2],
    pub(crate) limits: AgentLimits,
}

impl Registered {
    /// An agent of the configuration, for tokens of the issuers it trusts.
    pub(crate) fn in_config(tenant: &Tenant, agent: &AgentId) -> Result<Self, Reason> {
        let agent = tenant.agents.get(agent).ok_or(Reason::AgentUnknown)?;
        match agent.standing {
            Standing::Active => {}
            Standing::Disabled => return Err(Reason::AgentUnknown),
        }
        Ok(Self {
            parent: agent.parent.clone(),
            groups: agent.groups.clone(),
            attributes: agent.attributes.clone(),
            scopes: None,
            modes: [agent.modes.unwrap_or(tenant.modes), Modes::ANY],
            limits: AgentLimits {
                team: agent.team.clone(),
                rates: agent.rates,
                in_flight: agent.in_flight,
                budgets: agent.budgets.clone(),
            },
        })
    }

    /// An agent of the registry, for tokens of the region's own service.
    pub(crate) fn in_registry(
        view: &registry::View,
        tenant: &Tenant,
        agent: &AgentId,
    ) -> Result<Self, Reason> {
        let agent = view.agent(&tenant.id, agent).ok_or(Reason::AgentUnknown)?;
        if agent.standing != registry::Standing::Active || agent.org != tenant.org {
            return Err(Reason::AgentUnknown);
        }
        let attributes =
            agent.attributes.iter().map(|(name, value)| (name.to_string(), Value::from(value)));
        Ok(Self {
            parent: agent.parent.clone(),
            groups: agent.groups.iter().map(|group| group.as_str().to_owned()).collect(),
            attributes: attributes.collect(),
            scopes: Some(agent.scopes.iter().map(|scope| scope.as_str().to_owned()).collect()),
            modes: [tenant.modes, Modes::from_iter([agent.mode])],
            limits: limits(agent, tenant)?,
        })
    }
}

fn limits(agent: &registry::Agent, tenant: &Tenant) -> Result<AgentLimits, Reason> {
    let calls = agent.limits.calls_per_minute.and_then(NonZeroU32::new);
    let minute = calls.map(|calls| RateLimit { calls, burst: calls });
    let own = agent.limits.spend_per_day().map(|limit| SpendLimit {
        window: BudgetWindow::Day,
        limit,
        warn_at: None,
        overrun: Overrun::Refuse,
    });
    let team = match agent.attributes.get(TEAM_ATTRIBUTE) {
        Some(registry::Attribute::Text(name)) => TeamId::parse(name).ok(),
        Some(registry::Attribute::Truth(_) | registry::Attribute::Number(_)) | None => None,
    };
    let budgets = tenant.budgets_of(&agent.id, team.as_ref(), own.as_slice());
    let budgets = budgets.map_err(|_| Reason::Unavailable)?;
    let rates = Rates { minute, ..Rates::NONE };
    Ok(AgentLimits { team, rates, in_flight: None, budgets })
}
