//! What a refused caller is told in `WWW-Authenticate`: RFC 6750 §3, RFC 9449 §7.1 and §9, RFC 9728 §5.1.
//!
//! Only data: the door writes it and picks the status. Invariant: it says which credential to bring, never which check
//! failed, and to a caller without any not even that one did (RFC 6750 §3.1).

use std::collections::BTreeSet;
use std::fmt;

use aegis_domain::{Fault, Reason};

use crate::public_key::ALGORITHM_NAMES;

/// An authentication scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Bearer,
    Dpop,
}

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Bearer => "Bearer",
            Scheme::Dpop => "DPoP",
        }
    }

    /// Reads the first word of a credential; schemes have no case (RFC 9110 §11.1).
    pub fn parse(text: &str) -> Option<Self> {
        [Scheme::Bearer, Scheme::Dpop]
            .into_iter()
            .find(|one| one.as_str().eq_ignore_ascii_case(text))
    }
}

/// The error codes that a resource may give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChallengeError {
    InvalidToken,
    InsufficientScope,
    InvalidDpopProof,
    UseDpopNonce,
}

impl ChallengeError {
    pub fn as_str(self) -> &'static str {
        match self {
            ChallengeError::InvalidToken => "invalid_token",
            ChallengeError::InsufficientScope => "insufficient_scope",
            ChallengeError::InvalidDpopProof => "invalid_dpop_proof",
            ChallengeError::UseDpopNonce => "use_dpop_nonce",
        }
    }
}

/// One value of `WWW-Authenticate`; `Display` writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    pub scheme: Scheme,
    pub error: Option<ChallengeError>,
    /// The scopes that would do.
    pub scope: BTreeSet<String>,
    /// Where the metadata of this resource stands (RFC 9728 §5.1).
    pub resource_metadata: Option<String>,
}

impl Challenge {
    fn new(scheme: Scheme, error: Option<ChallengeError>) -> Self {
        Self { scheme, error, scope: BTreeSet::new(), resource_metadata: None }
    }

    /// For a token that is good but may too little (RFC 6750 §3.1); the status is 403.
    pub fn insufficient_scope(scheme: Scheme, scope: BTreeSet<String>) -> Self {
        Self { scope, ..Self::new(scheme, Some(ChallengeError::InsufficientScope)) }
    }

    #[must_use]
    pub fn with_metadata(self, url: &str) -> Self {
        Self { resource_metadata: Some(url.to_owned()), ..self }
    }

    /// The challenges for a refusal, in the order to write them; none if no other credential would help. `tried` is the
    /// scheme of the credential that was refused.
    pub fn of(reason: Reason, tried: Scheme) -> Vec<Self> {
        if reason == Reason::TokenMissing {
            return vec![Self::new(Scheme::Bearer, None), Self::new(Scheme::Dpop, None)];
        }
        if reason.fault() != Fault::Identity || reason == Reason::AgentUnknown {
            return Vec::new();
        }
        let (scheme, error) = if reason == Reason::ProofNonce {
            (Scheme::Dpop, ChallengeError::UseDpopNonce)
        } else if reason == Reason::ProofInvalid {
            (Scheme::Dpop, ChallengeError::InvalidDpopProof)
        } else if reason == Reason::ProofMissing {
            // A bound token sent as a bearer token is not valid as one (RFC 9449 §7.2).
            (Scheme::Dpop, ChallengeError::InvalidToken)
        } else {
            (tried, ChallengeError::InvalidToken)
        };
        vec![Self::new(scheme, Some(error))]
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} realm=\"aegis\"", self.scheme.as_str())?;
        if let Some(error) = self.error {
            write!(f, ", error=\"{}\"", error.as_str())?;
        }
        if !self.scope.is_empty() {
            let scope = self.scope.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
            write!(f, ", scope=\"{}\"", quoted(&scope))?;
        }
        if self.scheme == Scheme::Dpop {
            write!(f, ", algs=\"{}\"", ALGORITHM_NAMES.join(" "))?;
        }
        match &self.resource_metadata {
            Some(url) => write!(f, ", resource_metadata=\"{}\"", quoted(url)),
            None => Ok(()),
        }
    }
}

/// What may stand in a quoted string (RFC 9110 §5.6.4); everything else is left out.
fn quoted(text: &str) -> String {
    text.chars().filter(|char| matches!(char, ' '..='~') && !matches!(char, '"' | '\\')).collect()
}
