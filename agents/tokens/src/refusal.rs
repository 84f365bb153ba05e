//! Why no token is given: all of it for the operator, and the little the caller is told (RFC 6749 §5.2).
//!
//! Not here: HTTP statuses (`control`). Invariant: a caller cannot tell from the answer whether an agent exists, is
//! disabled, or brought the wrong key.

use aegis_identity::{ClientError, ProofError, SubjectError, TokenError};

use crate::FormError;

/// What a caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OAuthError {
    InvalidRequest,
    InvalidClient,
    InvalidGrant,
    UnauthorizedClient,
    UnsupportedGrantType,
    InvalidScope,
    /// RFC 8707 §2.
    InvalidTarget,
    /// RFC 9449 §5.
    InvalidDpopProof,
    /// RFC 9449 §8.
    UseDpopNonce,
}

impl OAuthError {
    pub fn code(self) -> &'static str {
        match self {
            OAuthError::InvalidRequest => "invalid_request",
            OAuthError::InvalidClient => "invalid_client",
            OAuthError::InvalidGrant => "invalid_grant",
            OAuthError::UnauthorizedClient => "unauthorized_client",
            OAuthError::UnsupportedGrantType => "unsupported_grant_type",
            OAuthError::InvalidScope => "invalid_scope",
            OAuthError::InvalidTarget => "invalid_target",
            OAuthError::InvalidDpopProof => "invalid_dpop_proof",
            OAuthError::UseDpopNonce => "use_dpop_nonce",
        }
    }

    /// One sentence that tells no more than the code.
    pub fn description(self) -> &'static str {
        match self {
            OAuthError::InvalidRequest => "a parameter is missing, repeated or malformed",
            OAuthError::InvalidClient => "the client could not be authenticated",
            OAuthError::InvalidGrant => "the token to exchange does not count here",
            OAuthError::UnauthorizedClient => "the client may not use this grant for this subject",
            OAuthError::UnsupportedGrantType => "use client_credentials or token exchange",
            OAuthError::InvalidScope => "a scope is not among those the client may have",
            OAuthError::InvalidTarget => {
                "the resource or audience is not one this server issues for"
            }
            OAuthError::InvalidDpopProof => "the DPoP proof does not count for this request",
            OAuthError::UseDpopNonce => "put the value of DPoP-Nonce into the DPoP proof",
        }
    }
}

/// Why no token is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the request is not a form")]
    NotAForm,
    #[error("the request cannot be read")]
    Form(#[from] FormError),
    #[error("parameter {name} is missing")]
    Missing { name: &'static str },
    #[error("parameter {name} is malformed")]
    Malformed { name: &'static str },
    #[error("parameter {name} has a value this server does not know")]
    Unknown { name: &'static str },
    #[error("the grant type is not supported")]
    GrantType,
    #[error("the client proves itself in more than one way, or in none")]
    ClientMethods,
    #[error("the client proves itself with a secret; this server has none")]
    ClientSecret,
    #[error("client_id is another than the assertion's")]
    ClientIdDisagrees,
    #[error("no agent of that name is registered")]
    AgentUnknown,
    #[error("the agent is disabled")]
    AgentDisabled,
    #[error("the agent has not enrolled")]
    NotEnrolled,
    #[error("the client is not believed")]
    Client(#[from] ClientError),
    #[error("the key was revoked")]
    KeyRevoked,
    #[error("the DPoP proof is refused")]
    Proof(#[from] ProofError),
    #[error("there are several DPoP headers")]
    ProofTwice,
    #[error("the agent's tokens must be bound to a key, and there is no DPoP proof")]
    ProofMissing,
    #[error("the agent's tokens must be bound to a certificate, and there is none")]
    CertificateMissing,
    #[error("the subject token is refused")]
    Subject(#[from] SubjectError),
    #[error("the token is refused")]
    Token(#[source] TokenError),
    #[error("the token was revoked, or its agent was")]
    Revoked,
    #[error("the token to exchange is over")]
    Over,
    #[error("the subject is another agent than the client")]
    SubjectDisagrees,
    #[error("the client is not a child of the subject")]
    NotAChild,
    #[error("the chain of delegation is too long or names an agent twice")]
    Chain,
    #[error("a scope is not among those the agent may have")]
    Scope,
    #[error("the resource is not one tokens are issued for")]
    Target,
    #[error("an assertion, proof or token was used before")]
    Replayed,
}

impl Refusal {
    /// What the caller is told.
    pub fn error(&self) -> OAuthError {
        match self {
            Refusal::NotAForm
            | Refusal::Form(_)
            | Refusal::Missing { .. }
            | Refusal::Malformed { .. }
            | Refusal::Unknown { .. }
            | Refusal::ClientMethods => OAuthError::InvalidRequest,
            Refusal::GrantType => OAuthError::UnsupportedGrantType,
            Refusal::ClientSecret
            | Refusal::ClientIdDisagrees
            | Refusal::AgentUnknown
            | Refusal::AgentDisabled
            | Refusal::NotEnrolled
            | Refusal::Client(_)
            | Refusal::KeyRevoked
            | Refusal::CertificateMissing
            | Refusal::Replayed => OAuthError::InvalidClient,
            Refusal::Proof(ProofError::NonceMissing | ProofError::NonceUnknown) => {
                OAuthError::UseDpopNonce
            }
            Refusal::Proof(_) | Refusal::ProofTwice | Refusal::ProofMissing => {
                OAuthError::InvalidDpopProof
            }
            Refusal::Subject(_) | Refusal::Token(_) | Refusal::Revoked | Refusal::Over => {
                OAuthError::InvalidGrant
            }
            Refusal::SubjectDisagrees | Refusal::NotAChild | Refusal::Chain => {
                OAuthError::UnauthorizedClient
            }
            Refusal::Scope => OAuthError::InvalidScope,
            Refusal::Target => OAuthError::InvalidTarget,
        }
    }
}
