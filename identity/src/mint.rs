//! Makes access tokens that `verify` reads back as they were meant.
//!
//! Not here: who may have one (`control`). Invariant: a claim that would be read differently is refused, not
//! written; above all a scope with a blank in it, which would be read as two.

use aegis_domain::{Timestamp, Ttl};
use serde_json::{Map, Value};

use crate::{
    Claims, Confirmation, PublicKey, SigningKey, TokenError, Unsigned, claims, delegation,
};

/// Signs an access token in the profile of RFC 9068; its `client_id` is the agent. Times are cut to seconds.
pub fn mint(key: &SigningKey, claims: &Claims) -> Result<String, TokenError> {
    let unsigned = lay_out(key.public_key(), claims)?;
    let signature = key.sign_message(unsigned.message());
    Ok(unsigned.with(&signature))
}

/// The same for a key that is kept elsewhere.
pub fn lay_out(key: &PublicKey, claims: &Claims) -> Result<Unsigned, TokenError> {
    let scopes = claims::scopes("scope", claims.scopes.iter().map(String::as_str))?;
    let scope = scopes.into_iter().collect::<Vec<_>>().join(" ");
    if claims.audience.is_empty() {
        return Err(TokenError::ClaimMissing { claim: "aud" });
    }
    let (sub, act) = delegation::write(claims)?;
    let date = |instant: Timestamp| Some(Value::from(instant.unix_s()));
    let agent = || Some(Value::from(claims.agent.as_str()));
    let members = [
        ("iss", Some(claims.issuer.as_str().into())),
        ("sub", Some(sub)),
        ("act", act),
        ("cnf", claims.confirmation.as_ref().map(Confirmation::write)),
        ("client_id", agent()),
        ("agent_id", agent()),
        ("parent_agent_id", claims.parent_agent.as_ref().map(|parent| parent.as_str().into())),
        ("org", Some(claims.org.as_str().into())),
        ("tenant", Some(claims.tenant.as_str().into())),
        ("aud", Some(audience(&claims.audience))),
        ("scope", (!scope.is_empty()).then(|| scope.into())),
        ("exp", date(claims.expires_at)),
        ("nbf", claims.not_before.and_then(date)),
        ("iat", claims.issued_at.and_then(date)),
        ("jti", Some(claims.jti.as_str().into())),
        ("use", Some(claims.token_use.as_str().into())),
    ];
    let members: Map<String, Value> =
        members.into_iter().filter_map(|(claim, value)| Some((claim.to_owned(), value?))).collect();
    Ok(Unsigned::new(key, "at+jwt", Value::Object(members).to_string().as_bytes()))
}

/// One name stands alone, since some readers know no arrays here.
fn audience(names: &[String]) -> Value {
    match names {
        [one] => one.as_str().into(),
        several => several.into(),
    }
}

/// How long an access token lives: 5 minutes unless said otherwise, 15 at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenTtl(Ttl);

impl TokenTtl {
    pub const MAX: Ttl = Ttl::from_s(15 * 60);

    pub fn new(ttl: Ttl) -> Result<Self, TokenError> {
        if ttl > Self::MAX {
            return Err(TokenError::LivesTooLong { ttl_max_s: Self::MAX.s_ceil() });
        }
        Ok(Self(ttl))
    }

    pub const fn get(self) -> Ttl {
        self.0
    }
}

impl Default for TokenTtl {
    fn default() -> Self {
        Self(Ttl::from_s(5 * 60))
    }
}
