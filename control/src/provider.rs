//! The OpenID provider whose people may command the region, with its keys as of the last refresh.
//!
//! Not here: checking a token (`identity`), and what a role may do (`control/access`). Invariant: keys are refreshed on a
//! schedule of our own, no token ever causes a fetch, and a group that nobody mapped brings no role.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aegis_access::{Principal, Reach, Role};
use aegis_domain::{TenantId, Timestamp};
use aegis_follow::{KeySource, KeySources};
use aegis_identity::{ClaimPath, Person, PersonError, PersonIssuer};
use aegis_registry::Actor;

const REFRESH: Duration = Duration::from_secs(5 * 60);
/// What stands for every tenant in a claim that limits people to some.
const ALL_TENANTS: &str = "*";

/// The provider, as it is configured.
#[derive(Clone, Debug)]
pub struct PeopleSource {
    /// `iss`
    pub issuer: String,
    /// What its tokens must be for.
    pub audiences: Vec<String>,
    /// Where its keys are published: https, or a path on this machine.
    pub keys: KeySource,
    /// How often they are fetched; every five minutes unless set.
    pub refresh: Option<Duration>,
    /// Where the groups stand in its tokens, and what each is.
    pub groups: ClaimPath,
    pub roles: BTreeMap<String, Role>,
    /// Where the tenants stand that someone is limited to, if anybody is.
    pub tenants: Option<ClaimPath>,
}

/// Why a token of a person does not count.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProviderError {
    #[error("the provider's keys were never had")]
    NoKeys,
    #[error(transparent)]
    Token(#[from] PersonError),
    #[error("the subject is longer than a record has room for")]
    Subject,
}

#[derive(Debug)]
pub(crate) struct Provider {
    source: PeopleSource,
    keys: KeySources,
}

impl Provider {
    pub(crate) fn start(source: PeopleSource) -> Self {
        let wanted = vec![(source.keys.clone(), false)];
        let keys = KeySources::start(wanted, source.refresh.unwrap_or(REFRESH));
        Self { source, keys }
    }

    /// Whose token this is, and what its groups make of them.
    pub(crate) fn person(&self, token: &str, now: Timestamp) -> Result<Principal, ProviderError> {
        let PeopleSource { issuer, audiences, groups, tenants, .. } = self.source.clone();
        let keys = self.keys.current().first().cloned().flatten().ok_or(ProviderError::NoKeys)?;
        let issuer = PersonIssuer { issuer, audiences, keys, groups, tenants };
        let Person { subject, email, groups, tenants } = issuer.verify(token, now)?;
        let named = |name: &str| Actor::parse(&format!("oidc {name}")).ok();
        let actor = email.as_deref().and_then(named).or_else(|| named(&subject));
        Ok(Principal {
            actor: actor.ok_or(ProviderError::Subject)?,
            roles: groups
                .iter()
                .filter_map(|group| self.source.roles.get(group))
                .copied()
                .collect(),
            reach: tenants.map_or(Reach::Region, reach),
        })
    }
}

/// What is no tenant's name limits as much as one that nobody has.
fn reach(tenants: BTreeSet<String>) -> Reach {
    if tenants.contains(ALL_TENANTS) {
        return Reach::Region;
    }
    Reach::Tenants(tenants.iter().filter_map(|name| TenantId::parse(name).ok()).collect())
}
