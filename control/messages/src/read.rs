//! A request as the API's handlers take it: a strict JSON body, `If-Match`, `Idempotency-Key`.
//!
//! Not here: what it asks for. Invariant: a member the API does not know is refused, so that a misspelt one is never a
//! wish that silently went unheard.

use std::time::Duration;

use aegis_access::Principal;
use aegis_domain::{AgentId, TenantId};
use aegis_registry::{AgentName, ClientId, Fingerprint};
use axum::body::{Bytes, HttpBody as _, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::header::{CONTENT_TYPE, IF_MATCH};
use axum::http::{HeaderMap, Method, Uri};
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// What fits into `BODY_BYTES_MAX` comes in this time over any line that agents have.
const BODY: Duration = Duration::from_secs(10);
pub const BODY_BYTES_MAX: usize = 64 * 1_024;
/// What a version of a policy takes in the ledger, and so about what its files may.
const POLICY_BYTES_MAX: usize = aegis_ledger::CONTENT_BYTES_MAX;
/// Versions are serials of events and epochs, which never count so far.
const NO_VERSION: u64 = u64::MAX;
const KEY_BYTES_MAX: usize = 255;

/// A request with a body, after its sender was let in.
#[derive(Debug)]
pub struct Asked {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Asked {
    /// The body as JSON; none counts as `{}`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        if self.body.is_empty() {
            return serde_json::from_str("{}").map_err(malformed);
        }
        if !self.is_of("application/json") {
            return Err(Problem::ContentType("application/json"));
        }
        // serde takes an array for a struct, member by member, which nobody who writes one means.
        if !self.body.trim_ascii_start().starts_with(b"{") {
            return Err(Problem::Malformed("the body is not an object".into()));
        }
        serde_json::from_slice(&self.body).map_err(malformed)
    }

    /// Whether its one `Content-Type` is this one, whatever its parameters.
    pub fn is_of(&self, kind: &str) -> bool {
        let mut sent = self.headers.get_all(CONTENT_TYPE).iter();
        let (Some(sent), None) = (sent.next(), sent.next()) else { return false };
        let sent = sent.to_str().ok().and_then(|sent| sent.split(';').next()).map(str::trim);
        sent.is_some_and(|sent| sent.eq_ignore_ascii_case(kind))
    }

    /// The version the sender saw, from one strong entity tag (RFC 9110 §13.1.1). What is no tag of ours matches nothing.
    pub fn seen(&self) -> Option<u64> {
        let value = self.headers.get(IF_MATCH).filter(|value| *value != "*")?;
        let tag = |text: &str| text.strip_prefix('"')?.strip_suffix('"')?.parse().ok();
        Some(value.to_str().ok().and_then(tag).unwrap_or(NO_VERSION))
    }

    /// Who numbers this request: its sender, by `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header).
    pub fn once(&self, who: &Principal) -> Result<Option<(ClientId, Fingerprint)>, Problem> {
        let Some(key) = self.headers.get("idempotency-key") else { return Ok(None) };
        let is_printed = key.as_bytes().iter().all(u8::is_ascii_graphic);
        if key.is_empty() || key.len() > KEY_BYTES_MAX || !is_printed {
            let detail = format!("Idempotency-Key is not 1 to {KEY_BYTES_MAX} of ! to ~");
            return Err(Problem::Malformed(detail));
        }
        let client = ClientId::of(&[who.actor.as_str().as_bytes(), &[0], key.as_bytes()].concat());
        let head = format!("{} {}\n", self.method, self.uri);
        let request = Fingerprint::of(&[head.as_bytes(), &self.body].concat());
        Ok(Some((client, request)))
    }
}

/// The agent that a path names.
pub fn agent_name((tenant, agent): (String, String)) -> Result<AgentName, Problem> {
    let tenant = TenantId::parse(&tenant).map_err(|_| Problem::NotFound)?;
    Ok(AgentName { tenant, id: AgentId::parse(&agent).map_err(|_| Problem::NotFound)? })
}

/// serde_json quotes names of members and types, and no values but those of enums; positions help most.
pub fn malformed(error: serde_json::Error) -> Problem {
    Problem::Malformed(format!(
        "the body is not what is wanted, at line {} column {}: {}",
        error.line(),
        error.column(),
        kind(&error)
    ))
}

fn kind(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    // What was sent stands in the message of some errors; only those that name members of ours are told.
    let is_ours = ["missing field", "unknown field"].iter().any(|start| text.starts_with(start));
    if is_ours { text.chars().take(200).collect() } else { "a value is malformed".to_owned() }
}

impl<S: Send + Sync> FromRequest<S> for Asked {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        asked(request, BODY_BYTES_MAX).await
    }
}

/// A request that may bring a whole policy.
#[derive(Debug)]
pub struct Posted(pub Asked);

impl<S: Send + Sync> FromRequest<S> for Posted {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        asked(request, POLICY_BYTES_MAX).await.map(Self)
    }
}

async fn asked(request: Request, bytes_max: usize) -> Result<Asked, Problem> {
    let (head, body) = request.into_parts();
    let too_long =
        || Problem::Malformed(format!("the body is longer than {bytes_max} bytes or broke off"));
    // Known before any of it came, so that nobody waits for it.
    let declared = body.size_hint().lower();
    if usize::try_from(declared).map_or(true, |bytes| bytes > bytes_max) {
        return Err(too_long());
    }
    let body = tokio::time::timeout(BODY, to_bytes(body, bytes_max)).await;
    let body = body.map_err(|_| Problem::Slow)?.map_err(|_| too_long())?;
    Ok(Asked { method: head.method, uri: head.uri, headers: head.headers, body })
}
/// A tenant by its name in a path.
pub fn tenant(text: &str) -> Result<TenantId, Problem> {
    TenantId::parse(text).map_err(|_| Problem::NotFound)
}
