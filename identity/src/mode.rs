//! What a caller must show beside its token, and what must then be remembered of it.
//!
//! Pure. Not here: checking the proof itself (`proof`), and remembering (`state`). Invariant: a token that names a key
//! is never taken without that key, whatever a policy asks for; a policy can only ask for more.

use std::fmt;

use aegis_domain::{Reason, TokenUse};

use crate::replay::{ReplayCheck, certificate_binding};
use crate::{CertificateThumbprint, VerifiedProof, VerifiedToken};

/// How the use of a token is guarded; what each stops and costs is in `docs/spec/identity.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Whoever used the token first may use it again.
    Bound,
    /// Nothing that was sent counts a second time.
    Once,
    /// The caller's TLS certificate is the one in the token.
    Mtls,
    /// The caller signs each request with the key in the token.
    Proof,
}

impl Mode {
    pub const ALL: [Mode; 4] = [Mode::Bound, Mode::Once, Mode::Mtls, Mode::Proof];

    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Bound => "bound",
            Mode::Once => "once",
            Mode::Mtls => "mtls",
            Mode::Proof => "proof",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == text)
    }

    const fn bit(self) -> u8 {
        match self {
            Mode::Bound => 1,
            Mode::Once => 2,
            Mode::Mtls => 4,
            Mode::Proof => 8,
        }
    }
}

/// A set of modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Modes(u8);

impl Modes {
    /// Any mode will do, since every use of a token is guarded at least as `bound`.
    pub const ANY: Modes = Modes(15);
    const NONE: Modes = Modes(0);

    #[must_use]
    pub const fn with(self, mode: Mode) -> Self {
        Self(self.0 | mode.bit())
    }

    pub const fn contains(self, mode: Mode) -> bool {
        self.0 & mode.bit() != 0
    }

    /// Whether one of these modes is one of those.
    pub const fn meets(self, other: Modes) -> bool {
        self.0 & other.0 != 0
    }
}

impl FromIterator<Mode> for Modes {
    fn from_iter<T: IntoIterator<Item = Mode>>(modes: T) -> Self {
        modes.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Display for Modes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held: Vec<_> = Mode::ALL.into_iter().filter(|mode| self.contains(*mode)).collect();
        f.write_str(&held.into_iter().map(Mode::as_str).collect::<Vec<_>>().join(" or "))
    }
}

/// What a caller showed beside its token.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown<'a> {
    /// There exactly if the token came under the scheme `DPoP`.
    pub proof: Option<&'a VerifiedProof>,
    /// Of the certificate that a handshake proved, if it asked for one.
    pub certificate: Option<CertificateThumbprint>,
}

/// Why a genuine token was not taken from this caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModeError {
    #[error("token is bound to a key, and there is no proof")]
    ProofMissing,
    #[error("proof goes with another token or another key")]
    ProofOther,
    #[error("token is bound to a certificate, and there is none")]
    CertificateMissing,
    #[error("token is bound to another certificate")]
    CertificateOther,
    #[error("call needs a token used as {required}")]
    TooWeak { required: Modes },
}

impl ModeError {
    /// The stable code for records and refusals.
    pub fn reason(&self) -> Reason {
        match self {
            ModeError::ProofMissing => Reason::ProofMissing,
            ModeError::ProofOther => Reason::ProofInvalid,
            ModeError::CertificateMissing | ModeError::CertificateOther => {
                Reason::CertificateMismatch
            }
            ModeError::TooWeak { .. } => Reason::TokenMode,
        }
    }
}

/// A token in the hands of those it was made for.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Every mode this use counts as.
    pub modes: Modes,
    /// What the hot state must still be asked.
    pub replay: ReplayCheck,
}

/// Checks what was shown against what the token names, and the result against `required`: one of its modes must be met.
pub fn admit(
    token: &VerifiedToken,
    shown: Shown<'_>,
    required: Modes,
) -> Result<Admission, ModeError> {
    let modes = check_proof(token, shown)?.into_iter().chain(check_certificate(token, shown)?);
    let token_use = token.claims().token_use;
    let once = (token_use == TokenUse::Once).then_some(Mode::Once);
    let modes: Modes = modes.chain(once).chain([Mode::Bound]).collect();
    // A proof is taken once, so what was sent with it does not count again either.
    let modes = if modes.contains(Mode::Proof) { modes.with(Mode::Once) } else { modes };
    if !modes.meets(required) {
        return Err(ModeError::TooWeak { required });
    }
    Ok(Admission { modes, replay: replay(token, shown) })
}

fn check_proof(token: &VerifiedToken, shown: Shown<'_>) -> Result<Option<Mode>, ModeError> {
    match (token.claims().confirmation.and_then(|cnf| cnf.key()), shown.proof) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(ModeError::ProofMissing),
        (Some(key), Some(proof)) if proof.key() == key && proof.goes_with(token) => {
            Ok(Some(Mode::Proof))
        }
        (Some(_) | None, Some(_)) => Err(ModeError::ProofOther),
    }
}

/// A certificate that no token asked for is fine: it ties the token to its first user.
fn check_certificate(token: &VerifiedToken, shown: Shown<'_>) -> Result<Option<Mode>, ModeError> {
    match (token.claims().confirmation.and_then(|cnf| cnf.certificate()), shown.certificate) {
        (None, _) => Ok(None),
        (Some(_), None) => Err(ModeError::CertificateMissing),
        (Some(bound), Some(shown)) if bound == shown => Ok(Some(Mode::Mtls)),
        (Some(_), Some(_)) => Err(ModeError::CertificateOther),
    }
}

/// One question is enough: a token that counts once covers the proof that is bound to it, and a proof that counts once
/// covers its token.
fn replay(token: &VerifiedToken, shown: Shown<'_>) -> ReplayCheck {
    let claims = token.claims();
    match (claims.token_use, shown.proof) {
        (TokenUse::Once, _) => ReplayCheck::once(claims.jti.clone(), claims.expires_at),
        (TokenUse::Bound, Some(proof)) => proof.replay().clone(),
        (TokenUse::Bound, None) => ReplayCheck {
            jti: claims.jti.clone(),
            token_use: TokenUse::Bound,
            binding: shown.certificate.as_ref().map(certificate_binding),
            expires_at: claims.expires_at,
        },
    }
}
