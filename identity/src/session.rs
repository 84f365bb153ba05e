//! The session of a person: what a region signs for someone who is to command it for some hours.
//!
//! Pure: key and times are arguments. Not here: who is given one and what it may do (`control`), and whether it was ended
//! early (`ledger`). Invariant: a session is a text of its own type, signed by the region and for that region alone, so that
//! nothing else it signs is ever taken for one.

use aegis_domain::{Jti, TenantId, Timestamp, Ttl};
use serde_json::json;

use crate::jws::Jws;
use crate::payload::Payload;
use crate::times::Times;
use crate::{KeySet, SigningKey, TokenError};

/// A working day, and no night.
pub const SESSION_TTL_MAX: Ttl = Ttl::from_s(12 * 60 * 60);
const TYPE: &str = "aegis-session+jwt";
const SKEW: Ttl = Ttl::from_s(30);
/// A session that names every tenant it may.
const BYTES_MAX: usize = 16 * 1_024;

/// What a session says of itself. Only its name is read again: what it may do is with the region, where it can be ended.
#[derive(Clone, Debug)]
pub struct Session<'a> {
    /// The region's control API, which issues sessions and is all they are for.
    pub issuer: &'a str,
    pub subject: &'a str,
    pub jti: &'a Jti,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
    pub roles: Vec<&'a str>,
    /// `None` where it counts for all of them.
    pub tenants: Option<Vec<&'a TenantId>>,
}

impl Session<'_> {
    /// The same session signed twice is the same text.
    pub fn sign(&self, key: &SigningKey) -> String {
        let claims = json!({
            "iss": self.issuer,
            "aud": self.issuer,
            "sub": self.subject,
            "jti": self.jti,
            "iat": self.issued_at.unix_s(),
            "exp": self.expires_at.unix_s(),
            "roles": self.roles,
            "tenants": self.tenants,
        });
        key.sign(TYPE, claims.to_string().as_bytes())
    }
}

/// Whether a text says it is a session; nothing is believed of it.
pub fn is_session(token: &str) -> bool {
    let typ = Jws::parse(token, BYTES_MAX).ok().and_then(|jws| jws.header.typ);
    typ.as_deref() == Some(TYPE)
}

/// The name of a session that counts at an instant.
pub fn verify_session(
    token: &str,
    issuer: &str,
    keys: &KeySet,
    now: Timestamp,
) -> Result<Jti, TokenError> {
    let jws = Jws::parse(token, BYTES_MAX)?;
    if jws.header.typ.as_deref() != Some(TYPE) {
        return Err(TokenError::TypeUnexpected);
    }
    jws.verify(keys)?;
    let members = jws.claims()?;
    let payload = Payload(&members);
    if payload.required("iss")? != issuer {
        return Err(TokenError::IssuerUntrusted);
    }
    if payload.audience()? != [issuer] {
        return Err(TokenError::Audience);
    }
    let times = Times::read(payload)?;
    if times.issued_at.is_none() {
        return Err(TokenError::ClaimMissing { claim: "iat" });
    }
    times.check(now, SKEW, SESSION_TTL_MAX)?;
    payload.required_id("jti", Jti::parse)
}
