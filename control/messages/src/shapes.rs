//! How the API writes what the registry holds.
//!
//! Not here: how it is read (`read`, `api`). Invariant: instants are RFC 3339 in UTC, names are the registry's.

use aegis_domain::Timestamp;
use aegis_registry::{Agent, AgentKey, Code, Revocation, Target, TokenKey};
use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, ETAG};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::clock::show;

pub fn agent(agent: &Agent, now: Timestamp) -> Value {
    let retiring = agent.retiring.as_ref().filter(|retiring| now < retiring.until);
    json!({
        "client_id": format!("{}/{}", agent.tenant, agent.id),
        "tenant": agent.tenant,
        "id": agent.id,
        "org": agent.org,
        "parent": agent.parent,
        "scopes": agent.scopes,
        "groups": agent.groups,
        "attributes": agent.attributes,
        "mode": agent.mode.as_str(),
        "limits": agent.limits,
        "standing": agent.standing.as_str(),
        "key": agent.key.as_ref().map(key),
        "retiring": retiring.map(|old| json!({ "key": key(&old.key), "until": show(old.until) })),
        "registered_at": show(agent.registered_at),
        "version": agent.changed,
    })
}

fn key(key: &AgentKey) -> Value {
    match key {
        AgentKey::Jwk(jwk) => json!({ "kid": jwk.id(), "jwk": jwk.to_value() }),
        AgentKey::Certificate(thumbprint) => {
            json!({ "kid": key.id(), "x5t#S256": thumbprint.to_string() })
        }
    }
}

pub fn code(text: &str, code: &Code) -> Value {
    json!({ "code": text, "expires_at": show(code.expires_at) })
}

pub fn token_key(key: &TokenKey, now: Timestamp) -> Value {
    json!({
        "kid": key.id(),
        "standing": key.standing(now).as_str(),
        "signer": key.signer,
        "signs_from": show(key.signs_from),
        "signs_until": key.signs_until.map(show),
        "counts_until": key.counts_until.map(show),
        "jwk": key.key.to_value(),
        "version": key.changed,
    })
}

pub fn revocation(revocation: &Revocation) -> Value {
    let what = match &revocation.target {
        Target::Token { jti, .. } => json!(jti),
        Target::Agent(name) => json!(name.id),
        Target::Key(id) => json!(id),
        Target::Tenant(tenant) => json!(tenant),
    };
    json!({
        "kind": revocation.target.kind(),
        "tenant": revocation.target.tenant(),
        "what": what,
        "before": show(revocation.before),
        "until": revocation.until.map(show),
    })
}

/// Puts the members of other objects into one.
pub fn extend(value: &mut Value, more: impl IntoIterator<Item = Value>) {
    let Some(members) = value.as_object_mut() else { return };
    for more in more {
        members.extend(more.as_object().cloned().unwrap_or_default());
    }
}

/// An answer that no cache keeps.
pub fn answer(status: StatusCode, body: Value) -> Response {
    (status, [(CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

/// The same with the tag of the version of what is answered with: the serial of the event that last changed it.
pub fn tagged(status: StatusCode, changed: u64, body: Value) -> Response {
    let tag = format!("\"{changed}\"");
    (status, [(CACHE_CONTROL, "no-store".to_owned()), (ETAG, tag)], Json(body)).into_response()
}
