//! The OAuth side over HTTP: `POST /oauth2/token`, the metadata documents, and the key set.
//!
//! Not here: what is granted (`agents/tokens`). Invariant: a token is signed only after every assertion and proof was used
//! up, and an answer with a token, or about one, is never cached.

use std::sync::Arc;

use aegis_domain::{KeyId, Timestamp};
use aegis_identity::{CertificateThumbprint, Unsigned, lay_out};
use aegis_registry::PublicJwk;
use aegis_tokens::{
    self as tokens, FirstUse, FormError, Grant, OAuthError, Pending, Refusal, Request, World,
};
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::{Value, json};
use tracing::{error, warn};

use crate::problem::Problem;
use crate::read::Asked;
use crate::replay::ReplayError;
use crate::{Control, clock, keys};
use aegis_control_connection::Peer;

const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
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
    asked: Result<Asked, Problem>,
) -> Response {
    // What is too long or broke off has an error of OAuth as well.
    let Ok(asked) = asked else {
        return with_nonce(refused(&FormError::TooLong.into(), false), &control);
    };
    let answer = answer(&control, &asked, peer.certificate).await;
    with_nonce(answer, &control)
}

/// The nonce that the next proof must carry comes with every answer (RFC 9449 §8.2), so that only a client's first
/// request is sent twice.
fn with_nonce(mut answer: Response, control: &Control) -> Response {
    let nonce = control.nonces.as_ref().map(|nonces| nonces.issue(clock::now()));
    if let Some(nonce) = nonce.and_then(|nonce| HeaderValue::try_from(nonce).ok()) {
        answer.headers_mut().insert(DPOP_NONCE, nonce);
    }
    answer
}

async fn answer(
    control: &Control,
    asked: &Asked,
    certificate: Option<CertificateThumbprint>,
) -> Response {
    match grant(control, asked, certificate).await {
        Ok(answer) => uncached(StatusCode::OK, answer),
        Err(NoToken::Refused(refusal)) => {
            refused(&refusal, asked.headers.contains_key(AUTHORIZATION))
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
    if !asked.is_of(FORM) {
        return Err(Refusal::NotAForm.into());
    }
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
    control.issued.at(now);
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
    let nonces = control.nonces.as_ref();
    let world = World { view: registry.view(), subjects: &subjects, nonces, now };
    control.service.judge(&request, &world)
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
    control.ledger.read().view().signing_key(control.signer(), now).map(|key| key.key.clone())
}

async fn signed(control: &Control, key: KeyId, unsigned: Unsigned) -> Result<String, NoToken> {
    let message = unsigned.message().to_vec();
    let signature = keys::in_vault(control, move |vault| vault.sign(&key, &message)).await;
    let signature = signature.map_err(|error| NoToken::Signing { what: error.to_string() })?;
    Ok(unsigned.with(&signature))
}

/// RFC 6749 §5.2: 400, and 401 for a client that tried the `Authorization` header. The log has what the caller is not told.
fn refused(refusal: &Refusal, tried_header: bool) -> Response {
    warn!(%refusal, cause = causes(refusal), "no token was given");
    let error = refusal.error();
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

/// Every source of a refusal, since each says less than the one below it.
fn causes(refusal: &Refusal) -> Option<String> {
    let sources = std::iter::successors(std::error::Error::source(refusal), |error| error.source());
    let all: Vec<_> = sources.map(ToString::to_string).collect();
    (!all.is_empty()).then(|| all.join(": "))
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
