//! What a gateway asks of the hot state about one call, and what it keeps to settle it.
//!
//! Not here: how the answer is found (the homes). Invariant: an ask brings its own time and limits, so a home
//! needs neither clock nor configuration of its own.

use std::num::NonZeroU32;

use aegis_domain::{
    AgentId, BudgetKey, CountScope, DecisionId, Jti, MicroUsd, RateWindow, TenantId, Timestamp,
    TokenUse, ToolName, Ttl,
};

use crate::Budgets;

/// SHA-256 of what ties a token to its user: certificate, endpoint or network, and session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Binding([u8; 32]);

impl Binding {
    pub const fn from_bytes(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The token of a call, as far as its reuse matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenCheck {
    pub jti: Jti,
    pub token_use: TokenUse,
    pub binding: Binding,
    /// When it was issued, as far as it says so.
    pub issued_at: Option<Timestamp>,
    pub expires_at: Timestamp,
}

/// `calls` per window on average, `burst` at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    pub calls: NonZeroU32,
    pub burst: NonZeroU32,
}

/// Rate limits of one scope; a window without a limit is not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    pub second: Option<RateLimit>,
    pub minute: Option<RateLimit>,
    pub hour: Option<RateLimit>,
}

impl Rates {
    pub const NONE: Rates = Rates { second: None, minute: None, hour: None };

    pub fn get(&self, window: RateWindow) -> Option<RateLimit> {
        match window {
            RateWindow::Second => self.second,
            RateWindow::Minute => self.minute,
            RateWindow::Hour => self.hour,
        }
    }
}

impl Rates {
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }
}

/// The rate limits a call must keep to, all at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub agent: Rates,
    pub tenant: Rates,
    pub tool: Rates,
}

impl Counted {
    pub fn get(&self, of: CountScope) -> Rates {
        match of {
            CountScope::Agent => self.agent,
            CountScope::Tenant => self.tenant,
            CountScope::Tool => self.tool,
        }
    }
}

/// How many calls may be under way at once; where there is no limit, they are not counted.
///
/// A call is under way from its grant to its settlement, or to the expiry of its hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InFlight {
    pub agent: Option<NonZeroU32>,
    pub tenant: Option<NonZeroU32>,
    pub tool: Option<NonZeroU32>,
}

impl InFlight {
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    pub fn get(&self, of: CountScope) -> Option<NonZeroU32> {
        match of {
            CountScope::Agent => self.agent,
            CountScope::Tenant => self.tenant,
            CountScope::Tool => self.tool,
        }
    }
}

/// Whose calls under way are counted together, by name; those of a tool and of an agent within one tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InFlightName {
    Agent(AgentId),
    Tenant,
    Tool(ToolName),
}

impl InFlightName {
    /// The counts a hold is in.
    pub fn all_of(hold: &Hold) -> impl Iterator<Item = Self> {
        let counted = CountScope::ALL.into_iter().filter(|of| hold.in_flight.get(*of).is_some());
        counted.map(|of| Self::of(of, &hold.agent, &hold.tool))
    }

    pub fn of(scope: CountScope, agent: &AgentId, tool: &ToolName) -> Self {
        match scope {
            CountScope::Agent => InFlightName::Agent(agent.clone()),
            CountScope::Tenant => InFlightName::Tenant,
            CountScope::Tool => InFlightName::Tool(tool.clone()),
        }
    }
}

/// The one question about one call.
#[derive(Clone, Debug)]
pub struct Ask {
    pub id: DecisionId,
    pub tenant: TenantId,
    pub agent: AgentId,
    /// Whose budgets, rates and calls under way it counts in beside the agent's and the tenant's.
    pub tool: ToolName,
    pub token: TokenCheck,
    pub rates: Counted,
    pub in_flight: InFlight,
    pub budgets: Budgets,
    /// The highest this call can cost.
    pub estimate: MicroUsd,
    /// How long the hold stands unsettled before the estimate is charged.
    pub hold_ttl: Ttl,
    pub now: Timestamp,
}

impl Ask {
    /// What a grant of this ask must be settled with.
    pub fn hold(&self) -> Hold {
        Hold {
            id: self.id,
            tenant: self.tenant.clone(),
            agent: self.agent.clone(),
            tool: self.tool.clone(),
            in_flight: self.in_flight,
            budgets: self.budgets.clone(),
            estimate: self.estimate,
            decided_at: self.now,
            expires_at: self.now.plus(self.hold_ttl),
        }
    }
}

/// Money set aside for one call, in the windows of `decided_at`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    pub id: DecisionId,
    pub tenant: TenantId,
    pub agent: AgentId,
    pub tool: ToolName,
    /// Which counts of calls under way it is in.
    pub in_flight: InFlight,
    pub budgets: Budgets,
    pub estimate: MicroUsd,
    pub decided_at: Timestamp,
    pub expires_at: Timestamp,
}

/// A correction of what a budget has spent, in the period of `now`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjustment {
    /// Told again with the same id, it changes nothing.
    pub id: DecisionId,
    pub key: BudgetKey,
    pub change: Change,
    pub now: Timestamp,
}

/// By how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Add(MicroUsd),
    /// Stops at zero.
    Subtract(MicroUsd),
}
