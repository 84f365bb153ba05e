//! Proof that a caller holds a key: DPoP (RFC 9449).
//!
//! Pure: the time is an argument, and whether a proof came before is for `state` to remember. Not here: whether a token
//! wants a proof at all (`mode`). Invariant: a proof counts for one method, one URI, one token, one key, for a minute,
//! and its signature is the last thing checked, since anyone may send one.

use aegis_domain::{Jti, Reason, Timestamp, Ttl};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::jws::Jws;
use crate::payload::Payload;
use crate::public_key::Material;
use crate::replay::{ReplayCheck, derived_jti};
use crate::uri::normalised;
use crate::{JwkThumbprint, KeyError, Nonces, TokenError, VerifiedToken};

/// `typ` (RFC 9449 §4.2).
pub(crate) const PROOF_TYPE: &str = "dpop+jwt";
/// A key of 4,096 bits and its signature fit; one of 8,192, which costs ten times as much to check, does not.
const PROOF_BYTES_MAX: usize = 3_072;
const AGE_MAX: Ttl = Ttl::from_s(60);
const SKEW: Ttl = Ttl::from_s(30);

/// What a proof must be a proof of.
#[derive(Clone, Copy, Debug)]
pub struct ProofDemand<'a> {
    /// The method of the request, as it was sent.
    pub method: &'a str,
    /// Scheme, authority and path of the request, as its sender wrote them; a query may follow.
    pub uri: &'a str,
    /// The token that is presented with it; none at the token endpoint, where a key asks for one.
    pub token: Option<&'a VerifiedToken>,
    /// Where nonces are demanded: those who know them again.
    pub nonces: Option<&'a Nonces>,
}

/// Why a proof was refused, in the order the checks run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("proof cannot be read")]
    Text(#[source] TokenError),
    #[error("key of the proof is refused")]
    Key(#[from] KeyError),
    #[error("token is bound to no key, so no proof can go with it")]
    TokenUnbound,
    #[error("proof is signed with another key than the token is bound to")]
    OtherKey,
    #[error("a claim of the proof is refused")]
    Claim(#[source] TokenError),
    #[error("proof is for another method")]
    Method,
    #[error("proof is for another URI")]
    Uri,
    #[error("proof is {age_s} s old")]
    TooOld { age_s: u64 },
    #[error("proof is from {ahead_s} s in the future")]
    InFuture { ahead_s: u64 },
    #[error("proof goes with another token")]
    OtherToken,
    #[error("proof has no nonce, and one is demanded")]
    NonceMissing,
    #[error("nonce of the proof is not one that counts now")]
    NonceUnknown,
    #[error("signature of the proof does not verify")]
    Signature,
}

impl ProofError {
    /// The stable code for records and refusals.
    pub fn reason(&self) -> Reason {
        match self {
            ProofError::NonceMissing | ProofError::NonceUnknown => Reason::ProofNonce,
            ProofError::Text(_)
            | ProofError::Key(_)
            | ProofError::TokenUnbound
            | ProofError::OtherKey
            | ProofError::Claim(_)
            | ProofError::Method
            | ProofError::Uri
            | ProofError::TooOld { .. }
            | ProofError::InFuture { .. }
            | ProofError::OtherToken
            | ProofError::Signature => Reason::ProofInvalid,
        }
    }
}

/// A proof that passed every check but one: whether it came before.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedProof {
    key: JwkThumbprint,
    token: Option<[u8; 32]>,
    replay: ReplayCheck,
}

impl VerifiedProof {
    /// The key its sender holds; what `cnf.jkt` of a new token is to name.
    pub fn key(&self) -> JwkThumbprint {
        self.key
    }

    /// What the hot state must be asked: a proof counts once for its key.
    pub fn replay(&self) -> &ReplayCheck {
        &self.replay
    }

    pub(crate) fn goes_with(&self, token: &VerifiedToken) -> bool {
        self.token.as_ref() == Some(token.digest())
    }
}

/// Checks the one `DPoP` header of a request (RFC 9449 §4.3; that there is one is the door's to see).
pub fn verify_proof(
    proof: &str,
    demand: &ProofDemand<'_>,
    now: Timestamp,
) -> Result<VerifiedProof, ProofError> {
    let (jws, jwk) = Jws::parse_proof(proof, PROOF_BYTES_MAX).map_err(ProofError::Text)?;
    if jws.header.typ.as_deref() != Some(PROOF_TYPE) {
        return Err(ProofError::Text(TokenError::TypeUnexpected));
    }
    let material = Material::from_proof(&jwk, jws.header.algorithm)?;
    let key = material.thumbprint();
    if let Some(token) = demand.token {
        let bound = token.claims().confirmation.and_then(|cnf| cnf.key());
        if bound.ok_or(ProofError::TokenUnbound)? != key {
            return Err(ProofError::OtherKey);
        }
    }
    let members = jws.claims().map_err(ProofError::Text)?;
    let payload = Payload(&members);
    check_request(payload, demand)?;
    let issued = payload.required_date("iat").map_err(ProofError::Claim)?;
    check_age(issued, now)?;
    check_nonce(payload, demand, now)?;
    let jti = payload.required_id("jti", Jti::parse).map_err(ProofError::Claim)?;
    jws.verify_with(&material).map_err(|_| ProofError::Signature)?;

    let malformed = ProofError::Claim(TokenError::ClaimMalformed { claim: "jti" });
    let jti = derived_jti("dpop", key.as_bytes(), &jti).ok_or(malformed)?;
    let token = demand.token.map(|token| *token.digest());
    let replay = ReplayCheck::once(jti, Some(issued), issued.plus(AGE_MAX).plus(SKEW));
    Ok(VerifiedProof { key, token, replay })
}

fn check_request(payload: Payload<'_>, demand: &ProofDemand<'_>) -> Result<(), ProofError> {
    let text = |claim| payload.required(claim).map_err(ProofError::Claim);
    if text("htm")? != demand.method {
        return Err(ProofError::Method);
    }
    match (normalised(text("htu")?), normalised(demand.uri)) {
        (Some(proven), Some(sent)) if proven == sent => {}
        (Some(_) | None, Some(_) | None) => return Err(ProofError::Uri),
    }
    let Some(token) = demand.token else {
        return Ok(());
    };
    if text("ath")? == URL_SAFE_NO_PAD.encode(token.digest()) {
        Ok(())
    } else {
        Err(ProofError::OtherToken)
    }
}

fn check_age(issued: Timestamp, now: Timestamp) -> Result<(), ProofError> {
    if now >= issued.plus(AGE_MAX).plus(SKEW) {
        return Err(ProofError::TooOld { age_s: now.unix_s().saturating_sub(issued.unix_s()) });
    }
    if now.plus(SKEW) < issued {
        return Err(ProofError::InFuture { ahead_s: issued.since(now).s_ceil() });
    }
    Ok(())
}

fn check_nonce(
    payload: Payload<'_>,
    demand: &ProofDemand<'_>,
    now: Timestamp,
) -> Result<(), ProofError> {
    let Some(nonces) = demand.nonces else {
        return Ok(());
    };
    let nonce = payload.text("nonce").map_err(ProofError::Claim)?;
    if nonces.accepts(nonce.ok_or(ProofError::NonceMissing)?, now) {
        Ok(())
    } else {
        Err(ProofError::NonceUnknown)
    }
}
