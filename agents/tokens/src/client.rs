//! Who asks: an agent that signs an assertion with its key (RFC 7523 §2.2), or shows its certificate (RFC 8705 §2).
//!
//! Not here: agents that bring a foreign token instead (`exchange`). Invariant: a caller is an active agent that proved
//! itself with a key that counts now.

use aegis_domain::{AgentId, TenantId, Timestamp};
use aegis_identity::{
    CLIENT_ASSERTION_TYPE, CertificateThumbprint, ReplayCheck, UnverifiedAssertion,
    verify_certificate,
};
use aegis_registry::{Agent, AgentKey, PublicJwk, Standing, View};

use crate::Refusal;
use crate::service::Desk;

/// An agent that proved itself.
#[derive(Debug)]
pub(crate) struct Caller<'a> {
    pub(crate) agent: &'a Agent,
    /// What must still be asked about how it did.
    pub(crate) checks: Vec<ReplayCheck>,
}

/// The client of a request; `None` where it does not say it is one.
pub(crate) fn authenticate<'a>(desk: &Desk<'a>) -> Result<Option<Caller<'a>>, Refusal> {
    let form = desk.form;
    if desk.request.authorization.is_some() || form.get("client_secret").is_some() {
        return Err(Refusal::ClientSecret);
    }
    match (form.get("client_assertion"), form.get("client_id")) {
        (Some(assertion), named) => by_assertion(desk, assertion, named).map(Some),
        (None, Some(named)) if desk.request.certificate.is_some() => {
            by_certificate(desk, named).map(Some)
        }
        (None, Some(_)) => Err(Refusal::ClientMethods),
        (None, None) => Ok(None),
    }
}

fn by_assertion<'a>(
    desk: &Desk<'a>,
    assertion: &str,
    named: Option<&str>,
) -> Result<Caller<'a>, Refusal> {
    let kind = desk.form.get("client_assertion_type");
    match kind.ok_or(Refusal::Missing { name: "client_assertion_type" })? {
        CLIENT_ASSERTION_TYPE => {}
        _ => return Err(Refusal::Unknown { name: "client_assertion_type" }),
    }
    let unverified = UnverifiedAssertion::read(assertion)?;
    if named.is_some_and(|named| named != unverified.client_id()) {
        return Err(Refusal::ClientIdDisagrees);
    }
    let agent = by_client_id(desk.world.view, unverified.client_id())?;
    let keys = PublicJwk::set(agent.keys(desk.world.now).filter_map(|key| match key {
        AgentKey::Jwk(jwk) => Some(jwk),
        AgentKey::Certificate(_) => None,
    }));
    if keys.is_empty() {
        return Err(Refusal::NotEnrolled);
    }
    let endpoint = desk.service.token_endpoint();
    let audiences = [desk.service.issuer.as_str(), endpoint.as_str()];
    let verified = unverified.verify(&keys, &audiences, desk.world.now)?;
    Ok(Caller { agent, checks: vec![verified.replay().clone()] })
}

fn by_certificate<'a>(desk: &Desk<'a>, named: &str) -> Result<Caller<'a>, Refusal> {
    let agent = by_client_id(desk.world.view, named)?;
    verify_certificate(desk.request.certificate, &certificates(agent, desk.world.now))?;
    Ok(Caller { agent, checks: Vec::new() })
}

fn certificates(agent: &Agent, now: Timestamp) -> Vec<CertificateThumbprint> {
    let certificate = |key: &AgentKey| match key {
        AgentKey::Certificate(thumbprint) => Some(*thumbprint),
        AgentKey::Jwk(_) => None,
    };
    agent.keys(now).filter_map(certificate).collect()
}

/// The agent behind a client id, which is `<tenant>/<agent>`; a tenant's name holds no slash.
fn by_client_id<'a>(view: &'a View, client_id: &str) -> Result<&'a Agent, Refusal> {
    let (tenant, agent) = client_id.split_once('/').ok_or(Refusal::AgentUnknown)?;
    let tenant = TenantId::parse(tenant).map_err(|_| Refusal::AgentUnknown)?;
    let agent = AgentId::parse(agent).map_err(|_| Refusal::AgentUnknown)?;
    active(view, &tenant, &agent)
}

/// An agent that may act.
pub(crate) fn active<'a>(
    view: &'a View,
    tenant: &TenantId,
    agent: &AgentId,
) -> Result<&'a Agent, Refusal> {
    let agent = view.agent(tenant, agent).ok_or(Refusal::AgentUnknown)?;
    match agent.standing {
        Standing::Active => Ok(agent),
        Standing::Disabled => Err(Refusal::AgentDisabled),
    }
}
