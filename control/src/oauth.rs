//! The OAuth side over HTTP: `POST /oauth2/token`, the metadata documents, and the key set.
//!
//! Not here: what is granted (`agents/tokens`). Invariant: a token is signed only after every assertion and proof was used
//! up, and an answer with a token, or about one, is never cached.

use std::sync::Arc;

use aegis_domain::{KeyId, Timestamp};
use aegis_identity::{CertificateThumbprint, Unsigned, lay_out};
use aegis_registry::PublicJwk;
use aegis_tokens::{self as tokens, FirstUse, Grant, OAuthError, Pending, Refusal, Request, World};
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::{Value, json};
use tracing::{error, warn};

use crate::connection::Peer;
use crate::read::Asked;
use crate::replay::ReplayError;
use crate::{Control, clock, keys};

const FORM: &str = "application/x-www-form-urlencoded";
/// As long as a new key is published before it signs (`keys::LEAD`), so that no verifier meets one it cannot know.
const JWKS_CACHED: &str = "public, max-age=60";

/// Why no token leaves.
#[derive(Debug, thiserror::Error)]
enum NoToken {
    #[error("refused")]
    Refused(#[from] Refusal),
    #[error("the hot state cannot say whether it was used before")]
    Replay(#[from] ReplayError),
    #[error("the token cannot be signed: {what}")]
    Signing { what: String },
}

pub(crate) async fn token(
    State(control): State<Arc<Control>>,
    Extension(peer): Extension<Peer>,
    asked: Asked,
) -> Response {
    let kind = asked.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
    if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case(FORM)) {
        return refused(OAuthError::InvalidRequest, false);
    }
    match grant(&control, &asked, peer.certificate).await {
        Ok(answer) => uncached(StatusCode::OK, answer),
        Err(NoToken::Refused(refusal)) => {
            let cause = std::error::Error::source(&refusal).map(ToString::to_string);
            warn!(%refusal, cause, "no token was given");
            refused(refusal.error(), asked.headers.contains_key(AUTHORIZATION))
        }
        Err(failure) => {
            error!(%failure, "no token could be given");
            let body =
                json!({ "error": "temporarily_unavailable", "error_description": "try again" });
            uncached(StatusCode::SERVICE_UNAVAILABLE, body)
        }
    }
}

async fn grant(
    control: &Control,
    asked: &Asked,
    certificate: Option<CertificateThumbprint>,
) -> Result<Value, NoToken> {
    let now = clock::now();
    let pending = judge(control, asked, certificate, now)?;
    let tenant = pending.agent().tenant;
    let mut answers = Vec::new();
    for check in pending.checks() {
        let first = control.replay.first_use(&tenant, check, now).await?;
        answers.push(first);
        if first == FirstUse::No {
            break;
        }
    }
    let granted = pending.settle(&answers)?;
    let token = sign(control, &granted, now).await?;
    Ok(granted.answer(&token))
}

fn judge(
    control: &Control,
    asked: &Asked,
    certificate: Option<CertificateThumbprint>,
    now: Timestamp,
) -> Result<Pending, Refusal> {
    let proofs =
        asked.headers.get_all("dpop").iter().map(|proof| proof.to_str().unwrap_or_default());
    let proofs: Vec<&str> = proofs.collect();
    let authorization =
        asked.headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
    let request = Request { body: &asked.body, proofs: &proofs, authorization, certificate };
    let subjects = control.subjects.verifier();
    let registry = control.ledger.read();
    control.service.judge(&request, &World { view: registry.view(), subjects: &subjects, now })
}

async fn sign(control: &Control, granted: &Grant, now: Timestamp) -> Result<String, NoToken> {
    let failed = |what: String| NoToken::Signing { what };
    let key = signing_key(control, now).ok_or_else(|| failed("no key signs now".to_owned()))?;
    let jti = clock::jti(now).map_err(|error| failed(error.to_string()))?;
    let unsigned =
        lay_out(key.key(), &granted.claims(jti)).map_err(|error| failed(error.to_string()))?;
    signed(control, key.id().clone(), unsigned).await
}

fn signing_key(control: &Control, now: Timestamp) -> Option<PublicJwk> {
    control.ledger.read().view().signing_key(now).map(|key| key.key.clone())
}

async fn signed(control: &Control, key: KeyId, unsigned: Unsigned) -> Result<String, NoToken> {
    let message = unsigned.message().to_vec();
    let signature = keys::in_vault(control, move |vault| vault.sign(&key, &message)).await;
    let signature = signature.map_err(|error| NoToken::Signing { what: error.to_string() })?;
    Ok(unsigned.with(&signature))
}

/// RFC 6749 §5.2: 400, and 401 for a client that tried the `Authorization` header.
fn refused(error: OAuthError, tried_header: bool) -> Response {
    let is_client = error == OAuthError::InvalidClient && tried_header;
    let status = if is_client { StatusCode::UNAUTHORIZED } else { StatusCode::BAD_REQUEST };
    let body = json!({ "error": error.code(), "error_description": error.description() });
    let mut answer = uncached(status, body);
    if is_client {
        let basic = HeaderValue::from_static("Basic realm=\"aegis\"");
        answer.headers_mut().insert(WWW_AUTHENTICATE, basic);
    }
    answer
}

fn uncached(status: StatusCode, body: Value) -> Response {
    (status, [(CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

pub(crate) async fn authorization_server(State(control): State<Arc<Control>>) -> Response {
    public(tokens::authorization_server(&control.service))
}

/// The metadata of the gateway these tokens are for; each gateway serves its own as well.
pub(crate) async fn protected_resource(State(control): State<Arc<Control>>) -> Response {
    let resource = control.service.audiences.first().map(String::as_str).unwrap_or_default();
    public(tokens::protected_resource(&control.service, resource))
}

pub(crate) async fn jwks(State(control): State<Arc<Control>>) -> Response {
    let set = control.ledger.read().view().key_set(clock::now()).to_jwks_json();
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(JWKS_CACHED));
    (headers, set).into_response()
}

fn public(body: Value) -> Response {
    ([(CACHE_CONTROL, JWKS_CACHED)], Json(body)).into_response()
}
