//! Who is calling: turns a bearer token into believed claims, or says why not.
//!
//! Pure: keys and time are arguments. Fetching key sets is the gateway's, replay is `state`'s. Invariant: a
//! `VerifiedToken` was signed by a key of its own issuer, for one of our audiences, and is in its time.

use aegis_domain::{KeyId, Timestamp, Ttl};
use sha2::{Digest as _, Sha256};

use crate::jws::{Jws, check_length};
use crate::{Claims, JwkThumbprint, KeySet, TokenError, claims};

/// The types an access token may have (RFC 9068 §2.1 and, for issuers older than it, RFC 7519 §5.1).
const TYPES: [&str; 3] = ["at+jwt", "application/at+jwt", "JWT"];

/// SHA-256 over a token as it was sent.
pub(crate) type TokenDigest = [u8; 32];

pub(crate) fn digest(token: &str) -> TokenDigest {
    Sha256::digest(token).into()
}

/// An issuer whose tokens count here.
#[derive(Clone, Debug)]
pub struct TrustedIssuer {
    /// Compared with `iss` byte by byte.
    pub issuer: String,
    /// The names of this gateway; a token must be for one of them.
    pub audiences: Vec<String>,
    pub keys: KeySet,
}

/// How far tokens are looked at and trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenLimits {
    /// How far the clocks of issuers may be off.
    pub skew: Ttl,
    /// How long a token may live.
    pub ttl_max: Ttl,
    pub token_bytes_max: usize,
}

impl Default for TokenLimits {
    fn default() -> Self {
        Self { skew: Ttl::from_s(30), ttl_max: Ttl::from_s(15 * 60), token_bytes_max: 8_192 }
    }
}

/// A token that passed every check; only `Verifier` makes one.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedToken {
    claims: Claims,
    key_id: KeyId,
    key: JwkThumbprint,
    digest: TokenDigest,
}

impl VerifiedToken {
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The key that signed it.
    pub fn key_id(&self) -> &KeyId {
        &self.key_id
    }

    /// The same key under the name that nobody chose.
    pub fn key(&self) -> JwkThumbprint {
        self.key
    }

    /// SHA-256 over the token as it was sent; `ath` in a proof (RFC 9449 §4.2).
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

/// Checks tokens against the issuers it was made for.
#[derive(Clone, Debug)]
pub struct Verifier {
    issuers: Vec<TrustedIssuer>,
    limits: TokenLimits,
}

impl Verifier {
    /// Of two entries for one issuer, the first counts.
    pub fn new(issuers: Vec<TrustedIssuer>, limits: TokenLimits) -> Self {
        Self { issuers, limits }
    }

    /// Checks one token at one instant.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<VerifiedToken, TokenError> {
        check_length(token, self.limits.token_bytes_max)?;
        self.verify_digested(token, digest(token), now)
    }

    pub(crate) fn verify_digested(
        &self,
        token: &str,
        digest: TokenDigest,
        now: Timestamp,
    ) -> Result<VerifiedToken, TokenError> {
        let jws = Jws::parse(token, self.limits.token_bytes_max)?;
        jws.header.check_type(&TYPES)?;
        let payload = jws.claims()?;
        let issuer = self.trusted(claims::issuer(&payload)?)?;
        let key = jws.verify(&issuer.keys)?;

        let claims = Claims::read(&payload)?;
        if !claims.audience.iter().any(|name| issuer.audiences.contains(name)) {
            return Err(TokenError::Audience);
        }
        self.check_times(&claims, now)?;
        let (key_id, key) = (key.id().clone(), key.thumbprint());
        Ok(VerifiedToken { claims, key_id, key, digest })
    }

    pub(crate) fn check_length(&self, token: &str) -> Result<(), TokenError> {
        check_length(token, self.limits.token_bytes_max)
    }

    fn trusted(&self, name: &str) -> Result<&TrustedIssuer, TokenError> {
        self.issuers
            .iter()
            .find(|trusted| trusted.issuer == name)
            .ok_or(TokenError::IssuerUntrusted)
    }

    /// The claims about time, which must hold again each time a token is used.
    pub(crate) fn check_times(&self, claims: &Claims, now: Timestamp) -> Result<(), TokenError> {
        claims.times().check(now, self.limits.skew, self.limits.ttl_max)
    }
}
