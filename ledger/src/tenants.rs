//! Where a tenant lives, and where its calls may be handled.
//!
//! Not here: answering 421 elsewhere (`gateway`). Invariant: a tenant's home is one of its regions, and who changes it has
//! seen what it was.

use std::collections::{BTreeMap, BTreeSet};

use aegis_domain::{Region, TenantId};
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::ledger::Desk;
use crate::wire::pairs;

const TENANTS_MAX: usize = 100_000;
const REGIONS_MAX: usize = 64;

/// What can be done about a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TenantAct {
    /// `seen` is the revision it was read at, zero for one that is new.
    Place {
        tenant: TenantId,
        seen: u64,
        residency: Residency,
    },
    Remove {
        tenant: TenantId,
        seen: u64,
    },
}

/// Why it was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum TenantRefusal {
    #[error("no tenant of that name is known")]
    Unknown,
    #[error("the tenant was changed since it was read")]
    Changed,
    #[error("the home is not among the allowed regions")]
    HomeNotAllowed,
    #[error("a tenant has at most 64 regions")]
    Regions,
    #[error("the region holds all the tenants it can")]
    Full,
}

/// Where a tenant may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Residency {
    /// Where its agents, approvals and heads are kept.
    pub home: Region,
    /// Where its calls may be handled.
    pub allowed: BTreeSet<Region>,
}

/// One tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    pub residency: Residency,
    /// The revision that last changed it.
    pub changed: u64,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tenants(#[serde(with = "pairs")] BTreeMap<TenantId, Tenant>);

impl Tenants {
    pub fn get(&self, tenant: &TenantId) -> Option<&Tenant> {
        self.0.get(tenant)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&TenantId, &Tenant)> {
        self.0.iter()
    }

    pub(crate) fn act(
        &mut self,
        act: &TenantAct,
        desk: &Desk<'_>,
    ) -> Result<Outcome, TenantRefusal> {
        match act {
            TenantAct::Place { tenant, seen, residency } => {
                let known = self.0.get(tenant);
                if known.map_or(0, |known| known.changed) != *seen {
                    return Err(TenantRefusal::Changed);
                }
                if known.is_none() && self.0.len() >= TENANTS_MAX {
                    return Err(TenantRefusal::Full);
                }
                if residency.allowed.len() > REGIONS_MAX {
                    return Err(TenantRefusal::Regions);
                }
                if !residency.allowed.contains(&residency.home) {
                    return Err(TenantRefusal::HomeNotAllowed);
                }
                let placed = Tenant { residency: residency.clone(), changed: desk.revision };
                self.0.insert(tenant.clone(), placed);
                Ok(Outcome::Done)
            }
            TenantAct::Remove { tenant, seen } => {
                let known = self.0.get(tenant).ok_or(TenantRefusal::Unknown)?;
                if known.changed != *seen {
                    return Err(TenantRefusal::Changed);
                }
                self.0.remove(tenant);
                Ok(Outcome::Done)
            }
        }
    }
}
