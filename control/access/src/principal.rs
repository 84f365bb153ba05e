//! Someone who was let in: who they are, as what, and for which tenants.
//!
//! Not here: how they proved it. Invariant: whoever is limited to tenants, or comes from
//! another region, may do nothing that concerns the whole region.

use std::collections::BTreeSet;

use aegis_domain::{Region, TenantId};
use aegis_registry::Actor;
use serde::{Deserialize, Serialize};

use crate::{Permission, Role};

/// How far someone's roles reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    Region,
    /// These tenants, and nothing that concerns more than one.
    Tenants(BTreeSet<TenantId>),
    /// What this region releases to that one, and nothing else.
    Abroad(Region),
}

/// Why someone may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unpermitted {
    #[error("this needs the permission {0}")]
    Permission(Permission),
    #[error("this concerns a tenant that the token is not for")]
    Tenant,
    #[error("this concerns the whole region, and the token is for some tenants only")]
    Region,
    #[error("this concerns another region than the token is for")]
    Abroad,
}

/// Someone who was let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Principal {
    /// What is written down beside each change.
    pub actor: Actor,
    pub roles: BTreeSet<Role>,
    pub reach: Reach,
}

impl Principal {
    pub fn needs(&self, permission: Permission) -> Result<(), Unpermitted> {
        let is_had = self.roles.iter().any(|role| role.has(permission));
        if is_had { Ok(()) } else { Err(Unpermitted::Permission(permission)) }
    }

    pub fn reaches(&self, tenant: &TenantId) -> Result<(), Unpermitted> {
        if self.sees(Some(tenant)) { Ok(()) } else { Err(Unpermitted::Tenant) }
    }

    pub fn reaches_region(&self) -> Result<(), Unpermitted> {
        match self.reach {
            Reach::Region => Ok(()),
            Reach::Tenants(_) => Err(Unpermitted::Region),
            Reach::Abroad(_) => Err(Unpermitted::Abroad),
        }
    }

    /// Whether a list shows what is this tenant's, or nobody's.
    pub fn sees(&self, tenant: Option<&TenantId>) -> bool {
        match &self.reach {
            Reach::Region => true,
            Reach::Tenants(tenants) => tenant.is_some_and(|tenant| tenants.contains(tenant)),
            Reach::Abroad(_) => false,
        }
    }
}
