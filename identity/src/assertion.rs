//! A client that proves who it is with its own key: `private_key_jwt` (RFC 7523 §2.2, §3; OpenID Connect Core §9), or
//! with its TLS certificate (RFC 8705 §2).
//!
//! Not here: which keys a client registered (`agents`) and whether an assertion came before (`state`). Invariant: an
//! assertion counts only for the client that signed it, at this server alone, once, and for minutes.

use aegis_domain::{Jti, Timestamp, Ttl};

use crate::jws::Jws;
use crate::payload::Payload;
use crate::replay::{ReplayCheck, derived_jti};
use crate::times::Times;
use crate::{CertificateThumbprint, JwkThumbprint, KeySet, TokenError};

/// `client_assertion_type` (RFC 7523 §2.2).
pub const CLIENT_ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

const ASSERTION_BYTES_MAX: usize = 8_192;
/// Most libraries write `JWT` or nothing; draft-ietf-oauth-rfc7523bis gives assertions a type of their own.
const TYPES: [&str; 3] =
    ["JWT", "client-authentication+jwt", "application/client-authentication+jwt"];
const SKEW: Ttl = Ttl::from_s(30);
/// Some libraries let assertions live for an hour; they count here while they are young, whatever they say.
const TTL_MAX: Ttl = Ttl::from_s(60 * 60);
const AGE_MAX: Ttl = Ttl::from_s(5 * 60);

/// Why a client is not believed to be who it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    #[error("client assertion is refused")]
    Assertion(#[from] TokenError),
    #[error("client assertion speaks for somebody else than its issuer")]
    IssuerIsNotSubject,
    #[error("client assertion is for other audiences too")]
    AudienceShared,
    #[error("client assertion is older than {age_max_s} s")]
    TooOld { age_max_s: u64 },
    #[error("client shows no certificate")]
    CertificateMissing,
    #[error("certificate is not one the client registered")]
    CertificateUnknown,
}

/// A client assertion that nobody believes yet: it names the client whose keys must check it.
pub struct UnverifiedAssertion<'a> {
    jws: Jws<'a>,
    client_id: String,
}

/// A client that proved who it is.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAssertion {
    client_id: String,
    key: JwkThumbprint,
    replay: ReplayCheck,
}

impl<'a> UnverifiedAssertion<'a> {
    pub fn read(text: &'a str) -> Result<Self, ClientError> {
        let jws = Jws::parse(text, ASSERTION_BYTES_MAX)?;
        jws.header.check_type(&TYPES)?;
        let members = jws.claims()?;
        let payload = Payload(&members);
        let client_id = payload.name("sub")?.to_owned();
        if payload.required("iss")? != client_id {
            return Err(ClientError::IssuerIsNotSubject);
        }
        Ok(Self { jws, client_id })
    }

    /// Who it says it is.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Checks it with the keys of the client it names. `audiences` are this server's names: its issuer and the URL
    /// of its token endpoint; an assertion that is for anybody else as well could be used there, so it is refused.
    pub fn verify(
        self,
        keys: &KeySet,
        audiences: &[&str],
        now: Timestamp,
    ) -> Result<ClientAssertion, ClientError> {
        let key = self.jws.verify(keys)?;
        let members = self.jws.claims()?;
        let payload = Payload(&members);
        let named = payload.audience()?;
        if !named.iter().any(|name| audiences.contains(&name.as_str())) {
            return Err(TokenError::Audience.into());
        }
        if !named.iter().all(|name| audiences.contains(&name.as_str())) {
            return Err(ClientError::AudienceShared);
        }
        let times = Times::read(payload)?;
        times.check(now, SKEW, TTL_MAX)?;
        let jti = payload.required_id("jti", Jti::parse)?;
        let counts_until = counts_until(&times, now)?;
        let jti = derived_jti("assertion", self.client_id.as_bytes(), &jti)
            .ok_or(TokenError::ClaimMalformed { claim: "jti" })?;
        let replay = ReplayCheck::once(jti, times.issued_at, counts_until.plus(SKEW));
        Ok(ClientAssertion { client_id: self.client_id, key: key.thumbprint(), replay })
    }
}

/// The end of an assertion, or of its youth where that comes first.
fn counts_until(times: &Times, now: Timestamp) -> Result<Timestamp, ClientError> {
    let too_old = ClientError::TooOld { age_max_s: AGE_MAX.s_ceil() };
    match times.issued_at {
        Some(issued) => {
            let youth = issued.plus(AGE_MAX);
            if now >= youth.plus(SKEW) { Err(too_old) } else { Ok(youth.min(times.expires_at)) }
        }
        // Without `iat` only a near end shows that it is young.
        None if times.expires_at > now.plus(AGE_MAX).plus(SKEW) => Err(too_old),
        None => Ok(times.expires_at),
    }
}

impl ClientAssertion {
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// The key it signed with, for the record.
    pub fn key(&self) -> JwkThumbprint {
        self.key
    }

    /// What the hot state must be asked before the client gets anything.
    pub fn replay(&self) -> &ReplayCheck {
        &self.replay
    }
}

/// Checks the certificate of a TLS connection against those its client registered: `self_signed_tls_client_auth`,
/// and `tls_client_auth` where certificates are registered rather than names (RFC 8705 §2). The handshake has
/// proved that the client holds the key.
pub fn verify_certificate(
    shown: Option<CertificateThumbprint>,
    registered: &[CertificateThumbprint],
) -> Result<CertificateThumbprint, ClientError> {
    let shown = shown.ok_or(ClientError::CertificateMissing)?;
    if registered.contains(&shown) { Ok(shown) } else { Err(ClientError::CertificateUnknown) }
}
