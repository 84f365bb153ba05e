//! What is granted: the claims of the token to be signed, and the answer around it.
//!
//! Not here: the signature. Invariant: scopes only ever become fewer, and an end only ever earlier.

use std::collections::BTreeSet;

use aegis_domain::{AgentId, Jti, Timestamp, TokenUse};
use aegis_identity::{Claims, Confirmation};
use aegis_registry::{Agent, AgentName, Mode, Scope};
use serde_json::{Value, json};

use crate::{Refusal, Service};

/// How a token is to be presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenType {
    Bearer,
    /// RFC 9449 §5.
    Dpop,
}

/// The bounds of a grant.
#[derive(Debug)]
pub(crate) struct Narrowed {
    scopes: BTreeSet<String>,
    until: Option<Timestamp>,
    /// Whom the agent acts for, its parent first.
    pub(crate) acts_for: Vec<AgentId>,
}

impl Narrowed {
    /// What an agent may have by itself.
    pub(crate) fn of(agent: &Agent) -> Self {
        let scopes = agent.scopes.iter().map(|scope| scope.as_str().to_owned()).collect();
        Self { scopes, until: None, acts_for: Vec::new() }
    }

    /// No more than another token says.
    pub(crate) fn within(mut self, scopes: &BTreeSet<String>, until: Timestamp) -> Self {
        self.scopes.retain(|scope| scopes.contains(scope));
        self.until = Some(self.until.map_or(until, |earlier| earlier.min(until)));
        self
    }

    pub(crate) fn until(mut self, until: Timestamp) -> Self {
        self.until = Some(until);
        self
    }

    pub(crate) fn acting_for(self, acts_for: Vec<AgentId>) -> Self {
        Self { acts_for, ..self }
    }

    /// What of it is asked for; all of it where nothing is.
    pub(crate) fn scopes(&self, asked: Option<&str>) -> Result<BTreeSet<String>, Refusal> {
        let Some(asked) = asked else { return Ok(self.scopes.clone()) };
        let mut scopes = BTreeSet::new();
        for scope in asked.split(' ') {
            Scope::parse(scope).map_err(|_| Refusal::Malformed { name: "scope" })?;
            if !self.scopes.contains(scope) {
                return Err(Refusal::Scope);
            }
            scopes.insert(scope.to_owned());
        }
        Ok(scopes)
    }

    /// When the token ends. One that would be over before its first second is not granted.
    pub(crate) fn expires_at(&self, agent: &Agent, now: Timestamp) -> Result<Timestamp, Refusal> {
        let whole = now.plus(agent.limits.token_ttl());
        let end = self.until.map_or(whole, |until| until.min(whole));
        if end.unix_s() <= now.unix_s() { Err(Refusal::Over) } else { Ok(end) }
    }
}

/// A token that may be signed.
#[must_use]
#[derive(Clone, Debug)]
pub struct Grant {
    pub(crate) service: Service,
    pub(crate) agent: Agent,
    pub(crate) confirmation: Option<Confirmation>,
    pub(crate) scopes: BTreeSet<String>,
    pub(crate) audience: Vec<String>,
    pub(crate) issued_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) acts_for: Vec<AgentId>,
    pub(crate) exchanged: bool,
}

impl Grant {
    pub fn agent_name(&self) -> AgentName {
        self.agent.name()
    }

    /// What the token says; its id is the caller's to draw.
    pub fn claims(&self, jti: Jti) -> Claims {
        let parent = self.acts_for.first().or(self.agent.parent.as_ref());
        Claims {
            issuer: self.service.issuer.clone(),
            org: self.agent.org.clone(),
            tenant: self.agent.tenant.clone(),
            agent: self.agent.id.clone(),
            parent_agent: parent.cloned(),
            acts_for: self.acts_for.clone(),
            confirmation: self.confirmation,
            scopes: self.scopes.clone(),
            audience: self.audience.clone(),
            expires_at: self.expires_at,
            not_before: None,
            issued_at: Some(self.issued_at),
            jti,
            token_use: match self.agent.mode {
                Mode::Once => TokenUse::Once,
                Mode::Bound | Mode::Proof | Mode::Mtls => TokenUse::Bound,
            },
        }
    }

    pub fn token_type(&self) -> TokenType {
        match self.confirmation.as_ref().and_then(Confirmation::key) {
            Some(_) => TokenType::Dpop,
            None => TokenType::Bearer,
        }
    }

    /// The body of the answer (RFC 6749 §5.1, RFC 8693 §2.2.1).
    pub fn answer(&self, access_token: &str) -> Value {
        let expires_in = self.expires_at.unix_s().saturating_sub(self.issued_at.unix_s());
        let scopes: Vec<_> = self.scopes.iter().map(String::as_str).collect();
        let mut answer = json!({
            "access_token": access_token,
            "token_type": match self.token_type() {
                TokenType::Bearer => "Bearer",
                TokenType::Dpop => "DPoP",
            },
            "expires_in": expires_in,
            "scope": scopes.join(" "),
        });
        if let (true, Some(members)) = (self.exchanged, answer.as_object_mut()) {
            members.insert("issued_token_type".to_owned(), crate::exchange::ACCESS_TOKEN.into());
        }
        answer
    }
}
