//! What is answered when something is not done: `application/problem+json` (RFC 9457), and the only place in the control
//! API that turns a refusal into a status.
//!
//! Not here: OAuth's own errors, which have another shape (`oauth`). Invariant: the detail never quotes what was sent.

use aegis_access::Unpermitted;
use aegis_document::Diagnostics;
use aegis_ledger::ApprovalRefusal;
use aegis_ledger::{ReleaseRefusal, StreamRefusal, TenantRefusal, VoterRefusal};
use aegis_policy::BundleError;
use aegis_raft_store::NodeError;
use aegis_registry::Refusal;
use aegis_state::StateError;
use aegis_vault::VaultError;
use axum::Json;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use tracing::error;

use crate::clock::RandomError;
use crate::shapes;
use aegis_control_commands::ChronicleError;
use aegis_control_commands::LedgerError;

/// Why token keys cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the registry refuses the key")]
    Ledger(#[from] LedgerError),
    #[error("the vault does not do its work")]
    Vault(#[from] VaultError),
}

/// Why nothing is told of releases.
#[derive(Debug, thiserror::Error)]
pub enum ReleasesError {
    #[error(
        "the ledger is at revision {revision}, before what is asked for; this voter lags, or was restored from an older state"
    )]
    Rewound { revision: u64 },
    #[error("a release cannot be written")]
    Content(#[from] serde_json::Error),
}

/// Why an audit log is not taken.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("{0}")]
    Refused(StreamRefusal),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("send a token as Authorization: Bearer")]
    Unauthorized,
    #[error(transparent)]
    Unpermitted(#[from] Unpermitted),
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
    #[error("{0}")]
    Declined(aegis_ledger::Refusal),
    #[error("the proof of possession is not a signature of the key over this enrolment")]
    Proof,
    #[error(
        "the registry ends at {serial}, before what is asked for; this node was restored from an older state"
    )]
    Rewound { serial: u64 },
    #[error(transparent)]
    Releases(#[from] ReleasesError),
    #[error("{0}")]
    Ledger(LedgerError),
    #[error("this voter stops, so nothing was changed; ask another")]
    Stopping,
    #[error("the audit log takes no record now, so nothing was changed by this request")]
    NoRecord(#[source] ChronicleError),
    #[error(
        "the change was made, but the audit log did not take its record; send it again under the same Idempotency-Key"
    )]
    Unrecorded(#[source] ChronicleError),
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
    #[error(
        "this voter is alone: run `aegisctl cluster init` on its machine and give `control.cluster`"
    )]
    Alone,
    #[error("{0}")]
    Voters(NodeError),
    #[error("{0}")]
    Member(VoterRefusal),
    #[error("an invitation cannot be made; this node's log says why")]
    Invitation,
    #[error("the policy is not fit to decide")]
    Unfit(Diagnostics),
    #[error("the definition cannot be read as one of `aegis.yaml`")]
    Definition(Diagnostics),
    #[error("{0}")]
    Release(ReleaseRefusal),
    #[error("the pointer was moved since it was read")]
    Moved(Box<Value>),
    #[error("send the ETag of the pointer as If-Match")]
    NoIfMatch,
    #[error(
        "this stops enforcing what is enforced now, which has a route and a permission of its own"
    )]
    Downgrade(Box<Value>),
    #[error("a bundle cannot be packed or read")]
    Bundle(#[from] BundleError),
    #[error("a compilation ended half-way")]
    Compiler,
    #[error("{0}")]
    Log(StreamRefusal),
    #[error("the log's key did not sign this head")]
    HeadNotSigned,
    #[error("the proof does not show that this head extends the one cosigned last")]
    HeadNotProven,
    #[error("no random numbers are to be had")]
    Random(#[from] RandomError),
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Refused(refusal) => Problem::Refused(refusal),
            LedgerError::NoRecord(error) => Problem::NoRecord(error),
            LedgerError::Unrecorded(error) => Problem::Unrecorded(error),
            LedgerError::Gone
            | LedgerError::NoQuorum
            | LedgerError::Unknown
            | LedgerError::RecordUnknown
            | LedgerError::TooLarge
            | LedgerError::Full
            | LedgerError::Level
            | LedgerError::Crowded => Problem::Ledger(error),
        }
    }
}

impl From<LogError> for Problem {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Refused(refusal) => Problem::Log(refusal),
            LogError::Ledger(error) => error.into(),
        }
    }
}

impl From<NodeError> for Problem {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::UnknownVoter(_) => Problem::NotFound,
            NodeError::Refused(aegis_ledger::Refusal::Voter(refusal)) => Problem::Member(refusal),
            NodeError::Propose(error) => Problem::from(LedgerError::from(error)),
            NodeError::NotLeader { .. } => Problem::Ledger(LedgerError::NoQuorum),
            NodeError::Disk(_)
            | NodeError::Tls(_)
            | NodeError::Listen(_)
            | NodeError::Pace(_)
            | NodeError::Raft(_)
            | NodeError::NotFounder
            | NodeError::Learning(_)
            | NodeError::Itself
            | NodeError::NoHeir
            | NodeError::NotElected(_)
            | NodeError::Json(_)
            | NodeError::Refused(_) => Problem::Voters(error),
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
    /// What is told beside the standard members (RFC 9457 §3.2).
    fn more(&self) -> Map<String, Value> {
        let more = if let Problem::Unfit(found) | Problem::Definition(found) = self {
            Some(("diagnostics", diagnostics(found)))
        } else if let Problem::Moved(pointer) = self {
            Some(("pointer", pointer.as_ref().clone()))
        } else if let Problem::Downgrade(changes) = self {
            Some(("changes", changes.as_ref().clone()))
        } else {
            None
        };
        more.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Status, and the last part of the problem's type.
    fn kind(&self) -> (StatusCode, &'static str) {
        match self {
            Problem::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized"),
            Problem::Unpermitted(Unpermitted::Permission(_)) => {
                (StatusCode::FORBIDDEN, "forbidden")
            }
            Problem::Unpermitted(Unpermitted::Tenant) => (StatusCode::FORBIDDEN, "other-tenant"),
            Problem::Unpermitted(Unpermitted::Region) => (StatusCode::FORBIDDEN, "whole-region"),
            Problem::Unpermitted(Unpermitted::Abroad) => (StatusCode::FORBIDDEN, "other-region"),
            Problem::NoRoute => (StatusCode::NOT_FOUND, "no-route"),
            Problem::Method => (StatusCode::METHOD_NOT_ALLOWED, "method"),
            Problem::NotFound => (StatusCode::NOT_FOUND, "not-found"),
            Problem::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed"),
            Problem::Slow => (StatusCode::REQUEST_TIMEOUT, "slow"),
            Problem::ContentType(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type"),
            Problem::Proof => (StatusCode::FORBIDDEN, "proof"),
            Problem::Rewound { .. } => (StatusCode::CONFLICT, "rewound"),
            Problem::Releases(ReleasesError::Rewound { .. }) => (StatusCode::CONFLICT, "rewound"),
            Problem::Releases(ReleasesError::Content(_)) => {
                (StatusCode::SERVICE_UNAVAILABLE, "releases")
            }
            Problem::Refused(refusal) => refused(*refusal),
            Problem::Ledger(error) => (StatusCode::SERVICE_UNAVAILABLE, unwritten(error)),
            Problem::Alone => (StatusCode::CONFLICT, "alone"),
            Problem::Voters(NodeError::Itself) => (StatusCode::CONFLICT, "itself"),
            Problem::Voters(NodeError::NoHeir) => (StatusCode::CONFLICT, "no-heir"),
            Problem::Voters(NodeError::Learning(_)) => {
                (StatusCode::SERVICE_UNAVAILABLE, "learning")
            }
            Problem::Voters(_) => (StatusCode::SERVICE_UNAVAILABLE, "voters"),
            Problem::Log(refusal) => log(*refusal),
            Problem::HeadNotSigned => (StatusCode::FORBIDDEN, "head-not-signed"),
            Problem::HeadNotProven => (StatusCode::UNPROCESSABLE_ENTITY, "head-not-proven"),
            Problem::Member(VoterRefusal::Address | VoterRefusal::Key) => {
                (StatusCode::BAD_REQUEST, "malformed")
            }
            Problem::Member(VoterRefusal::Unknown) => (StatusCode::NOT_FOUND, "not-found"),
            Problem::Member(VoterRefusal::NotAllRead | VoterRefusal::Lower) => {
                (StatusCode::CONFLICT, "level")
            }
            Problem::Member(VoterRefusal::Full) => (StatusCode::INSUFFICIENT_STORAGE, "full"),
            Problem::Invitation => (StatusCode::SERVICE_UNAVAILABLE, "invitation"),
            Problem::Declined(refusal) => declined(refusal),
            Problem::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
            Problem::NoRecord(_) => (StatusCode::SERVICE_UNAVAILABLE, "no-record"),
            Problem::Unrecorded(_) => (StatusCode::SERVICE_UNAVAILABLE, "unrecorded"),
            Problem::NoPurse => (StatusCode::SERVICE_UNAVAILABLE, "no-hot-state"),
            Problem::Purse(_) => (StatusCode::SERVICE_UNAVAILABLE, "hot-state"),
            Problem::Unadjusted(_) => (StatusCode::SERVICE_UNAVAILABLE, "not-adjusted"),
            Problem::Unfit(_) => (StatusCode::UNPROCESSABLE_ENTITY, "policy"),
            Problem::Definition(_) => (StatusCode::UNPROCESSABLE_ENTITY, "definition"),
            Problem::Release(refusal) => release(refusal),
            Problem::Moved(_) => (StatusCode::PRECONDITION_FAILED, "changed"),
            Problem::NoIfMatch => (StatusCode::PRECONDITION_REQUIRED, "if-match"),
            Problem::Downgrade(_) => (StatusCode::FORBIDDEN, "downgrade"),
            Problem::Bundle(_) | Problem::Compiler => (StatusCode::INTERNAL_SERVER_ERROR, "bundle"),
            Problem::Key(_) | Problem::Random(_) => (StatusCode::SERVICE_UNAVAILABLE, "keys"),
        }
    }
}

/// What is not known is not called undone.
fn unwritten(error: &LedgerError) -> &'static str {
    match error {
        LedgerError::NoQuorum => "no-quorum",
        LedgerError::Unknown | LedgerError::RecordUnknown => "unknown",
        LedgerError::Full => "ledger-full",
        LedgerError::Level => "level",
        LedgerError::Crowded => "crowded",
        LedgerError::Refused(_)
        | LedgerError::Gone
        | LedgerError::TooLarge
        | LedgerError::NoRecord(_)
        | LedgerError::Unrecorded(_) => "ledger",
    }
}

fn log(refusal: StreamRefusal) -> (StatusCode, &'static str) {
    match refusal {
        StreamRefusal::Key => (StatusCode::UNPROCESSABLE_ENTITY, "log-key"),
        StreamRefusal::Exists => (StatusCode::CONFLICT, "log-exists"),
        StreamRefusal::Full => (StatusCode::INSUFFICIENT_STORAGE, "full"),
        // Of a head, which `add-checkpoint` answers for.
        StreamRefusal::Unknown
        | StreamRefusal::Ended
        | StreamRefusal::Unsigned
        | StreamRefusal::NotAhead
        | StreamRefusal::NotProven
        | StreamRefusal::Conflict => (StatusCode::CONFLICT, "declined"),
    }
}

fn release(refusal: &ReleaseRefusal) -> (StatusCode, &'static str) {
    match refusal {
        ReleaseRefusal::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large"),
        ReleaseRefusal::VersionUnknown => (StatusCode::NOT_FOUND, "version-unknown"),
        ReleaseRefusal::ContentGone => (StatusCode::GONE, "content-gone"),
        // Whoever sends no epoch cannot lose by one; the other case tells more (`Problem::Moved`).
        ReleaseRefusal::Moved { .. } => (StatusCode::PRECONDITION_FAILED, "changed"),
        ReleaseRefusal::NothingActive => (StatusCode::CONFLICT, "nothing-active"),
        ReleaseRefusal::ActiveAlready => (StatusCode::CONFLICT, "active-already"),
        ReleaseRefusal::Stages => (StatusCode::UNPROCESSABLE_ENTITY, "stages"),
        ReleaseRefusal::Guards => (StatusCode::UNPROCESSABLE_ENTITY, "guards"),
        ReleaseRefusal::RolloutRuns => (StatusCode::CONFLICT, "rollout-runs"),
        ReleaseRefusal::NoRollout => (StatusCode::CONFLICT, "no-rollout"),
        ReleaseRefusal::NothingToDo => (StatusCode::CONFLICT, "nothing-to-do"),
        ReleaseRefusal::TooFar => (StatusCode::UNPROCESSABLE_ENTITY, "epoch-too-far"),
        ReleaseRefusal::NeverActive => (StatusCode::CONFLICT, "never-active"),
        ReleaseRefusal::Pinned => (StatusCode::CONFLICT, "pinned"),
        ReleaseRefusal::NotPinned => (StatusCode::CONFLICT, "not-pinned"),
        ReleaseRefusal::Authored { .. } => (StatusCode::CONFLICT, "authored-elsewhere"),
        ReleaseRefusal::Full => (StatusCode::INSUFFICIENT_STORAGE, "full"),
        // What is brought from another region is no request of anybody's.
        ReleaseRefusal::OwnVersions
        | ReleaseRefusal::NumberTaken { .. }
        | ReleaseRefusal::AuthorSetBack { .. }
        | ReleaseRefusal::AuthorForked { .. } => (StatusCode::CONFLICT, "declined"),
        // The digest is made here, the content is brought before its version, and the number is asked for again.
        ReleaseRefusal::Digest | ReleaseRefusal::ContentUnknown | ReleaseRefusal::Number { .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, "ledger")
        }
    }
}

/// What is wrong in policy files, as `aegisctl policy check` tells it.
fn diagnostics(found: &Diagnostics) -> Value {
    let all = found.iter().map(|one| {
        json!({
            "file": &*one.file,
            "line": one.line,
            "column": one.column,
            "message": one.message,
            "help": one.help,
        })
    });
    all.collect()
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
        Refusal::DefinitionUnknown => (StatusCode::NOT_FOUND, "definition-unknown"),
        Refusal::AdjustmentUnknown => (StatusCode::NOT_FOUND, "adjustment-unknown"),
        Refusal::Full => (StatusCode::INSUFFICIENT_STORAGE, "full"),
        Refusal::Stale => (StatusCode::CONFLICT, "stale"),
        // draft-ietf-httpapi-idempotency-key-header-07 §2.7.
        Refusal::SerialReused => (StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused"),
    }
}

fn declined(refusal: &aegis_ledger::Refusal) -> (StatusCode, &'static str) {
    use aegis_ledger::{Refusal as Declined, SessionRefusal};
    match refusal {
        Declined::Registry(refusal) => refused(*refusal),
        Declined::Approval(refusal) => approval(*refusal),
        Declined::Session(refusal) => match refusal {
            SessionRefusal::Unknown => (StatusCode::NOT_FOUND, "session-unknown"),
            SessionRefusal::Exists => (StatusCode::CONFLICT, "session-exists"),
            SessionRefusal::Length => (StatusCode::UNPROCESSABLE_ENTITY, "session-length"),
            SessionRefusal::NoRole => (StatusCode::UNPROCESSABLE_ENTITY, "session-role"),
            SessionRefusal::Full => (StatusCode::INSUFFICIENT_STORAGE, "full"),
        },
        Declined::Tenant(refusal) => match refusal {
            TenantRefusal::Unknown => (StatusCode::NOT_FOUND, "not-found"),
            TenantRefusal::Changed => (StatusCode::PRECONDITION_FAILED, "changed"),
            TenantRefusal::HomeNotAllowed | TenantRefusal::Regions => {
                (StatusCode::UNPROCESSABLE_ENTITY, "residency")
            }
            TenantRefusal::Full => (StatusCode::INSUFFICIENT_STORAGE, "full"),
        },
        Declined::Release(_) | Declined::Stream(_) | Declined::Voter(_) => {
            (StatusCode::CONFLICT, "declined")
        }
        Declined::Stale => refused(Refusal::Stale),
        Declined::SerialReused => refused(Refusal::SerialReused),
        Declined::ClientsFull => (StatusCode::SERVICE_UNAVAILABLE, "crowded"),
    }
}

fn approval(refusal: ApprovalRefusal) -> (StatusCode, &'static str) {
    match refusal {
        ApprovalRefusal::Unknown => (StatusCode::NOT_FOUND, "approval-unknown"),
        ApprovalRefusal::Exists => (StatusCode::CONFLICT, "approval-exists"),
        ApprovalRefusal::Answered => (StatusCode::CONFLICT, "approval-answered"),
        ApprovalRefusal::Expired => (StatusCode::CONFLICT, "approval-expired"),
        ApprovalRefusal::NotGranted => (StatusCode::CONFLICT, "approval-not-granted"),
        ApprovalRefusal::Used => (StatusCode::CONFLICT, "approval-used"),
        ApprovalRefusal::OtherCall => (StatusCode::CONFLICT, "approval-other-call"),
        ApprovalRefusal::OtherRule => (StatusCode::CONFLICT, "approval-other-rule"),
        ApprovalRefusal::OwnRequest => (StatusCode::FORBIDDEN, "approval-own"),
        ApprovalRefusal::Rules => (StatusCode::UNPROCESSABLE_ENTITY, "approval-rules"),
        ApprovalRefusal::Routes => (StatusCode::UNPROCESSABLE_ENTITY, "approval-routes"),
        ApprovalRefusal::TooLong => (StatusCode::UNPROCESSABLE_ENTITY, "approval-too-long"),
        ApprovalRefusal::Full => (StatusCode::INSUFFICIENT_STORAGE, "full"),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, kind) = self.kind();
        if status.is_server_error() && !matches!(self, Problem::Stopping) {
            let cause = std::error::Error::source(&self).map(ToString::to_string);
            error!(kind, cause, "a request to the control API failed");
        }
        let mut body = json!({
            "type": format!("https://aegis.dev/problems/{kind}"),
            "title": status.canonical_reason().unwrap_or_default(),
            "status": status.as_u16(),
            "detail": self.to_string(),
        });
        if let Some(members) = body.as_object_mut() {
            members.extend(self.more());
        }
        if let Problem::Unpermitted(Unpermitted::Permission(missing)) = &self {
            shapes::extend(&mut body, [json!({ "permission": missing.as_str() })]);
        }
        let mut answer = (status, Json(body)).into_response();
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            // An election is over by then.
            headers.insert(RETRY_AFTER, HeaderValue::from_static("3"));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"aegis-control\""),
            );
        }
        answer
    }
}
