//! What was taken back before its time: tokens, agents, keys, and everything a tenant was given.
//!
//! Pure: a value that whoever hears of revocations keeps, and swaps whole. Not here: spreading them (`control`).
//! Invariant: a revocation is forgotten only when no token it stops could still be valid, and a token that does not
//! say when it was issued counts as issued before everything.

use std::collections::{BTreeMap, BTreeSet};

use aegis_domain::{AgentId, Jti, TenantId, Timestamp};

use crate::{JwkThumbprint, TokenError, TokenLimits, VerifiedToken};

/// The most that is remembered; whoever reaches it should take back a whole tenant instead.
const ENTRIES_MAX: usize = 1 << 20;

/// One thing taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// One token, which ends by itself at `expires_at`.
    Token { tenant: TenantId, jti: Jti, expires_at: Timestamp },
    /// What an agent was given before an instant.
    Agent { tenant: TenantId, agent: AgentId, issued_before: Timestamp },
    /// What everyone of a tenant was given before an instant.
    Tenant { tenant: TenantId, issued_before: Timestamp },
    /// All that a key signed and all that is bound to it, for good. A certificate is named by its own thumbprint, as bytes:
    /// both are SHA-256, so one name never means two.
    Key(JwkThumbprint),
}

/// Which revocation stops a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevokedBy {
    Token,
    Agent,
    Tenant,
    Key,
}

/// There is no room to remember another revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {ENTRIES_MAX} revocations")]
pub struct RevocationsFull;

/// The tokens, agents and keys that no longer count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    tenants: BTreeMap<TenantId, Tenant>,
    keys: BTreeSet<JwkThumbprint>,
    entries: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tenant {
    issued_before: Option<Timestamp>,
    /// By agent, what `issued_before` is for it.
    agents: BTreeMap<AgentId, Timestamp>,
    /// By token, when it ends.
    tokens: BTreeMap<Jti, Timestamp>,
}

impl Revocations {
    /// Takes one thing back; a second time, the later of two instants counts.
    pub fn add(&mut self, revocation: Revocation) -> Result<(), RevocationsFull> {
        if self.entries >= ENTRIES_MAX {
            return Err(RevocationsFull);
        }
        let later = |old: Option<Timestamp>, new: Timestamp| old.map_or(new, |old| old.max(new));
        match revocation {
            Revocation::Key(key) => {
                self.keys.insert(key);
            }
            Revocation::Tenant { tenant, issued_before } => {
                let tenant = self.tenants.entry(tenant).or_default();
                tenant.issued_before = Some(later(tenant.issued_before, issued_before));
            }
            Revocation::Agent { tenant, agent, issued_before } => {
                let agents = &mut self.tenants.entry(tenant).or_default().agents;
                let before = later(agents.get(&agent).copied(), issued_before);
                agents.insert(agent, before);
            }
            Revocation::Token { tenant, jti, expires_at } => {
                let tokens = &mut self.tenants.entry(tenant).or_default().tokens;
                let end = later(tokens.get(&jti).copied(), expires_at);
                tokens.insert(jti, end);
            }
        }
        self.entries = self.count();
        Ok(())
    }

    /// Forgets what stops no token any more: a token that ended, and an instant before which every token has ended.
    pub fn forget(&mut self, limits: &TokenLimits, now: Timestamp) {
        let is_past = |end: Timestamp| end.plus(limits.skew) < now;
        let has_lapsed = |before: Timestamp| is_past(before.plus(limits.ttl_max).plus(limits.skew));
        for tenant in self.tenants.values_mut() {
            tenant.tokens.retain(|_, end| !is_past(*end));
            tenant.agents.retain(|_, before| !has_lapsed(*before));
            tenant.issued_before = tenant.issued_before.filter(|before| !has_lapsed(*before));
        }
        self.tenants.retain(|_, tenant| tenant.count() > 0);
        self.entries = self.count();
    }

    /// Whether a token still counts: one look-up if nothing of its tenant was taken back.
    pub fn check(&self, token: &VerifiedToken) -> Result<(), TokenError> {
        match self.revoked_by(token) {
            None => Ok(()),
            Some(by) => Err(TokenError::Revoked { by }),
        }
    }

    fn revoked_by(&self, token: &VerifiedToken) -> Option<RevokedBy> {
        let claims = token.claims();
        let bound = claims.confirmation.and_then(|cnf| cnf.key());
        let shown = claims.confirmation.and_then(|cnf| cnf.certificate());
        let shown = shown.map(|one| JwkThumbprint::from_bytes(*one.as_bytes()));
        let mut named = [Some(token.key()), bound, shown].into_iter().flatten();
        if named.any(|key| self.keys.contains(&key)) {
            return Some(RevokedBy::Key);
        }
        let tenant = self.tenants.get(&claims.tenant)?;
        let is_from_before = |before: &Timestamp| claims.issued_at.is_none_or(|at| at < *before);
        // Authority that was handed down ends with the one who handed it down.
        let mut hands = std::iter::once(&claims.agent).chain(&claims.acts_for);
        if tenant.issued_before.as_ref().is_some_and(is_from_before) {
            Some(RevokedBy::Tenant)
        } else if hands.any(|agent| tenant.agents.get(agent).is_some_and(is_from_before)) {
            Some(RevokedBy::Agent)
        } else {
            tenant.tokens.contains_key(&claims.jti).then_some(RevokedBy::Token)
        }
    }

    fn count(&self) -> usize {
        self.tenants.values().map(Tenant::count).fold(self.keys.len(), usize::saturating_add)
    }
}

impl Tenant {
    fn count(&self) -> usize {
        let all = usize::from(self.issued_before.is_some());
        all.saturating_add(self.agents.len()).saturating_add(self.tokens.len())
    }
}
