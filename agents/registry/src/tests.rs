//! The rules of the registry, and random histories that none of them may break.
//!
//! Not here: logs on disk (`agents/store`). Invariant: every history is played by commands alone.

use std::collections::{BTreeMap, BTreeSet};

use aegis_domain::{
    AgentId, BudgetKey, DecisionId, Jti, KeyId, MicroUsd, OrgId, Overrun, TenantId, Timestamp,
    ToolName, Ttl,
};
use aegis_identity::SigningKey;

use crate::*;

mod definitions;
mod histories;
mod money;
mod rules;

pub(crate) fn at(s: u64) -> Timestamp {
    Timestamp::from_unix_s(1_800_000_000 + s)
}

pub(crate) fn name(agent: &str) -> AgentName {
    AgentName { tenant: TenantId::parse("acme").unwrap(), id: AgentId::parse(agent).unwrap() }
}

pub(crate) fn jwk(seed: u8) -> PublicJwk {
    PublicJwk::parse(&SigningKey::from_seed([seed; 32]).public_jwk()).unwrap()
}

pub(crate) fn key(seed: u8) -> AgentKey {
    AgentKey::Jwk(jwk(seed))
}

pub(crate) fn code(text: &str) -> NewCode {
    NewCode { hash: CodeHash::of(text), ttl: Ttl::from_s(600), overlap: Ttl::from_s(0) }
}

pub(crate) fn budget(name: &str) -> BudgetKey {
    BudgetKey::parse(TenantId::parse("acme").unwrap(), name).unwrap()
}

pub(crate) fn terms(limit: u64) -> BudgetTerms {
    let limit = MicroUsd::new(limit);
    BudgetTerms { limit, warn_at: None, overrun: Overrun::Refuse }
}

pub(crate) fn new_agent(agent: &str) -> NewAgent {
    NewAgent {
        tenant: name(agent).tenant,
        id: name(agent).id,
        org: OrgId::parse("acme-org").unwrap(),
        parent: None,
        scopes: BTreeSet::from([Scope::parse("pay:write").unwrap()]),
        groups: BTreeSet::new(),
        attributes: BTreeMap::new(),
        mode: Mode::Bound,
        limits: Limits::default(),
        key: None,
    }
}

/// A registry with a client that counts.
#[derive(Clone, Default)]
pub(crate) struct Desk {
    pub(crate) registry: Registry,
    pub(crate) serial: u64,
}

impl Desk {
    pub(crate) fn command(&mut self, action: Action) -> Command {
        self.serial += 1;
        let request = Fingerprint::of(format!("{action:?}").as_bytes());
        let origin = Origin { client: ClientId::of(b"test"), serial: self.serial, request };
        Command { origin, by: Actor::parse("tester").unwrap(), action }
    }

    pub(crate) fn act(&mut self, action: Action, now: Timestamp) -> Result<Event, Refusal> {
        let command = self.command(action);
        self.registry.apply(&command, now)
    }

    pub(crate) fn register(&mut self, agent: &str, code_text: &str, now: Timestamp) {
        let (agent, code) = (Box::new(new_agent(agent)), Some(code(code_text)));
        self.act(Action::Register { agent, code }, now).unwrap();
    }

    pub(crate) fn enrol(&mut self, code: &str, seed: u8, now: Timestamp) -> Result<Event, Refusal> {
        self.act(Action::Enrol { code: CodeHash::of(code), key: key(seed) }, now)
    }

    pub(crate) fn stand(&mut self, agent: &str, standing: Standing, now: Timestamp) {
        let agent = name(agent);
        self.act(Action::SetStanding { agent, seen: None, standing }, now).unwrap();
    }

    pub(crate) fn agent(&self, agent: &str) -> &Agent {
        let name = name(agent);
        self.registry.view().agent(&name.tenant, &name.id).unwrap()
    }

    pub(crate) fn add_key(
        &mut self,
        seed: u8,
        lead_s: u64,
        now: Timestamp,
    ) -> Result<Event, Refusal> {
        let (lead, overlap) = (Ttl::from_s(lead_s), Ttl::from_s(0));
        self.act(Action::AddKey { key: jwk(seed), signer: 1, lead, overlap }, now)
    }
}

pub(crate) fn is_revoked(view: &View, agent: &str, keys: &[&KeyId], issued_at: Timestamp) -> bool {
    let (jti, agent) = (Jti::parse("j").unwrap(), name(agent));
    view.revoked(&Issued { jti: &jti, agent: &agent, keys, issued_at }).is_some()
}
