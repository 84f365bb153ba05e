//! Tokens of an OpenID provider whose people may command a region: who bears one, and in which groups they are.
//!
//! Pure: keys and time are arguments. Not here: fetching keys, what a group may do (`control/access`), and agents, whose
//! foreign tokens are exchanged (`subject`). Invariant: a token counts only with the keys of the one issuer that was
//! configured, for an audience of ours, and for nobody else unless we are the party it was given to.

use std::collections::BTreeSet;

use aegis_domain::{Timestamp, Ttl};
use serde_json::{Map, Value};

use crate::jws::Jws;
use crate::payload::{Payload, texts};
use crate::times::Times;
use crate::{KeySet, TokenError};

/// ID tokens and RFC 9068 access tokens; many providers write `JWT` or nothing in either.
const TYPES: [&str; 3] = ["JWT", "at+jwt", "application/at+jwt"];
/// Providers write every group someone is in.
const BYTES_MAX: usize = 16 * 1_024;
const SKEW: Ttl = Ttl::from_s(30);
const TTL_MAX: Ttl = Ttl::from_s(24 * 60 * 60);
const PATH_MAX: usize = 4;

/// Why a provider's token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PersonError {
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("token is bound to a key, which the control API does not ask for")]
    Bound,
    #[error("bearer of the token is not its subject but acts for it")]
    Delegated,
    #[error("token is for others as well, and was given to another than us")]
    Party,
}

/// Where in a payload a claim stands: its name, or the names of the objects around it before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimPath(Vec<String>);

/// A path has no name, or too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a claim's path is 1 to {PATH_MAX} names")]
pub struct ClaimPathError;

impl ClaimPath {
    pub fn new(names: Vec<String>) -> Result<Self, ClaimPathError> {
        let is_path =
            (1..=PATH_MAX).contains(&names.len()) && names.iter().all(|it| !it.is_empty());
        if is_path { Ok(Self(names)) } else { Err(ClaimPathError) }
    }

    /// One text or an array of them; none where the claim is not there.
    fn texts(
        &self,
        payload: &Map<String, Value>,
        claim: &'static str,
    ) -> Result<BTreeSet<String>, TokenError> {
        let mut names = self.0.iter();
        let first = names.next().and_then(|name| payload.get(name));
        let found = names.try_fold(first, |value, name| match value {
            None => Ok(None),
            Some(Value::Object(members)) => Ok(members.get(name)),
            Some(_) => Err(TokenError::ClaimMalformed { claim }),
        });
        Ok(match found? {
            None => BTreeSet::new(),
            Some(Value::String(one)) => [one.clone()].into(),
            Some(value) => texts(value, claim)?.into_iter().map(str::to_owned).collect(),
        })
    }
}

/// The provider, and how it writes who its people are.
#[derive(Clone, Debug)]
pub struct PersonIssuer {
    /// `iss`, byte by byte.
    pub issuer: String,
    /// Our names with the provider; a token must be for one of them.
    pub audiences: Vec<String>,
    pub keys: KeySet,
    /// Where the groups are that roles are made of.
    pub groups: ClaimPath,
    /// Where the tenants are that someone is limited to; `None` where nobody is.
    pub tenants: Option<ClaimPath>,
}

/// The bearer of a token that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// `sub`
    pub subject: String,
    /// `email`, if the provider says that it verified it (OpenID Connect Core §5.7).
    pub email: Option<String>,
    pub groups: BTreeSet<String>,
    /// `None` where the issuer limits nobody to tenants.
    pub tenants: Option<BTreeSet<String>>,
}

impl PersonIssuer {
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Person, PersonError> {
        let jws = Jws::parse(token, BYTES_MAX)?;
        jws.header.check_type(&TYPES)?;
        let members = jws.claims()?;
        let payload = Payload(&members);
        if payload.required("iss")? != self.issuer {
            return Err(TokenError::IssuerUntrusted.into());
        }
        jws.verify(&self.keys)?;

        self.check_audience(payload)?;
        let times = Times::read(payload)?;
        payload.required_date("iat")?;
        times.check(now, SKEW, TTL_MAX)?;
        if members.contains_key("cnf") {
            return Err(PersonError::Bound);
        }
        if members.contains_key("act") {
            return Err(PersonError::Delegated);
        }
        let is_verified = members.get("email_verified") == Some(&Value::Bool(true));
        Ok(Person {
            subject: payload.name("sub")?.to_owned(),
            email: payload.text("email")?.filter(|_| is_verified).map(str::to_owned),
            groups: self.groups.texts(&members, "roles")?,
            tenants: match &self.tenants {
                None => None,
                Some(path) => Some(path.texts(&members, "tenants")?),
            },
        })
    }

    /// OpenID Connect Core §3.1.3.7, 3 to 5: whoever else a token is for could use it here, unless it was given to us.
    fn check_audience(&self, payload: Payload<'_>) -> Result<(), PersonError> {
        let named = payload.audience()?;
        let is_ours = |name: &str| self.audiences.iter().any(|ours| ours == name);
        if !named.iter().any(|name| is_ours(name)) {
            return Err(TokenError::Audience.into());
        }
        let is_for_us_alone = named.iter().all(|name| is_ours(name));
        if is_for_us_alone || payload.text("azp")?.is_some_and(is_ours) {
            Ok(())
        } else {
            Err(PersonError::Party)
        }
    }
}
