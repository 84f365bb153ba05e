//! What a token says about its bearer, read from its payload.
//!
//! Not here: whether it is signed, still valid, or for us (`verify`). Invariant: every claim has passed the
//! check of its type, and where two claims could say one thing they do not disagree.

use std::collections::BTreeSet;

use aegis_domain::{AgentId, IdError, Jti, OrgId, TenantId, Timestamp, TokenUse};
use serde_json::{Map, Value};

use crate::TokenError;

const SCOPES_MAX: usize = 64;
const SCOPE_BYTES_MAX: usize = 128;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `iss`
    pub issuer: String,
    pub org: OrgId,
    pub tenant: TenantId,
    /// `agent_id`, or `sub` in tokens without it.
    pub agent: AgentId,
    /// `parent_agent_id`: the agent that started this one.
    pub parent_agent: Option<AgentId>,
    /// `scope` (one text) or `scopes` (an array).
    pub scopes: BTreeSet<String>,
    /// `aud`
    pub audience: Vec<String>,
    /// `exp`
    pub expires_at: Timestamp,
    /// `nbf`
    pub not_before: Option<Timestamp>,
    /// `iat`
    pub issued_at: Option<Timestamp>,
    pub jti: Jti,
    /// `use`
    pub token_use: TokenUse,
}

impl Claims {
    /// Reads the claims Aegis knows; others are ignored (RFC 7519 §4).
    pub(crate) fn read(members: &Map<String, Value>) -> Result<Self, TokenError> {
        let payload = Payload(members);
        Ok(Self {
            issuer: payload.required("iss")?.to_owned(),
            audience: payload.audience()?,
            expires_at: payload.date("exp")?.ok_or(TokenError::ClaimMissing { claim: "exp" })?,
            not_before: payload.date("nbf")?,
            issued_at: payload.date("iat")?,
            jti: payload.required_id("jti", Jti::parse)?,
            org: payload.required_id("org", OrgId::parse)?,
            tenant: payload.required_id("tenant", TenantId::parse)?,
            agent: payload.agent()?,
            parent_agent: payload.id("parent_agent_id", AgentId::parse)?,
            scopes: payload.scopes()?,
            token_use: payload.token_use()?,
        })
    }
}

/// The issuer a payload names: all that is looked at before the signature is checked.
pub(crate) fn issuer(members: &Map<String, Value>) -> Result<&str, TokenError> {
    Payload(members).required("iss")
}

/// Collects scopes, each a scope-token of RFC 6749 appendix A.4.
pub(crate) fn scopes<'a>(
    claim: &'static str,
    tokens: impl Iterator<Item = &'a str>,
) -> Result<BTreeSet<String>, TokenError> {
    let is_nqchar = |byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    let mut scopes = BTreeSet::new();
    for token in tokens {
        let fits = (1..=SCOPE_BYTES_MAX).contains(&token.len());
        if !fits || !token.bytes().all(is_nqchar) || scopes.len() >= SCOPES_MAX {
            return Err(TokenError::ClaimMalformed { claim });
        }
        scopes.insert(token.to_owned());
    }
    Ok(scopes)
}

struct Payload<'a>(&'a Map<String, Value>);

impl<'a> Payload<'a> {
    fn text(&self, claim: &'static str) -> Result<Option<&'a str>, TokenError> {
        let text = |value: &'a Value| value.as_str().ok_or(TokenError::ClaimMalformed { claim });
        self.0.get(claim).map(text).transpose()
    }

    fn required(&self, claim: &'static str) -> Result<&'a str, TokenError> {
        self.text(claim)?.ok_or(TokenError::ClaimMissing { claim })
    }

    fn id<T>(
        &self,
        claim: &'static str,
        parse: fn(&str) -> Result<T, IdError>,
    ) -> Result<Option<T>, TokenError> {
        let text = self.text(claim)?;
        text.map(parse).transpose().map_err(|_| TokenError::ClaimMalformed { claim })
    }

    fn required_id<T>(
        &self,
        claim: &'static str,
        parse: fn(&str) -> Result<T, IdError>,
    ) -> Result<T, TokenError> {
        self.id(claim, parse)?.ok_or(TokenError::ClaimMissing { claim })
    }

    fn agent(&self) -> Result<AgentId, TokenError> {
        let sub = self.text("sub")?;
        let Some(agent_id) = self.text("agent_id")? else {
            return self.required_id("sub", AgentId::parse);
        };
        if sub.is_some_and(|sub| sub != agent_id) {
            return Err(TokenError::ClaimsDisagree { first: "agent_id", second: "sub" });
        }
        self.required_id("agent_id", AgentId::parse)
    }

    /// One text or an array of them (RFC 7519 §4.1.3).
    fn audience(&self) -> Result<Vec<String>, TokenError> {
        match self.0.get("aud") {
            None => Err(TokenError::ClaimMissing { claim: "aud" }),
            Some(Value::String(one)) => Ok(vec![one.clone()]),
            Some(value) => Ok(texts(value, "aud")?.into_iter().map(str::to_owned).collect()),
        }
    }

    /// A NumericDate (RFC 7519 §2) in whole seconds that a `Timestamp` can hold.
    fn date(&self, claim: &'static str) -> Result<Option<Timestamp>, TokenError> {
        let Some(value) = self.0.get(claim) else {
            return Ok(None);
        };
        whole_seconds(value)
            .and_then(|seconds| seconds.checked_mul(1_000_000_000))
            .map(|ns| Some(Timestamp::from_unix_ns(ns)))
            .ok_or(TokenError::ClaimMalformed { claim })
    }

    fn scopes(&self) -> Result<BTreeSet<String>, TokenError> {
        let from_text = match self.text("scope")? {
            Some("") => Some(BTreeSet::new()),
            Some(text) => Some(scopes("scope", text.split(' '))?),
            None => None,
        };
        let from_array = match self.0.get("scopes") {
            Some(value) => Some(scopes("scopes", texts(value, "scopes")?.into_iter())?),
            None => None,
        };
        match (from_text, from_array) {
            (Some(text), Some(array)) if text != array => {
                Err(TokenError::ClaimsDisagree { first: "scope", second: "scopes" })
            }
            (Some(scopes), _) | (None, Some(scopes)) => Ok(scopes),
            (None, None) => Ok(BTreeSet::new()),
        }
    }

    fn token_use(&self) -> Result<TokenUse, TokenError> {
        match self.text("use")? {
            None | Some("bound") => Ok(TokenUse::Bound),
            Some("once") => Ok(TokenUse::Once),
            Some(_) => Err(TokenError::ClaimMalformed { claim: "use" }),
        }
    }
}

fn texts<'a>(value: &'a Value, claim: &'static str) -> Result<Vec<&'a str>, TokenError> {
    value
        .as_array()
        .and_then(|items| items.iter().map(Value::as_str).collect())
        .ok_or(TokenError::ClaimMalformed { claim })
}

/// An integer, or a float without a fraction; what is negative or too large does not parse.
fn whole_seconds(value: &Value) -> Option<u64> {
    if let Some(seconds) = value.as_u64() {
        return Some(seconds);
    }
    let float = value.as_f64().filter(|float| float.fract() == 0.0)?;
    format!("{float:.0}").parse().ok()
}
