//! What is answered when something is not done: `application/problem+json` (RFC 9457), and the only place in the control
//! API that turns a refusal into a status.
//!
//! Not here: OAuth's own errors, which have another shape (`oauth`). Invariant: the detail never quotes what was sent.

use aegis_registry::Refusal;
use aegis_state::StateError;
use axum::Json;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tracing::error;

use crate::clock::RandomError;
use crate::keys::KeyError;
use crate::ledger::LedgerError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error("send a token as Authorization: Bearer")]
    Unauthorized,
    #[error("the token does not allow this")]
    Forbidden,
    #[error("there is no such path")]
    NoRoute,
    #[error("the path knows other methods only")]
    Method,
    #[error("nothing of that name is there")]
    NotFound,
    #[error("{0}")]
    Malformed(String),
    #[error("the body did not come in time")]
    Slow,
    #[error("the content type is not {0}")]
    ContentType(&'static str),
    #[error("{0}")]
    Refused(Refusal),
    #[error("the proof of possession is not a signature of the key over this enrolment")]
    Proof,
    #[error(
        "the registry ends at {serial}, before what is asked for; this node was restored from an older state"
    )]
    Rewound { serial: u64 },
    #[error("the registry cannot be written now")]
    Ledger(#[source] LedgerError),
    #[error("a token key cannot be made")]
    Key(#[source] KeyError),
    #[error(
        "this node has no hot state, so it knows no spend; ask a node that runs with a gateway"
    )]
    NoPurse,
    #[error("the hot state does not answer")]
    Purse(#[source] StateError),
    #[error(
        "the adjustment is on record, but the hot state did not take it; send it again under the same Idempotency-Key"
    )]
    Unadjusted(#[source] StateError),
    #[error("no random numbers are to be had")]
    Random(#[from] RandomError),
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Refused(refusal) => Problem::Refused(refusal),
            LedgerError::Gone
            | LedgerError::NoQuorum
            | LedgerError::Unknown
            | LedgerError::TooLarge => Problem::Ledger(error),
        }
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Ledger(error) => error.into(),
            KeyError::Vault(_) => Problem::Key(error),
        }
    }
}

impl Problem {
    /// Status, and the last part of the problem's type.
    fn kind(&self) -> (StatusCode, &'static str) {
        match self {
            Problem::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized"),
            Problem::Forbidden => (StatusCode::FORBIDDEN, "forbidden"),
            Problem::NoRoute => (StatusCode::NOT_FOUND, "no-route"),
            Problem::Method => (StatusCode::METHOD_NOT_ALLOWED, "method"),
            Problem::NotFound => (StatusCode::NOT_FOUND, "not-found"),
            Problem::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed"),
            Problem::Slow => (StatusCode::REQUEST_TIMEOUT, "slow"),
            Problem::ContentType(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type"),
            Problem::Proof => (StatusCode::FORBIDDEN, "proof"),
            Problem::Rewound { .. } => (StatusCode::CONFLICT, "rewound"),
            Problem::Refused(refusal) => refused(*refusal),
            Problem::Ledger(_) => (StatusCode::SERVICE_UNAVAILABLE, "ledger"),
            Problem::NoPurse => (StatusCode::SERVICE_UNAVAILABLE, "no-hot-state"),
            Problem::Purse(_) => (StatusCode::SERVICE_UNAVAILABLE, "hot-state"),
            Problem::Unadjusted(_) => (StatusCode::SERVICE_UNAVAILABLE, "not-adjusted"),
            Problem::Key(_) | Problem::Random(_) => (StatusCode::SERVICE_UNAVAILABLE, "keys"),
        }
    }
}

fn refused(refusal: Refusal) -> (StatusCode, &'static str) {
    match refusal {
        Refusal::AgentExists => (StatusCode::CONFLICT, "agent-exists"),
        Refusal::AgentUnknown => (StatusCode::NOT_FOUND, "agent-unknown"),
        Refusal::ParentUnknown => (StatusCode::UNPROCESSABLE_ENTITY, "parent-unknown"),
        Refusal::AgentDisabled => (StatusCode::CONFLICT, "agent-disabled"),
        Refusal::Changed => (StatusCode::PRECONDITION_FAILED, "changed"),
        // One answer for every code that cannot be spent, so that guessing tells nothing.
        Refusal::CodeUnknown => (StatusCode::FORBIDDEN, "code-unknown"),
        Refusal::KeyRevoked => (StatusCode::CONFLICT, "key-revoked"),
        Refusal::KeyTaken => (StatusCode::CONFLICT, "key-taken"),
        Refusal::KeyUnknown => (StatusCode::NOT_FOUND, "key-unknown"),
        Refusal::KeyInUse => (StatusCode::CONFLICT, "key-in-use"),
        Refusal::KeyPending => (StatusCode::CONFLICT, "key-pending"),
        Refusal::OverLimit { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "over-limit"),
        Refusal::BudgetUnknown => (StatusCode::NOT_FOUND, "budget-unknown"),
        Refusal::AdjustmentUnknown => (StatusCode::NOT_FOUND, "adjustment-unknown"),
        Refusal::Full => (StatusCode::INSUFFICIENT_STORAGE, "full"),
        Refusal::Stale => (StatusCode::CONFLICT, "stale"),
        // draft-ietf-httpapi-idempotency-key-header-07 §2.7.
        Refusal::SerialReused => (StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused"),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, kind) = self.kind();
        if status.is_server_error() {
            let cause = std::error::Error::source(&self).map(ToString::to_string);
            error!(kind, cause, "a request to the control API failed");
        }
        let body = json!({
            "type": format!("https://aegis.dev/problems/{kind}"),
            "title": status.canonical_reason().unwrap_or_default(),
            "status": status.as_u16(),
            "detail": self.to_string(),
        });
        let mut answer = (status, Json(body)).into_response();
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"aegis-control\""),
            );
        }
        answer
    }
}
