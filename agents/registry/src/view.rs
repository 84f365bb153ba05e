//! What a gateway needs to know of the registry: agents, keys, revocations and budgets.
//!
//! Not here: definitions, which are told by themselves (`definition`); enrolment codes, corrections and who commanded what, which
//! never leave the region's voters. Invariant: a view is its events in order, whoever applies them; the registry holds one and
//! changes it in the same way as a gateway does.

use std::collections::BTreeMap;

use aegis_domain::{
    AgentId, BudgetKey, BudgetScope, BudgetWindow, Hours, KeyId, TenantId, Timestamp,
};
use aegis_identity::{KeySet, Revocations, RevocationsFull};
use serde::{Deserialize, Serialize};

use crate::listed::{self, file};
use crate::{
    Agent, AgentName, Budget, Change, Event, Issued, KeyStanding, PublicJwk, RegistryError,
    Revocation, Target, TokenKey, instant,
};

/// The registry as gateways follow it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct View {
    serial: u64,
    #[serde(with = "instant")]
    latest: Timestamp,
    #[serde(with = "listed")]
    agents: BTreeMap<AgentName, Agent>,
    #[serde(with = "listed")]
    keys: BTreeMap<KeyId, TokenKey>,
    #[serde(with = "listed")]
    revocations: BTreeMap<Target, Revocation>,
    #[serde(default, with = "listed")]
    budgets: BTreeMap<BudgetKey, Budget>,
}

impl Default for View {
    fn default() -> Self {
        Self {
            serial: 0,
            latest: Timestamp::from_unix_ns(0),
            agents: BTreeMap::new(),
            keys: BTreeMap::new(),
            revocations: BTreeMap::new(),
            budgets: BTreeMap::new(),
        }
    }
}

impl View {
    /// The number of the last event.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    pub(crate) fn begin_at(&mut self, serial: u64) {
        self.serial = serial.max(self.serial.saturating_add(1));
    }

    /// The time of the last event; it never goes back.
    pub fn latest(&self) -> Timestamp {
        self.latest
    }

    pub fn agent(&self, tenant: &TenantId, id: &AgentId) -> Option<&Agent> {
        self.agents.get(&AgentName { tenant: tenant.clone(), id: id.clone() })
    }

    /// All agents by name, from the one after `after` on.
    pub fn agents(&self, after: Option<&AgentName>) -> impl Iterator<Item = &Agent> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, |name| Excluded(name.clone()));
        self.agents.range((from, Unbounded)).map(|(_, agent)| agent)
    }

    pub fn agent_count(&self) -> usize {
        self.agents.len()
    }

    /// All keys, of whatever standing.
    pub fn keys(&self) -> impl Iterator<Item = &TokenKey> {
        self.keys.values()
    }

    pub fn key(&self, id: &KeyId) -> Option<&TokenKey> {
        self.keys.get(id)
    }

    /// The key that a control node signs with at an instant.
    pub fn signing_key(&self, signer: u64, now: Timestamp) -> Option<&TokenKey> {
        let active = self.keys().filter(|key| {
            let is_active = key.signer == signer && key.standing(now) == KeyStanding::Active;
            is_active && !self.is_key_revoked(key.id())
        });
        active.max_by_key(|key| key.signs_from)
    }

    /// The keys whose signatures count at an instant, and those that will be next: what is published.
    pub fn published(&self, now: Timestamp) -> impl Iterator<Item = &TokenKey> {
        self.keys().filter(move |key| {
            key.standing(now) != KeyStanding::Retired && !self.is_key_revoked(key.id())
        })
    }

    /// The same as a set to check tokens with.
    pub fn key_set(&self, now: Timestamp) -> KeySet {
        PublicJwk::set(self.published(now).map(|key| &key.key))
    }

    pub fn revocations(&self) -> impl Iterator<Item = &Revocation> {
        self.revocations.values()
    }

    /// The same in the order of what they revoke, from the one after `after` on.
    pub fn revocations_after(&self, after: Option<&Target>) -> impl Iterator<Item = &Revocation> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, |target| Excluded(target.clone()));
        self.revocations.range((from, Unbounded)).map(|(_, revocation)| revocation)
    }

    pub fn revocation(&self, target: &Target) -> Option<&Revocation> {
        self.revocations.get(target)
    }

    pub fn revocation_count(&self) -> usize {
        self.revocations.len()
    }

    pub fn is_key_revoked(&self, id: &KeyId) -> bool {
        self.revocations.contains_key(&Target::Key(id.clone()))
    }

    /// What revoked a token, if anything did.
    pub fn revoked(&self, token: &Issued<'_>) -> Option<&Revocation> {
        let whole = |target: Target| self.revocations.get(&target);
        let earlier = |target: Target| whole(target).filter(|it| token.issued_at < it.before);
        whole(Target::Token { tenant: token.agent.tenant.clone(), jti: token.jti.clone() })
            .or_else(|| token.keys.iter().find_map(|id| whole(Target::Key((*id).clone()))))
            .or_else(|| earlier(Target::Agent(token.agent.clone())))
            .or_else(|| earlier(Target::Tenant(token.agent.tenant.clone())))
    }

    /// The same as the value that a gateway asks with every call (`identity`).
    pub fn taken_back(&self) -> Result<Revocations, RevocationsFull> {
        let mut all = Revocations::default();
        for revocation in self.revocations() {
            if let Some(taken) = revocation.taken_back() {
                all.add(taken)?;
            }
        }
        Ok(all)
    }

    /// What the region lets a budget spend, in place of whatever a gateway's own configuration says of it.
    pub fn budget(&self, key: &BudgetKey) -> Option<&Budget> {
        self.budgets.get(key)
    }

    /// A tenant's budgets by name, from the one after `after` on.
    pub fn budgets_of<'a>(
        &'a self,
        tenant: &'a TenantId,
        after: Option<&BudgetKey>,
    ) -> impl Iterator<Item = &'a Budget> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let (scope, window) = (BudgetScope::Tenant, BudgetWindow::Day);
        let first = BudgetKey { tenant: tenant.clone(), scope, window };
        let from = after.map_or(Included(first), |after| Excluded(after.clone()));
        let budgets = self.budgets.range((from, Unbounded)).map(|(_, budget)| budget);
        budgets.take_while(move |budget| budget.key.tenant == *tenant)
    }

    /// The budgets of one scope, whatever their windows.
    pub fn budgets_in(
        &self,
        tenant: &TenantId,
        scope: &BudgetScope,
    ) -> impl Iterator<Item = &Budget> {
        let key = |window| BudgetKey { tenant: tenant.clone(), scope: scope.clone(), window };
        let (first, last) = (key(BudgetWindow::Day), key(BudgetWindow::Rolling(Hours::LONGEST)));
        self.budgets.range(first..=last).map(|(_, budget)| budget)
    }

    pub fn budgets(&self) -> impl Iterator<Item = &Budget> {
        self.budgets.values()
    }

    pub fn budget_count(&self) -> usize {
        self.budgets.len()
    }

    /// Moves on by one event. Events out of order are refused, because what lies between could be a revocation.
    pub fn apply(&mut self, event: &Event) -> Result<(), RegistryError> {
        let wanted = self.serial.saturating_add(1);
        if event.serial != wanted || event.at < self.latest {
            return Err(RegistryError::OutOfOrder { wanted, found: event.serial });
        }
        (self.serial, self.latest) = (event.serial, event.at);
        for change in &event.changes {
            match change {
                Change::Agent(agent) => file(&mut self.agents, agent.as_ref().clone()),
                Change::Key(key) => file(&mut self.keys, key.clone()),
                Change::Revoked(revocation) => file(&mut self.revocations, revocation.clone()),
                Change::Budget(budget) => file(&mut self.budgets, budget.clone()),
                Change::BudgetGone(key) => {
                    self.budgets.remove(key);
                }
                Change::Code(_) | Change::CodeGone(_) | Change::Adjustment(_) => {}
                Change::Definition(_) | Change::DefinitionGone(_) => {}
            }
        }
        self.revocations.retain(|_, revocation| !revocation.is_over(event.at));
        Ok(())
    }
}
