//! One agent as the region knows it.
//!
//! Not here: its tokens (`agents/tokens`). Invariant: an agent has at most one key that counts, and one more that is on
//! its way out.

use std::collections::{BTreeMap, BTreeSet};

use aegis_domain::{AgentId, MicroUsd, OrgId, TenantId, Timestamp, Ttl};
use aegis_identity::Mode;
use serde::{Deserialize, Serialize};

use crate::listed::Listed;
use crate::{AgentKey, Attribute, Group, Scope, instant, mode};

/// What an agent is called in its region.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AgentName {
    pub tenant: TenantId,
    pub id: AgentId,
}

/// What a registered agent is and may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    pub tenant: TenantId,
    pub id: AgentId,
    pub org: OrgId,
    /// The agent that starts it, of the same tenant.
    pub parent: Option<AgentId>,
    /// The most its tokens may say.
    pub scopes: BTreeSet<Scope>,
    pub groups: BTreeSet<Group>,
    pub attributes: BTreeMap<Box<str>, Attribute>,
    #[serde(with = "mode")]
    pub mode: Mode,
    pub limits: Limits,
    pub standing: Standing,
    /// What it proves itself with; `None` until it enrols.
    pub key: Option<AgentKey>,
    /// The key before that, for as long as both count.
    pub retiring: Option<Retiring>,
    #[serde(with = "instant")]
    pub registered_at: Timestamp,
    /// The serial of the event that last changed it.
    pub changed: u64,
}

impl Agent {
    pub fn name(&self) -> AgentName {
        AgentName { tenant: self.tenant.clone(), id: self.id.clone() }
    }

    /// The keys it may prove itself with at an instant, the current one first.
    pub fn keys(&self, now: Timestamp) -> impl Iterator<Item = &AgentKey> {
        let retiring = self.retiring.as_ref().filter(move |retiring| now < retiring.until);
        self.key.iter().chain(retiring.map(|retiring| &retiring.key))
    }
}

impl Listed for Agent {
    type Name = AgentName;

    fn name(&self) -> AgentName {
        Agent::name(self)
    }
}

/// Whether an agent may act at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    Active,
    Disabled,
}

impl Standing {
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Active => "active",
            Standing::Disabled => "disabled",
        }
    }
}

/// How much an agent may, where policy and tenant do not say less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The longest its tokens live; five minutes unless set, fifteen at most.
    pub token_ttl_s: Option<u32>,
    pub calls_per_minute: Option<u32>,
    pub spend_per_day_microusd: Option<u64>,
}

impl Limits {
    const TOKEN_TTL: Ttl = Ttl::from_s(5 * 60);

    pub fn token_ttl(&self) -> Ttl {
        let set = self.token_ttl_s.map(|s| Ttl::from_s(u64::from(s)));
        set.unwrap_or(Self::TOKEN_TTL).min(crate::TOKEN_LIFE_MAX)
    }

    pub fn spend_per_day(&self) -> Option<MicroUsd> {
        self.spend_per_day_microusd.map(MicroUsd::new)
    }
}

/// A key that still counts for a while after another took its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retiring {
    pub key: AgentKey,
    #[serde(with = "instant")]
    pub until: Timestamp,
}
