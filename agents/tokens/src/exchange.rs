//! Token exchange (RFC 8693): a foreign workload token for ours, or a parent's token for one its child acts with.
//!
//! Not here: reading foreign tokens (`identity`). Invariant: a child gets at most its parent's scopes and time, and only
//! a child that the registry knows as one gets anything.

use aegis_domain::{AgentId, TenantId};
use aegis_identity::{ReplayCheck, TokenLimits, TrustedIssuer, VerifiedToken, Verifier};
use aegis_registry::{AgentName, Issued, certificate_id};

use crate::client::{self, Caller};
use crate::grant::Narrowed;
use crate::service::{Desk, Pending};
use crate::{Refusal, client::active};

pub(crate) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// A JWT-SVID or service account token is a JWT; an OIDC one may be called an ID token (RFC 8693 §3).
const FOREIGN: [&str; 2] =
    ["urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token"];

pub(crate) fn judge(desk: &Desk<'_>) -> Result<Pending, Refusal> {
    let form = desk.form;
    if form.get("requested_token_type").is_some_and(|wanted| wanted != ACCESS_TOKEN) {
        return Err(Refusal::Unknown { name: "requested_token_type" });
    }
    let subject = form.get("subject_token").ok_or(Refusal::Missing { name: "subject_token" })?;
    let kind = form.get("subject_token_type");
    let kind = kind.ok_or(Refusal::Missing { name: "subject_token_type" })?;
    let actor = actor(desk)?;
    if kind == ACCESS_TOKEN {
        // A client that shows only somebody's token has not said who it is.
        delegate(desk, subject, actor.ok_or(Refusal::ClientMethods)?)
    } else if FOREIGN.contains(&kind) {
        translate(desk, subject, actor)
    } else {
        Err(Refusal::Unknown { name: "subject_token_type" })
    }
}

/// Who will act: the client, or the bearer of a foreign actor token.
fn actor<'a>(desk: &Desk<'a>) -> Result<Option<Caller<'a>>, Refusal> {
    let client = client::authenticate(desk)?;
    let (token, kind) = (desk.form.get("actor_token"), desk.form.get("actor_token_type"));
    match (client, token, kind) {
        (client, None, None) => Ok(client),
        (None, Some(token), Some(kind)) if FOREIGN.contains(&kind) => {
            foreign(desk, token).map(Some)
        }
        (_, Some(_), Some(_)) => Err(Refusal::ClientMethods),
        (_, Some(_), None) => Err(Refusal::Missing { name: "actor_token_type" }),
        (_, None, Some(_)) => Err(Refusal::Missing { name: "actor_token" }),
    }
}

fn foreign<'a>(desk: &Desk<'a>, token: &str) -> Result<Caller<'a>, Refusal> {
    let subject = desk.world.subjects.verify(token, desk.world.now)?;
    let agent = active(desk.world.view, &subject.tenant, &subject.agent)?;
    Ok(Caller { agent, checks: Vec::new() })
}

/// A foreign token for ours, about the same agent.
fn translate(desk: &Desk<'_>, token: &str, actor: Option<Caller<'_>>) -> Result<Pending, Refusal> {
    let subject = desk.world.subjects.verify(token, desk.world.now)?;
    let agent = active(desk.world.view, &subject.tenant, &subject.agent)?;
    let checks = match actor {
        Some(actor) if actor.agent.name() != agent.name() => return Err(Refusal::SubjectDisagrees),
        Some(actor) => actor.checks,
        None => Vec::new(),
    };
    let narrowed = Narrowed::of(agent).until(subject.expires_at);
    desk.pending(Caller { agent, checks }, narrowed)
}

/// A parent's token for one its child acts with.
fn delegate(desk: &Desk<'_>, token: &str, mut actor: Caller<'_>) -> Result<Pending, Refusal> {
    let parent = own(desk, token)?;
    let claims = parent.claims();
    let is_child = actor.agent.parent.as_ref() == Some(&claims.agent);
    if claims.tenant != actor.agent.tenant || !is_child {
        return Err(Refusal::NotAChild);
    }
    let acts_for: Vec<_> = [&claims.agent].into_iter().chain(&claims.acts_for).cloned().collect();
    for agent in &acts_for {
        active(desk.world.view, &claims.tenant, agent)?;
    }
    if acts_for.contains(&actor.agent.id) || acts_for.len() > CHAIN_MAX {
        return Err(Refusal::Chain);
    }
    actor.checks.extend(spent(&parent));
    let narrowed = Narrowed::of(actor.agent).within(&claims.scopes, claims.expires_at);
    desk.pending(actor, narrowed.acting_for(acts_for))
}

/// As many as a token can name (`identity`).
const CHAIN_MAX: usize = 8;

/// A token that is good for one use has it here.
fn spent(token: &VerifiedToken) -> Option<ReplayCheck> {
    let claims = token.claims();
    (claims.token_use == aegis_domain::TokenUse::Once).then(|| ReplayCheck {
        jti: claims.jti.clone(),
        token_use: claims.token_use,
        binding: None,
        issued_at: claims.issued_at,
        expires_at: claims.expires_at,
    })
}

/// One of our own tokens that still counts.
fn own(desk: &Desk<'_>, token: &str) -> Result<VerifiedToken, Refusal> {
    let (view, now) = (desk.world.view, desk.world.now);
    let issuer = TrustedIssuer {
        issuer: desk.service.issuer.clone(),
        audiences: desk.service.audiences.clone(),
        keys: view.key_set(now),
    };
    let verifier = Verifier::new(vec![issuer], TokenLimits::default());
    let verified = verifier.verify(token, now).map_err(Refusal::Token)?;
    let claims = verified.claims();
    let bound = claims.confirmation.as_ref();
    let key = bound.and_then(|cnf| cnf.key());
    let key = key.and_then(|key| aegis_domain::KeyId::parse(&key.to_string()).ok());
    let certificate = bound.and_then(|cnf| cnf.certificate()).map(|one| certificate_id(&one));
    let keys: Vec<_> = [Some(verified.key_id()), key.as_ref(), certificate.as_ref()]
        .into_iter()
        .flatten()
        .collect();
    let name = |agent: &AgentId, tenant: &TenantId| AgentName {
        tenant: tenant.clone(),
        id: agent.clone(),
    };
    for agent in [&claims.agent].into_iter().chain(&claims.acts_for) {
        let issued = Issued {
            jti: &claims.jti,
            agent: &name(agent, &claims.tenant),
            keys: &keys,
            issued_at: claims.issued_at.unwrap_or(aegis_domain::Timestamp::from_unix_ns(0)),
        };
        if view.revoked(&issued).is_some() {
            return Err(Refusal::Revoked);
        }
    }
    Ok(verified)
}
