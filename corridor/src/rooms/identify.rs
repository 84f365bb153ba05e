//! Room 1: who is calling, for which tenant, with which scopes.
//!
//! Not here: where a token stands (`credential`), checking signatures (`identity`), whom this process can know (`roster`) and
//! replay (`gather`). Invariant: an identity is something proved, a token or a certificate, and a registration with whoever
//! issued it; one without the other is nobody. A token that names a key counts only with that key.

use std::sync::Arc;

use aegis_config::{Config, Tenant};
use aegis_domain::{
    AgentIdentity, DecisionId, Host, Jti, KeyId, Reason, Scheme as UrlScheme, TenantId, Timestamp,
    TokenUse, Ttl,
};
use aegis_identity::{
    Admission, CertificateThumbprint, Mode, Modes, ProofDemand, ReplayCheck, Scheme, Shown,
    VerifiedProof, VerifiedToken, admit, verify_proof,
};
use aegis_registry::certificate_id;
use serde_json::Value;

use crate::Corridor;
use crate::context::{AgentLimits, Arrival, Identified, Target};
use crate::credential::{self, Credential};
use crate::registered::Registered;

/// How long a caller is remembered that showed a certificate and nothing else.
const CERTIFICATE_REMEMBERED: Ttl = Ttl::from_s(60 * 60);
/// The attribute that tells policies how the strongest part of an identity was shown.
pub const MODE_ATTRIBUTE: &str = "mode";

/// A token that verified, and whose it is.
struct Caller {
    token: Arc<VerifiedToken>,
    tenant: Arc<Tenant>,
    agent: Registered,
}

/// Someone who may come in.
struct Admitted {
    identity: AgentIdentity,
    tenant: Arc<Tenant>,
    limits: AgentLimits,
    admission: Admission,
}

/// Turns what a call shows into a registered agent, and takes the versions that judge it.
pub fn identify(
    arrival: &Arrival,
    corridor: &Corridor,
    at: (DecisionId, Timestamp),
) -> Result<Identified, Reason> {
    let certificate = arrival.presented.certificate;
    let Some(credential) = credential::of(arrival)? else {
        let certificate = certificate.ok_or(Reason::TokenMissing)?;
        return by_certificate(certificate, corridor, at);
    };
    let caller = know(&credential, corridor, at.1)?;
    let proof = proof((arrival, &credential), &caller.token, corridor, at.1)?;
    let shown = Shown { proof: proof.as_ref(), certificate };
    let [required, also] = caller.agent.modes;
    let admission = admit(&caller.token, shown, required).map_err(|error| error.reason())?;
    if !admission.modes.meets(also) {
        return Err(Reason::TokenMode);
    }
    identified(caller.admitted(admission), corridor, at.0)
}

/// Who opens a tunnel. What is shown beside the token is asked of every call inside, so that none rides on another's.
pub fn opens(
    arrival: &Arrival,
    corridor: &Corridor,
    at: (DecisionId, Timestamp),
) -> Result<Identified, Reason> {
    let Some(credential) = credential::of(arrival)? else {
        return identify(arrival, corridor, at);
    };
    let caller = know(&credential, corridor, at.1)?;
    let claims = caller.token.claims();
    let unasked = ReplayCheck {
        jti: claims.jti.clone(),
        token_use: claims.token_use,
        binding: None,
        issued_at: claims.issued_at,
        expires_at: claims.expires_at,
    };
    let admission = Admission { modes: Modes::ANY, replay: unasked };
    identified(caller.admitted(admission), corridor, at.0)
}

/// Verifies a token and looks its agent up where its issuer keeps its agents.
fn know(
    credential: &Credential<'_>,
    corridor: &Corridor,
    now: Timestamp,
) -> Result<Caller, Reason> {
    let (config, known) = (&corridor.config, corridor.roster.read());
    let token = credential.token.expose();
    let token = known.tokens.verify_unrevoked(token, known.revocations()?, now);
    let token = token.map_err(|error| error.reason())?;
    let claims = token.claims();
    let is_ours = corridor.roster.region() == Some(claims.issuer.as_str());
    if !is_ours && !may_speak(config, &claims.issuer, &claims.tenant) {
        return Err(Reason::TokenIssuer);
    }
    let tenant = corridor.tenants.of(&claims.tenant).filter(|tenant| tenant.org == claims.org);
    let tenant = tenant.ok_or(Reason::AgentUnknown)?;
    let agent = if is_ours {
        Registered::in_registry(&known.view, &tenant, &claims.agent)?
    } else {
        Registered::in_config(&tenant, &claims.agent)?
    };
    Ok(Caller { token, tenant, agent })
}

impl Caller {
    fn admitted(self, admission: Admission) -> Admitted {
        let Caller { token, tenant, agent } = self;
        let claims = token.claims();
        let mut scopes = claims.scopes.clone();
        if let Some(most) = &agent.scopes {
            scopes.retain(|scope| most.contains(scope));
        }
        let identity = AgentIdentity {
            org: tenant.org.clone(),
            tenant: tenant.id.clone(),
            agent: claims.agent.clone(),
            parent_agent: claims.parent_agent.clone().or(agent.parent),
            scopes,
            groups: agent.groups,
            attributes: agent.attributes,
            jti: claims.jti.clone(),
            key_id: token.key_id().clone(),
            token_use: claims.token_use,
            expires_at: claims.expires_at,
        };
        Admitted { identity, tenant, limits: agent.limits, admission }
    }
}

/// The proof beside a token of scheme `DPoP`, for one of the URIs that the caller may have meant.
fn proof(
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
        let nonces = corridor.nonces.as_ref();
        let demand = ProofDemand { method, uri: &uri, token: Some(verified), nonces };
        match verify_proof(text, &demand, now) {
            Ok(proof) => return Ok(Some(proof)),
            Err(error) => {
                tracing::debug!(%error, "a proof was refused");
                // A proof that lacks but the nonce was for one of them, whatever the others say.
                if refused != Reason::ProofNonce {
                    refused = error.reason();
                }
            }
        }
    }
    Err(refused)
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

/// An agent that shows nothing but the certificate it is registered with.
fn by_certificate(
    certificate: CertificateThumbprint,
    corridor: &Corridor,
    at: (DecisionId, Timestamp),
) -> Result<Identified, Reason> {
    let (tenant, id) =
        corridor.config.certificates.get(&certificate).ok_or(Reason::AgentUnknown)?;
    let tenant = corridor.tenants.of(tenant).ok_or(Reason::AgentUnknown)?;
    let agent = Registered::in_config(&tenant, id)?;
    let known = tenant.agents.get(id).and_then(|agent| agent.certificate.as_ref());
    let scopes = known.ok_or(Reason::AgentUnknown)?.scopes.clone();
    if corridor.roster.read().view.is_key_revoked(&certificate_id(&certificate)) {
        return Err(Reason::TokenRevoked);
    }
    let modes = Modes::from_iter([Mode::Mtls, Mode::Bound]);
    if !agent.modes.into_iter().all(|required| modes.meets(required)) {
        return Err(Reason::TokenMode);
    }
    // What stands for a token is the certificate: it is proved anew by every handshake.
    let name = format!("x5t.{certificate}");
    let expires_at = at.1.plus(CERTIFICATE_REMEMBERED);
    let jti = Jti::parse(&name).map_err(|_| Reason::Unavailable)?;
    let replay = ReplayCheck {
        jti: jti.clone(),
        token_use: TokenUse::Bound,
        binding: Some(*certificate.as_bytes()),
        issued_at: None,
        expires_at,
    };
    let identity = AgentIdentity {
        org: tenant.org.clone(),
        tenant: tenant.id.clone(),
        agent: id.clone(),
        parent_agent: agent.parent,
        scopes,
        groups: agent.groups,
        attributes: agent.attributes,
        jti,
        key_id: KeyId::parse(&name).map_err(|_| Reason::Unavailable)?,
        token_use: TokenUse::Bound,
        expires_at,
    };
    let admission = Admission { modes, replay };
    identified(Admitted { identity, tenant, limits: agent.limits, admission }, corridor, at.0)
}

fn identified(
    admitted: Admitted,
    corridor: &Corridor,
    id: DecisionId,
) -> Result<Identified, Reason> {
    let Admitted { mut identity, tenant, limits, admission } = admitted;
    let policy = corridor.policies.of(&tenant.id).ok_or(Reason::DefaultDeny)?.current();
    let judges = policy.judges(&corridor.config.region, &identity.agent, id);
    let Admission { modes, replay } = admission;
    let strongest = Mode::ALL.into_iter().rev().find(|mode| modes.contains(*mode));
    if let Some(mode) = strongest {
        identity.attributes.insert(MODE_ATTRIBUTE.to_owned(), Value::from(mode.as_str()));
    }
    Ok(Identified { agent: Arc::new(identity), tenant, limits, judges, modes, replay })
}

/// Whether the issuer is trusted for this tenant, and not only at all.
fn may_speak(config: &Config, issuer: &str, tenant: &TenantId) -> bool {
    let mut trusted = config.identity.issuers.iter().filter(|trusted| trusted.issuer == issuer);
    trusted.any(|trusted| trusted.tenants.as_ref().is_none_or(|tenants| tenants.contains(tenant)))
}
