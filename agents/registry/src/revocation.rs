//! What no longer counts: a token, a key, or everything an agent or a tenant was issued before an instant.
//!
//! Not here: agents that are disabled and keys that are retired. Invariant: a revocation is never taken back; it goes only
//! when nothing it speaks of can be alive any more.

use aegis_domain::{Jti, KeyId, TenantId, Timestamp, Ttl};
use aegis_identity::{self as identity, JwkThumbprint};
use serde::{Deserialize, Serialize};

use crate::listed::Listed;
use crate::{AgentName, TOKEN_LIFE_MAX, instant};

/// How much longer a revocation is kept than what it speaks of could live: clocks are stepped, and a clock that was ahead
/// must not have forgotten what matters again once it is set back.
pub const REVOCATION_MARGIN: Ttl = Ttl::from_s(60 * 60);

/// What is revoked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    Token {
        tenant: TenantId,
        jti: Jti,
    },
    Agent(AgentName),
    /// A key of an agent or of the region, by its thumbprint. Keys may come back years later, so this never ends.
    Key(KeyId),
    Tenant(TenantId),
}

impl Target {
    pub fn kind(&self) -> &'static str {
        match self {
            Target::Token { .. } => "token",
            Target::Agent(_) => "agent",
            Target::Key(_) => "key",
            Target::Tenant(_) => "tenant",
        }
    }

    /// Whom it concerns; keys belong to nobody.
    pub fn tenant(&self) -> Option<&TenantId> {
        match self {
            Target::Token { tenant, .. } | Target::Tenant(tenant) => Some(tenant),
            Target::Agent(name) => Some(&name.tenant),
            Target::Key(_) => None,
        }
    }
}

/// One revocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    pub target: Target,
    /// Tokens issued before this no longer count. Tokens and keys are revoked whole.
    #[serde(with = "instant")]
    pub before: Timestamp,
    /// After this it cannot matter.
    #[serde(with = "instant::maybe")]
    pub until: Option<Timestamp>,
}

impl Revocation {
    /// Everything that `target` names and that was issued before `now`.
    pub(crate) fn new(target: Target, now: Timestamp) -> Self {
        let over = now.plus(TOKEN_LIFE_MAX).plus(REVOCATION_MARGIN);
        let until = match target {
            Target::Key(_) => None,
            Target::Token { .. } | Target::Agent(_) | Target::Tenant(_) => Some(over),
        };
        Self { target, before: now, until }
    }

    /// The same with what an earlier one said.
    pub(crate) fn and(mut self, earlier: Option<&Revocation>) -> Self {
        if let Some(earlier) = earlier {
            self.before = self.before.max(earlier.before);
            self.until = self.until.max(earlier.until).filter(|_| earlier.until.is_some());
        }
        self
    }

    /// The same in the words of `identity`. `None` cannot happen: a key's name is its thumbprint.
    pub(crate) fn taken_back(&self) -> Option<identity::Revocation> {
        let issued_before = self.before;
        Some(match self.target.clone() {
            Target::Token { tenant, jti } => {
                let expires_at = self.until.unwrap_or(self.before);
                identity::Revocation::Token { tenant, jti, expires_at }
            }
            Target::Agent(AgentName { tenant, id: agent }) => {
                identity::Revocation::Agent { tenant, agent, issued_before }
            }
            Target::Tenant(tenant) => identity::Revocation::Tenant { tenant, issued_before },
            Target::Key(id) => identity::Revocation::Key(JwkThumbprint::parse(id.as_str()).ok()?),
        })
    }

    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

impl Listed for Revocation {
    type Name = Target;

    fn name(&self) -> Target {
        self.target.clone()
    }
}

/// What revocations ask about a token.
#[derive(Clone, Debug)]
pub struct Issued<'a> {
    pub jti: &'a Jti,
    pub agent: &'a AgentName,
    /// The keys it depends on: the one that signed it, and the one it is bound to.
    pub keys: &'a [&'a KeyId],
    pub issued_at: Timestamp,
}
