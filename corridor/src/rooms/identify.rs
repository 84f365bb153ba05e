//! Room 1: who is calling, for which tenant, with which scopes.
//!
//! Not here: checking a signature (`identity`) and replay (`gather`).
//! Invariant: an identity is both a verified token and a registration; one without the other is nobody.

use std::sync::Arc;

use aegis_domain::{AgentIdentity, DecisionId, Reason, Secret, TenantId, Timestamp};
use aegis_identity::{TokenCache, VerifiedToken, Verifier};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, PROXY_AUTHORIZATION};

use crate::Corridor;
use crate::context::{Arrival, Identified, Presented};
use crate::headers::AEGIS_AUTHORIZATION;
use aegis_config::{Agent, Config, Standing, Tenant};

/// Checks tokens and looks their agents up.
#[derive(Debug)]
pub struct Identify(TokenCache);

impl Identify {
    pub fn new(verifier: Verifier) -> Self {
        Self(TokenCache::new(verifier, TOKENS_CACHED_MAX))
    }

    /// Turns the token of a call into a registered agent, and takes the versions that judge it.
    pub fn identify(
        &self,
        token: Secret<&str>,
        corridor: &Corridor,
        (id, now): (DecisionId, Timestamp),
    ) -> Result<Identified, Reason> {
        let config = &corridor.config;
        let verified = self.0.verify(token.expose(), now).map_err(|error| error.reason())?;
        let claims = verified.claims();
        if !may_speak(config, &claims.issuer, &claims.tenant) {
            return Err(Reason::TokenIssuer);
        }
        let tenant = config.tenants.get(&claims.tenant).ok_or(Reason::AgentUnknown)?;
        let agent = tenant.agents.get(&claims.agent).ok_or(Reason::AgentUnknown)?;
        if tenant.org != claims.org || agent.standing == Standing::Disabled {
            return Err(Reason::AgentUnknown);
        }
        let identity = identity(&verified, tenant, agent);
        let policy = corridor.policies.of(&tenant.id).ok_or(Reason::DefaultDeny)?.current();
        let judges = policy.judges(&config.region, &identity.agent, id);
        let (issued_at, agent) = (claims.issued_at, Arc::new(identity));
        Ok(Identified { agent, issued_at, tenant: Arc::clone(tenant), judges })
    }
}

/// Whether the issuer is trusted for this tenant, and not only at all.
fn may_speak(config: &Config, issuer: &str, tenant: &TenantId) -> bool {
    let mut trusted = config.identity.issuers.iter().filter(|trusted| trusted.issuer == issuer);
    trusted.any(|trusted| trusted.tenants.as_ref().is_none_or(|tenants| tenants.contains(tenant)))
}

/// The token a call came with, wherever it stands.
pub fn token(arrival: &Arrival) -> Result<Secret<&str>, Reason> {
    match &arrival.presented {
        Presented::InHeaders => bearer(&arrival.headers),
        Presented::ToProxy(token) => Ok(Secret::new(token.expose())),
    }
}

/// The token in `Proxy-Authorization`: as `Bearer`, or as the password of `Basic`, which is what clients make of
/// `http://agent:<token>@gateway` in `HTTPS_PROXY` (RFC 9110 §11.7, RFC 7617).
pub fn proxy_token(headers: &HeaderMap) -> Result<Secret<String>, Reason> {
    let mut values = headers.get_all(PROXY_AUTHORIZATION).iter();
    let value = values.next().ok_or(Reason::TokenMissing)?;
    if values.next().is_some() {
        return Err(Reason::TokenMalformed);
    }
    let text = value.to_str().map_err(|_| Reason::TokenMalformed)?;
    let (scheme, rest) = text.split_once(' ').ok_or(Reason::TokenMissing)?;
    let rest = rest.trim_start_matches(' ');
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Secret::new(rest.to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(Reason::TokenMissing);
    }
    let decoded = STANDARD.decode(rest).map_err(|_| Reason::TokenMalformed)?;
    let pair = String::from_utf8(decoded).map_err(|_| Reason::TokenMalformed)?;
    match pair.split_once(':') {
        Some((_, "")) | None => Err(Reason::TokenMissing),
        Some((_, token)) => Ok(Secret::new(token.to_owned())),
    }
}

/// How many verified tokens are remembered: 65,536 agents' worth, a few tens of megabytes at most.
const TOKENS_CACHED_MAX: usize = 65_536;

/// The one token of a call; two of them are a contradiction, not a choice.
fn bearer(headers: &HeaderMap) -> Result<Secret<&str>, Reason> {
    // An agent that keeps its own upstream credential in `Authorization` carries its token in our header.
    let is_apart = headers.contains_key(AEGIS_AUTHORIZATION);
    let name = if is_apart { AEGIS_AUTHORIZATION } else { AUTHORIZATION };
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or(Reason::TokenMissing)?;
    if values.next().is_some() {
        return Err(Reason::TokenMalformed);
    }
    let text = value.to_str().map_err(|_| Reason::TokenMalformed)?;
    let (scheme, token) = text.split_once(' ').ok_or(Reason::TokenMissing)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Reason::TokenMissing);
    }
    Ok(Secret::new(token.trim_start_matches(' ')))
}

fn identity(verified: &VerifiedToken, tenant: &Tenant, agent: &Agent) -> AgentIdentity {
    let claims = verified.claims();
    AgentIdentity {
        org: tenant.org.clone(),
        tenant: tenant.id.clone(),
        agent: claims.agent.clone(),
        parent_agent: claims.parent_agent.clone().or_else(|| agent.parent.clone()),
        scopes: claims.scopes.clone(),
        groups: agent.groups.clone(),
        attributes: agent.attributes.clone(),
        jti: claims.jti.clone(),
        key_id: verified.key_id().clone(),
        token_use: claims.token_use,
        expires_at: claims.expires_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(value: &str) -> Result<String, Reason> {
        let headers = HeaderMap::from_iter([(PROXY_AUTHORIZATION, value.parse().unwrap())]);
        proxy_token(&headers).map(|token| token.expose().clone())
    }

    #[test]
    fn a_proxy_is_told_a_token_as_bearer_or_as_a_password() {
        assert_eq!(told("Bearer a.b.c"), Ok("a.b.c".to_owned()));
        assert_eq!(told("bearer  a.b.c"), Ok("a.b.c".to_owned()));
        // agent:a.b.c and :a.b.c
        assert_eq!(told("Basic YWdlbnQ6YS5iLmM="), Ok("a.b.c".to_owned()));
        assert_eq!(told("Basic OmEuYi5j"), Ok("a.b.c".to_owned()));
    }

    #[test]
    fn anything_else_said_to_a_proxy_is_no_token() {
        for (value, reason) in [
            ("Basic YWdlbnQ=", Reason::TokenMissing),
            ("Basic YWdlbnQ6", Reason::TokenMissing),
            ("Basic !", Reason::TokenMalformed),
            ("Digest x", Reason::TokenMissing),
            ("Bearer", Reason::TokenMissing),
        ] {
            assert_eq!(told(value), Err(reason), "{value}");
        }
        let one = (PROXY_AUTHORIZATION, http::HeaderValue::from_static("Bearer a"));
        let mut twice = HeaderMap::from_iter([one.clone()]);
        twice.append(one.0, one.1);
        assert_eq!(proxy_token(&twice).err(), Some(Reason::TokenMalformed));
    }
}
