//! Whether a command may change the registry, and what it then changes.
//!
//! Not here: the change itself (`registry`), and who may command (`control`). Invariant: deciding looks only at the
//! registry, the command and the time it is given; time that goes back counts as the latest time seen.

mod definitions;
mod money;

use std::fmt;

use aegis_domain::{KeyId, Timestamp, Ttl};
use serde::{Deserialize, Serialize};

use crate::{
    Action, Agent, AgentKey, AgentName, Amendment, Change, ClientId, Code, CodeHash, Command,
    Entry, Event, KeyStanding, NewAgent, NewCode, PublicJwk, Registry, Retiring, Revocation,
    Standing, TOKEN_LIFE_MAX, Target, TokenKey,
};

/// The most a region holds. Each is far above what its voters are made for; the bound keeps a mistake from filling them.
const AGENTS_MAX: usize = 200_000;
const KEYS_MAX: usize = 200;
const REVOCATIONS_MAX: usize = 1_000_000;
const BUDGETS_MAX: usize = 200_000;
const TOOLS_MAX: u64 = 200;
/// Over all tenants: 2,000 definitions of the greatest length.
const DEFINITION_BYTES_MAX: usize = 32 * 1_024 * 1_024;
const ADJUSTMENTS_MAX: usize = 100_000;
pub(crate) const CLIENTS_MAX: usize = 100_000;
const LABELS_MAX: usize = 64;
/// Room for what people write about an agent: a purpose, a ticket, a team.
const ATTRIBUTE_BYTES_MAX: usize = 256;
const CODE_TTL_MAX: Ttl = Ttl::from_s(7 * 24 * 60 * 60);
const OVERLAP_MAX: Ttl = Ttl::from_s(7 * 24 * 60 * 60);

/// Why a command changes nothing. It has a serde form, because a ledger remembers its refusals too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    #[error("an agent of that name is registered")]
    AgentExists,
    #[error("no agent of that name is registered")]
    AgentUnknown,
    #[error("the parent is not an active agent of the tenant")]
    ParentUnknown,
    #[error("the agent is disabled")]
    AgentDisabled,
    #[error("it was changed since it was read")]
    Changed,
    #[error(
        "the code is not one that can be spent: it is wrong, was spent, was replaced or has expired"
    )]
    CodeUnknown,
    #[error("the key was revoked")]
    KeyRevoked,
    #[error("the key is another agent's, or the region's")]
    KeyTaken,
    #[error("no key has that id")]
    KeyUnknown,
    #[error("the key signs, or is to sign next; rotate first")]
    KeyInUse,
    #[error("another key is to sign next; wait until it does")]
    KeyPending,
    #[error("the region sets no limit of that name")]
    BudgetUnknown,
    #[error("the region defines nothing of that name")]
    DefinitionUnknown,
    #[error("no adjustment has that id")]
    AdjustmentUnknown,
    #[error("{what} is over its limit of {max}")]
    OverLimit { what: Limited, max: u64 },
    #[error("the region holds all it can of this kind")]
    Full,
    #[error("a later command of this client was applied")]
    Stale,
    #[error("another command of this client had this number")]
    SerialReused,
}

/// What has a limit of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limited {
    Scopes,
    Groups,
    Attributes,
    AttributeBytes,
    CodeLife,
    Overlap,
    Lead,
    TokenLife,
    Warning,
    Tools,
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limited::Scopes => "the number of scopes",
            Limited::Groups => "the number of groups",
            Limited::Attributes => "the number of attributes",
            Limited::AttributeBytes => "the bytes of an attribute",
            Limited::CodeLife => "the life of a code in seconds",
            Limited::Overlap => "the overlap in seconds",
            Limited::Lead => "the lead in seconds",
            Limited::TokenLife => "the life of a token in seconds",
            Limited::Warning => "the warning in micro-dollars",
            Limited::Tools => "the number of tools of a tenant",
        })
    }
}

/// What becomes of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decided {
    /// It was applied before; this came of it.
    Before(Event),
    /// It changes this, once it is committed.
    Now(Box<Entry>),
}

impl Registry {
    /// Looks at a command without changing anything, so that a log can be written first.
    pub fn decide(&self, command: &Command, now: Timestamp) -> Result<Decided, Refusal> {
        if let Some(last) = self.clients.get(&command.origin.client) {
            if let Some(event) = last.answer(command)? {
                return Ok(Decided::Before(event.clone()));
            }
        } else if !self.has_room_for_another(command, now) {
            return Err(Refusal::Full);
        }
        let at = now.max(self.view.latest());
        let serial = self.view.serial().saturating_add(1);
        let desk = Desk { registry: self, command, at, serial };
        let changes = desk.changes(&command.action)?;
        let event = Event { serial, at, by: command.by.clone(), changes };
        Ok(Decided::Now(Box::new(Entry { origin: command.origin.clone(), event })))
    }

    /// Whether a client is one more than can be remembered, whatever gives way: what versions before refused.
    pub fn is_crowded(&self, client: &ClientId) -> bool {
        self.clients.len() >= CLIENTS_MAX && !self.clients.contains_key(client)
    }

    /// Whether one more client can be remembered, or another has had its time. What takes something back is not refused for it.
    fn has_room_for_another(&self, command: &Command, now: Timestamp) -> bool {
        self.clients.len() < CLIENTS_MAX
            || command.action.takes_back()
            || self.clients.values().any(|last| last.gives_way(now))
    }
}

/// Where one command is looked at.
struct Desk<'a> {
    registry: &'a Registry,
    command: &'a Command,
    at: Timestamp,
    serial: u64,
}

impl Desk<'_> {
    fn changes(&self, action: &Action) -> Result<Vec<Change>, Refusal> {
        match action {
            Action::Register { agent, code } => self.register(agent, code.as_ref()),
            Action::Amend { agent, seen, amendment } => {
                self.amend(self.agent(agent, *seen)?, amendment)
            }
            Action::SetStanding { agent, seen, standing } => {
                self.set_standing(self.agent(agent, *seen)?, *standing)
            }
            Action::IssueCode { agent, seen, code } => {
                let agent = self.agent(agent, *seen)?;
                if agent.standing == Standing::Disabled {
                    return Err(Refusal::AgentDisabled);
                }
                self.issue(&agent.name(), code)
            }
            Action::Enrol { code, key } => self.enrol(*code, key),
            Action::AddKey { key, signer, lead, overlap } => {
                self.add_key(key, *signer, (*lead, *overlap))
            }
            Action::EndKeys { signer } => Ok(self.followed(*signer, self.at, TOKEN_LIFE_MAX)),
            Action::RetireKey { id, seen } => self.retire_key(id, *seen),
            Action::Revoke { target, issued } => self.revoke(target, *issued),
            Action::SetBudget { budget, seen, terms } => self.set_budget(budget, *seen, *terms),
            Action::Define { of, seen, text } => self.define(of, *seen, text.as_ref()),
            Action::Adjust { budget, correction, purpose, reason } => {
                self.adjust(budget, *correction, *purpose, reason)
            }
            Action::NoteAdjusted { id } => self.note_adjusted(*id),
        }
    }

    fn agent(&self, name: &AgentName, seen: Option<u64>) -> Result<&Agent, Refusal> {
        let agent =
            self.registry.view.agent(&name.tenant, &name.id).ok_or(Refusal::AgentUnknown)?;
        unchanged(seen, agent.changed)?;
        Ok(agent)
    }

    fn put(&self, agent: Agent) -> Change {
        Change::Agent(Box::new(Agent { changed: self.serial, ..agent }))
    }

    fn put_key(&self, key: TokenKey) -> Change {
        Change::Key(TokenKey { changed: self.serial, ..key })
    }

    fn register(&self, new: &NewAgent, code: Option<&NewCode>) -> Result<Vec<Change>, Refusal> {
        let view = &self.registry.view;
        if view.agent(&new.tenant, &new.id).is_some() {
            return Err(Refusal::AgentExists);
        }
        if view.agent_count() >= AGENTS_MAX {
            return Err(Refusal::Full);
        }
        if let Some(parent) = &new.parent {
            let parent = view.agent(&new.tenant, parent).ok_or(Refusal::ParentUnknown)?;
            if parent.standing == Standing::Disabled {
                return Err(Refusal::ParentUnknown);
            }
        }
        let agent = Agent {
            tenant: new.tenant.clone(),
            id: new.id.clone(),
            org: new.org.clone(),
            parent: new.parent.clone(),
            scopes: new.scopes.clone(),
            groups: new.groups.clone(),
            attributes: new.attributes.clone(),
            mode: new.mode,
            limits: new.limits,
            standing: Standing::Active,
            key: new.key.clone(),
            retiring: None,
            registered_at: self.at,
            changed: self.serial,
        };
        within_limits(&agent)?;
        if let Some(key) = &new.key {
            self.check_key(key, &agent.name())?;
        }
        let mut changes = match code {
            Some(code) => self.issue(&agent.name(), code)?,
            None => Vec::new(),
        };
        changes.push(self.put(agent));
        Ok(changes)
    }

    fn amend(&self, agent: &Agent, amendment: &Amendment) -> Result<Vec<Change>, Refusal> {
        let Amendment { scopes, groups, attributes, mode, limits } = amendment.clone();
        let mut agent = agent.clone();
        agent.scopes = scopes.unwrap_or(agent.scopes);
        agent.groups = groups.unwrap_or(agent.groups);
        agent.attributes = attributes.unwrap_or(agent.attributes);
        agent.mode = mode.unwrap_or(agent.mode);
        agent.limits = limits.unwrap_or(agent.limits);
        within_limits(&agent)?;
        Ok(vec![self.put(agent)])
    }

    fn set_standing(&self, agent: &Agent, standing: Standing) -> Result<Vec<Change>, Refusal> {
        let name = agent.name();
        let mut changes = match standing {
            // A code would wait until the agent is enabled, long after anyone remembers that it is out.
            Standing::Disabled => self.codes_of(&name).collect(),
            Standing::Active => Vec::new(),
        };
        changes.push(self.put(Agent { standing, ..agent.clone() }));
        Ok(changes)
    }

    fn codes_of(&self, agent: &AgentName) -> impl Iterator<Item = Change> {
        let codes = self.registry.codes.values();
        codes
            .filter(move |code| code.agent_name() == *agent)
            .map(|code| Change::CodeGone(code.hash))
    }

    fn issue(&self, agent: &AgentName, new: &NewCode) -> Result<Vec<Change>, Refusal> {
        at_most(Limited::CodeLife, new.ttl.s_ceil(), CODE_TTL_MAX.s_ceil())?;
        at_most(Limited::Overlap, new.overlap.s_ceil(), OVERLAP_MAX.s_ceil())?;
        let code = Code {
            hash: new.hash,
            tenant: agent.tenant.clone(),
            agent: agent.id.clone(),
            expires_at: self.at.plus(new.ttl),
            overlap: new.overlap,
        };
        Ok(self.codes_of(agent).chain([Change::Code(code)]).collect())
    }

    fn enrol(&self, hash: CodeHash, key: &AgentKey) -> Result<Vec<Change>, Refusal> {
        let code = self.registry.codes.get(&hash).filter(|code| self.at < code.expires_at);
        let code = code.ok_or(Refusal::CodeUnknown)?;
        let name = code.agent_name();
        let agent = self.agent(&name, None)?;
        if agent.standing == Standing::Disabled {
            return Err(Refusal::AgentDisabled);
        }
        self.check_key(key, &name)?;
        let before = agent.key.clone().filter(|before| before != key);
        let until = self.at.plus(code.overlap);
        let retiring = before.filter(|_| code.overlap.ms() > 0);
        let retiring = retiring.map(|key| Retiring { key, until });
        let agent = Agent { key: Some(key.clone()), retiring, ..agent.clone() };
        Ok(vec![Change::CodeGone(hash), self.put(agent)])
    }

    /// A key is one agent's: what it signs must name one caller, and its revocation must hit one.
    fn check_key(&self, key: &AgentKey, owner: &AgentName) -> Result<(), Refusal> {
        let view = &self.registry.view;
        let id = key.id();
        if view.is_key_revoked(&id) {
            return Err(Refusal::KeyRevoked);
        }
        let holds = |agent: &Agent| agent.keys(self.at).any(|held| held.id() == id);
        let taken = view.agents(None).any(|agent| holds(agent) && agent.name() != *owner);
        if taken || view.key(&id).is_some() { Err(Refusal::KeyTaken) } else { Ok(()) }
    }

    fn add_key(
        &self,
        key: &PublicJwk,
        signer: u64,
        (lead, overlap): (Ttl, Ttl),
    ) -> Result<Vec<Change>, Refusal> {
        at_most(Limited::Lead, lead.s_ceil(), OVERLAP_MAX.s_ceil())?;
        at_most(Limited::Overlap, overlap.s_ceil(), OVERLAP_MAX.s_ceil())?;
        let view = &self.registry.view;
        let taken =
            view.agents(None).any(|agent| agent.keys(self.at).any(|held| held.id() == *key.id()));
        if taken || view.key(key.id()).is_some() {
            return Err(Refusal::KeyTaken);
        }
        if view.is_key_revoked(key.id()) {
            return Err(Refusal::KeyRevoked);
        }
        let is_next = |key: &TokenKey| key.standing(self.at) == KeyStanding::Next;
        if view.keys().any(|key| key.signer == signer && is_next(key)) {
            return Err(Refusal::KeyPending);
        }
        if view.keys().count() >= KEYS_MAX {
            return Err(Refusal::Full);
        }
        let signs_from = self.at.plus(lead);
        // What it signed in its last moment must be able to live out its life.
        let mut changes = self.followed(signer, signs_from, overlap.max(TOKEN_LIFE_MAX));
        let new = TokenKey {
            key: key.clone(),
            signer,
            signs_from,
            signs_until: None,
            counts_until: None,
            changed: self.serial,
        };
        changes.push(Change::Key(new));
        Ok(changes)
    }

    /// A signer's keys as they end.
    fn followed(&self, signer: u64, signs_until: Timestamp, overlap: Ttl) -> Vec<Change> {
        let keys = self.registry.view.keys();
        let active = keys.filter(|key| key.signer == signer && key.signs_until.is_none());
        let followed = active.map(|key| {
            let counts_until = Some(signs_until.plus(overlap));
            self.put_key(TokenKey { signs_until: Some(signs_until), counts_until, ..key.clone() })
        });
        followed.collect()
    }

    fn retire_key(&self, id: &KeyId, seen: Option<u64>) -> Result<Vec<Change>, Refusal> {
        let key = self.registry.view.key(id).ok_or(Refusal::KeyUnknown)?;
        unchanged(seen, key.changed)?;
        match key.standing(self.at) {
            KeyStanding::Next | KeyStanding::Active => Err(Refusal::KeyInUse),
            KeyStanding::Retired => Ok(Vec::new()),
            KeyStanding::Retiring => {
                Ok(vec![self.put_key(TokenKey { counts_until: Some(self.at), ..key.clone() })])
            }
        }
    }

    fn revoke(&self, target: &Target, issued: Option<Timestamp>) -> Result<Vec<Change>, Refusal> {
        let view = &self.registry.view;
        let earlier = view.revocation(target);
        if earlier.is_none() && view.revocation_count() >= REVOCATIONS_MAX {
            return Err(Refusal::Full);
        }
        let mut changes = Vec::new();
        match target {
            Target::Agent(name) => {
                self.agent(name, None)?;
            }
            Target::Key(id) => {
                if let Some(key) = view.key(id) {
                    match key.standing(self.at) {
                        KeyStanding::Next | KeyStanding::Active => return Err(Refusal::KeyInUse),
                        KeyStanding::Retiring | KeyStanding::Retired => {}
                    }
                }
                changes.extend(view.agents(None).filter_map(|agent| self.without(agent, id)));
            }
            Target::Token { .. } | Target::Tenant(_) => {}
        }
        // What was issued at an instant was issued before the next.
        let after = issued.map_or(self.at, |issued| self.at.max(issued.plus(Ttl::from_ms(1))));
        changes.push(Change::Revoked(Revocation::new(target.clone(), after).and(earlier)));
        Ok(changes)
    }

    /// The agent without a key, if it has it.
    fn without(&self, agent: &Agent, id: &KeyId) -> Option<Change> {
        let is_it = |key: &AgentKey| key.id() == *id;
        let current = agent.key.as_ref().is_some_and(is_it);
        let retiring = agent.retiring.as_ref().is_some_and(|retiring| is_it(&retiring.key));
        if !current && !retiring {
            return None;
        }
        Some(self.put(Agent {
            key: agent.key.clone().filter(|key| !is_it(key)),
            retiring: agent.retiring.clone().filter(|retiring| !is_it(&retiring.key)),
            ..agent.clone()
        }))
    }
}

/// Whether something is as its changer saw it, where that was said.
fn unchanged(seen: Option<u64>, changed: u64) -> Result<(), Refusal> {
    if seen.is_some_and(|seen| seen != changed) { Err(Refusal::Changed) } else { Ok(()) }
}

fn at_most(what: Limited, value: u64, max: u64) -> Result<(), Refusal> {
    if value > max { Err(Refusal::OverLimit { what, max }) } else { Ok(()) }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn within_limits(agent: &Agent) -> Result<(), Refusal> {
    at_most(Limited::Scopes, count(agent.scopes.len()), count(LABELS_MAX))?;
    at_most(Limited::Groups, count(agent.groups.len()), count(LABELS_MAX))?;
    at_most(Limited::Attributes, count(agent.attributes.len()), count(LABELS_MAX))?;
    for (name, value) in &agent.attributes {
        let bytes = match value {
            crate::Attribute::Text(text) => text.len().max(name.len()),
            crate::Attribute::Truth(_) | crate::Attribute::Number(_) => name.len(),
        };
        at_most(Limited::AttributeBytes, count(bytes), count(ATTRIBUTE_BYTES_MAX))?;
    }
    let ttl_s = agent.limits.token_ttl_s.map_or(0, u64::from);
    at_most(Limited::TokenLife, ttl_s, TOKEN_LIFE_MAX.s_ceil())
}
