//! Why a token was refused.
//!
//! Not here: what an agent is told about it (`domain::Reason` has the advice). Invariant: one variant per
//! cause, and no message quotes the token.

use aegis_domain::Reason;

use crate::{JsonError, RevokedBy};

/// One of the three parts of a compact JWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Header,
    Payload,
    Signature,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Part::Header => "header",
            Part::Payload => "payload",
            Part::Signature => "signature",
        })
    }
}

/// Why a token was refused, in the order the checks run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("token is longer than {bytes_max} bytes")]
    TooLong { bytes_max: usize },
    #[error("token is not three parts joined by dots")]
    Shape,
    #[error("token {part} is not canonical base64url without padding")]
    Base64 { part: Part },
    #[error("token {part} cannot be read")]
    Json { part: Part, source: JsonError },
    #[error("header member {name} is refused")]
    HeaderForbidden { name: &'static str },
    #[error("header member {name} is missing")]
    HeaderMissing { name: &'static str },
    #[error("header member {name} is malformed")]
    HeaderMalformed { name: &'static str },
    #[error("header names no algorithm")]
    AlgorithmMissing,
    #[error("algorithm is not one of EdDSA, Ed25519, RS256, PS256, ES256, ES384")]
    AlgorithmUnsupported,
    #[error("token is of another type")]
    TypeUnexpected,
    #[error("issuer is not trusted")]
    IssuerUntrusted,
    #[error("no key has the token's key id")]
    KeyUnknown,
    #[error("token names no key, and not exactly one fits")]
    KeyAmbiguous,
    #[error("algorithm is not the one its key declares")]
    AlgorithmMismatch,
    #[error("signature does not verify")]
    Signature,
    #[error("claim {claim} is missing")]
    ClaimMissing { claim: &'static str },
    #[error("claim {claim} is malformed")]
    ClaimMalformed { claim: &'static str },
    #[error("claims {first} and {second} disagree")]
    ClaimsDisagree { first: &'static str, second: &'static str },
    #[error("token is for another audience")]
    Audience,
    #[error("token expired {ago_s} s ago")]
    Expired { ago_s: u64 },
    #[error("token is not valid for another {wait_s} s")]
    NotYetValid { wait_s: u64 },
    #[error("token is from {ahead_s} s in the future")]
    IssuedInFuture { ahead_s: u64 },
    #[error("token lives longer than {ttl_max_s} s")]
    LivesTooLong { ttl_max_s: u64 },
    #[error("token was taken back ({by:?})")]
    Revoked { by: RevokedBy },
}

impl TokenError {
    /// The stable code for records and refusals.
    pub fn reason(&self) -> Reason {
        match self {
            TokenError::TooLong { .. }
            | TokenError::Shape
            | TokenError::Base64 { .. }
            | TokenError::Json { .. }
            | TokenError::HeaderForbidden { .. }
            | TokenError::HeaderMissing { .. }
            | TokenError::HeaderMalformed { .. }
            | TokenError::TypeUnexpected => Reason::TokenMalformed,
            TokenError::AlgorithmMissing
            | TokenError::AlgorithmUnsupported
            | TokenError::AlgorithmMismatch => Reason::TokenAlgorithm,
            TokenError::IssuerUntrusted => Reason::TokenIssuer,
            TokenError::KeyUnknown | TokenError::KeyAmbiguous => Reason::TokenKeyUnknown,
            TokenError::Signature => Reason::TokenSignature,
            TokenError::ClaimMissing { .. }
            | TokenError::ClaimMalformed { .. }
            | TokenError::ClaimsDisagree { .. }
            | TokenError::LivesTooLong { .. } => Reason::TokenClaims,
            TokenError::Audience => Reason::TokenAudience,
            TokenError::Expired { .. } => Reason::TokenExpired,
            TokenError::NotYetValid { .. } | TokenError::IssuedInFuture { .. } => {
                Reason::TokenNotYetValid
            }
            TokenError::Revoked { .. } => Reason::TokenRevoked,
        }
    }
}
