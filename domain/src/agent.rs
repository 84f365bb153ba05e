//! Who is calling, once the token has been believed.
//!
//! Not here: how a token is checked (`identity`). Invariant: every field comes from a verified token or
//! from the registry, never from another header.

use std::collections::{BTreeMap, BTreeSet};

use crate::{AgentId, Jti, KeyId, OrgId, TenantId, Timestamp};

/// How often one token may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenUse {
    /// Reusable until it expires, tied to the binding of its first use.
    Bound,
    /// Good for one call.
    Once,
}

impl TokenUse {
    pub fn as_str(self) -> &'static str {
        match self {
            TokenUse::Bound => "bound",
            TokenUse::Once => "once",
        }
    }
}

/// An agent whose token verified and whose registration was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentIdentity {
    pub org: OrgId,
    pub tenant: TenantId,
    pub agent: AgentId,
    pub parent_agent: Option<AgentId>,
    pub scopes: BTreeSet<String>,
    pub groups: BTreeSet<String>,
    /// Facts about the agent that policies may ask for (`purpose`, `tier`), from the registry.
    pub attributes: BTreeMap<String, serde_json::Value>,
    pub jti: Jti,
    pub key_id: KeyId,
    pub token_use: TokenUse,
    pub expires_at: Timestamp,
}
