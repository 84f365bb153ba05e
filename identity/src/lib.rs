//! Tokens and keys: who is calling, checked; and what we sign ourselves.
//!
//! Pure: keys and time are arguments; nothing here fetches, and replay is for others to remember.
//! Invariant: a signature is checked in one place (`public_key`), with the one algorithm its key has.
#![deny(clippy::wildcard_enum_match_arm, clippy::as_conversions)]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod assertion;
mod cache;
mod challenge;
mod claims;
mod confirmation;
mod delegation;
mod error;
mod inspect;
mod json;
mod jwk;
mod jws;
mod key_set;
mod mint;
mod mode;
mod nonce;
mod payload;
mod person;
mod proof;
mod public_key;
mod replay;
mod revocation;
mod rsa;
mod session;
mod signing_key;
mod subject;
mod thumbprint;
mod times;
mod unsigned;
mod uri;
mod verify;

#[cfg(test)]
mod tests;

pub use assertion::{
    CLIENT_ASSERTION_TYPE, ClientAssertion, ClientError, UnverifiedAssertion, verify_certificate,
};
pub use cache::TokenCache;
pub use challenge::{Challenge, ChallengeError, Scheme};
pub use claims::Claims;
pub use confirmation::Confirmation;
pub use error::{Part, TokenError};
pub use inspect::{Inspection, inspect};
pub use json::JsonError;
pub use jwk::KeyError;
pub use jws::{BACKUP_TYPE, verify_jws, verify_jws_within};
pub use key_set::{KeySet, KeySetError};
pub use mint::{TokenTtl, lay_out, mint};
pub use mode::{Admission, Mode, ModeError, Modes, Shown, admit};
pub use nonce::Nonces;
pub use person::{ClaimPath, ClaimPathError, Person, PersonError, PersonIssuer};
pub use proof::{ProofDemand, ProofError, VerifiedProof, verify_proof};
pub use public_key::{ALGORITHM_NAMES, PublicKey};
pub use replay::ReplayCheck;
pub use revocation::{Revocation, Revocations, RevocationsFull, RevokedBy};
pub use session::{SESSION_TTL_MAX, Session, is_session, verify_session};
pub use signing_key::SigningKey;
pub use subject::{
    RuleError, Subject, SubjectError, SubjectIssuer, SubjectLimits, SubjectProfile, SubjectRule,
    SubjectVerifier,
};
pub use thumbprint::{CertificateThumbprint, JwkThumbprint, ThumbprintError};
pub use unsigned::Unsigned;
pub use verify::{TokenLimits, TrustedIssuer, VerifiedToken, Verifier};
