//! Room 1: who is calling, for which tenant, with which scopes.
//!
//! Not here: where a token stands (`credential`), checking signatures (`identity`) and replay (`gather`).
//! Invariant: an identity is something proved, a token or a certificate, and a registration; one without the other is
//! nobody. A token that names a key counts only with that key.

use std::sync::Arc;

use aegis_config::{Agent, Config, Standing, Tenant};
use aegis_domain::{
    AgentId, AgentIdentity, DecisionId, Host, Jti, KeyId, Reason, Scheme as UrlScheme, TenantId,
    Timestamp, TokenUse, Ttl,
};
use aegis_identity::{
    Admission, CertificateThumbprint, Mode, Modes, ProofDemand, ReplayCheck, Scheme, Shown,
    TokenCache, VerifiedProof, VerifiedToken, Verifier, admit, verify_proof,
};
use serde_json::Value;

use crate::Corridor;
use crate::context::{Arrival, Identified, Target};
use crate::credential::{self, Credential};

/// How many verified tokens are remembered: 65,536 agents' worth, a few tens of megabytes at most.
const TOKENS_CACHED_MAX: usize = 65_536;
/// How long a caller is remembered that showed a certificate and nothing else.
const CERTIFICATE_REMEMBERED: Ttl = Ttl::from_s(60 * 60);
/// The attribute that tells policies how the strongest part of an identity was shown.
pub const MODE_ATTRIBUTE: &str = "mode";

/// Checks tokens and looks their agents up.
#[derive(Debug)]
pub struct Identify(TokenCache);

impl Identify {
    pub fn new(verifier: Verifier) -> Self {
        Self(TokenCache::new(verifier, TOKENS_CACHED_MAX))
    }

    /// Turns what a call shows into a registered agent, and takes the versions that judge it.
    pub fn identify(
        &self,
        arrival: &Arrival,
        corridor: &Corridor,
        at: (DecisionId, Timestamp),
    ) -> Result<Identified, Reason> {
        let certificate = arrival.presented.certificate;
        let Some(credential) = credential::of(arrival)? else {
            let certificate = certificate.ok_or(Reason::TokenMissing)?;
            return by_certificate(certificate, corridor, at);
        };
        let (verified, tenant, agent) = self.know(&credential, corridor, at.1)?;
        let proof = self.proof((arrival, &credential), &verified, corridor, at.1)?;
        let shown = Shown { proof: proof.as_ref(), certificate };
        let required = agent.modes.unwrap_or(tenant.modes);
        let admission = admit(&verified, shown, required).map_err(|error| error.reason())?;
        identified((identity(&verified, tenant, agent), admission), tenant, corridor, at)
    }

    /// Who opens a tunnel. What is shown beside the token is asked of every call inside, so that none rides on another's.
    pub fn opens(
        &self,
        arrival: &Arrival,
        corridor: &Corridor,
        at: (DecisionId, Timestamp),
    ) -> Result<Identified, Reason> {
        let Some(credential) = credential::of(arrival)? else {
            return self.identify(arrival, corridor, at);
        };
        let (verified, tenant, agent) = self.know(&credential, corridor, at.1)?;
        let claims = verified.claims();
        let unasked = ReplayCheck {
            jti: claims.jti.clone(),
            token_use: claims.token_use,
            binding: None,
            expires_at: claims.expires_at,
        };
        let admission = Admission { modes: Modes::ANY, replay: unasked };
        identified((identity(&verified, tenant, agent), admission), tenant, corridor, at)
    }

    /// A token that verified, and whose it is.
    fn know<'c>(
        &self,
        credential: &Credential<'_>,
        corridor: &'c Corridor,
        now: Timestamp,
    ) -> Result<(Arc<VerifiedToken>, &'c Arc<Tenant>, &'c Agent), Reason> {
        let config = &corridor.config;
        let token = credential.token.expose();
        let verified = self.0.verify(token, now).map_err(|error| error.reason())?;
        let claims = verified.claims();
        if !may_speak(config, &claims.issuer, &claims.tenant) {
            return Err(Reason::TokenIssuer);
        }
        let (tenant, agent) = registered(config, &claims.tenant, &claims.agent)?;
        if tenant.org != claims.org {
            return Err(Reason::AgentUnknown);
        }
        Ok((verified, tenant, agent))
    }

    /// The proof beside a token of scheme `DPoP`, for one of the URIs that the caller may have meant.
    fn proof(
        &self,
        (arrival, credential): (&Arrival, &Credential<'_>),
        verified: &VerifiedToken,
        corridor: &Corridor,
        now: Timestamp,
    ) -> Result<Option<VerifiedProof>, Reason> {
        let text = match (credential.scheme, credential.proof) {
            (Scheme::Bearer, _) => return Ok(None),
            (Scheme::Dpop, None) => return Err(Reason::ProofMissing),
            (Scheme::Dpop, Some(text)) => text,
        };
        let mut refused = Reason::ProofInvalid;
        for uri in uris(arrival, &corridor.config) {
            let method = arrival.method.as_str();
            let demand = ProofDemand { method, uri: &uri, token: Some(verified), nonces: None };
            match verify_proof(text, &demand, now) {
                Ok(proof) => return Ok(Some(proof)),
                Err(error) => {
                    tracing::debug!(%error, "a proof was refused");
                    refused = error.reason();
                }
            }
        }
        Err(refused)
    }
}

/// What a proof may name as its `htu`: the call's own target, or a URL of ours with the call's path.
fn uris(arrival: &Arrival, config: &Config) -> Vec<String> {
    match &arrival.target {
        Target::Route => {
            let urls = config.identity.urls.iter();
            urls.map(|url| format!("{}{}", url.trim_end_matches('/'), arrival.path)).collect()
        }
        Target::Origin { scheme, host, port } => {
            let scheme = match scheme {
                UrlScheme::Http => "http",
                UrlScheme::Https => "https",
            };
            vec![format!("{scheme}://{}:{port}{}", bracketed(host), arrival.path)]
        }
    }
}

fn bracketed(host: &Host) -> String {
    let host = host.as_str();
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

fn registered<'c>(
    config: &'c Config,
    tenant: &TenantId,
    agent: &AgentId,
) -> Result<(&'c Arc<Tenant>, &'c Agent), Reason> {
    let tenant = config.tenants.get(tenant).ok_or(Reason::AgentUnknown)?;
    let agent = tenant.agents.get(agent).ok_or(Reason::AgentUnknown)?;
    match agent.standing {
        Standing::Active => Ok((tenant, agent)),
        Standing::Disabled => Err(Reason::AgentUnknown),
    }
}

/// An agent that shows nothing but the certificate it is registered with.
fn by_certificate(
    certificate: CertificateThumbprint,
    corridor: &Corridor,
    at: (DecisionId, Timestamp),
) -> Result<Identified, Reason> {
    let config = &corridor.config;
    let (tenant, agent_id) = config.certificates.get(&certificate).ok_or(Reason::AgentUnknown)?;
    let (tenant, agent) = registered(config, tenant, agent_id)?;
    let known = agent.certificate.as_ref().ok_or(Reason::AgentUnknown)?;
    let modes = Modes::from_iter([Mode::Mtls, Mode::Bound]);
    if !modes.meets(agent.modes.unwrap_or(tenant.modes)) {
        return Err(Reason::TokenMode);
    }
    // What stands for a token is the certificate: it is proved anew by every handshake.
    let name = format!("x5t.{certificate}");
    let expires_at = at.1.plus(CERTIFICATE_REMEMBERED);
    let jti = Jti::parse(&name).map_err(|_| Reason::Unavailable)?;
    let identity = AgentIdentity {
        org: tenant.org.clone(),
        tenant: tenant.id.clone(),
        agent: agent_id.clone(),
        parent_agent: agent.parent.clone(),
        scopes: known.scopes.clone(),
        groups: agent.groups.clone(),
        attributes: agent.attributes.clone(),
        jti: jti.clone(),
        key_id: KeyId::parse(&name).map_err(|_| Reason::Unavailable)?,
        token_use: TokenUse::Bound,
        expires_at,
    };
    let replay = ReplayCheck {
        jti,
        token_use: TokenUse::Bound,
        binding: Some(*certificate.as_bytes()),
        expires_at,
    };
    identified((identity, Admission { modes, replay }), tenant, corridor, at)
}

fn identified(
    (mut identity, admission): (AgentIdentity, Admission),
    tenant: &Arc<Tenant>,
    corridor: &Corridor,
    (id, _): (DecisionId, Timestamp),
) -> Result<Identified, Reason> {
    let policy = corridor.policies.of(&tenant.id).ok_or(Reason::DefaultDeny)?.current();
    let judges = policy.judges(&corridor.config.region, &identity.agent, id);
    let Admission { modes, replay } = admission;
    let strongest = Mode::ALL.into_iter().rev().find(|mode| modes.contains(*mode));
    if let Some(mode) = strongest {
        identity.attributes.insert(MODE_ATTRIBUTE.to_owned(), Value::from(mode.as_str()));
    }
    let (agent, tenant) = (Arc::new(identity), Arc::clone(tenant));
    Ok(Identified { agent, tenant, judges, modes, replay })
}

/// Whether the issuer is trusted for this tenant, and not only at all.
fn may_speak(config: &Config, issuer: &str, tenant: &TenantId) -> bool {
    let mut trusted = config.identity.issuers.iter().filter(|trusted| trusted.issuer == issuer);
    trusted.any(|trusted| trusted.tenants.as_ref().is_none_or(|tenants| tenants.contains(tenant)))
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
