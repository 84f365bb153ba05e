//! What a token says about its bearer, read from its payload.
//!
//! Not here: whether it is signed, still valid, or for us (`verify`). Invariant: every claim has passed the
//! check of its type, and where two claims could say one thing they do not disagree.

use std::collections::BTreeSet;

use aegis_domain::{AgentId, Jti, OrgId, TenantId, Timestamp, TokenUse};
use serde_json::{Map, Value};

use crate::payload::{Payload, texts};
use crate::times::Times;
use crate::{Confirmation, TokenError, delegation};

const SCOPES_MAX: usize = 64;
const SCOPE_BYTES_MAX: usize = 128;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `iss`
    pub issuer: String,
    pub org: OrgId,
    pub tenant: TenantId,
    /// Who calls: `act.sub` in a token made by delegation, else `agent_id`, or `sub` in tokens without it.
    pub agent: AgentId,
    /// `parent_agent_id`: the agent that started this one.
    pub parent_agent: Option<AgentId>,
    /// Whom it acts for (RFC 8693 §4.1): its parent first, last the `sub`, whose authority this is.
    pub acts_for: Vec<AgentId>,
    /// `cnf`: the keys without which this token is worth nothing.
    pub confirmation: Option<Confirmation>,
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
        let (agent, acts_for) = delegation::read(payload)?;
        let Times { expires_at, not_before, issued_at } = Times::read(payload)?;
        Ok(Self {
            issuer: payload.required("iss")?.to_owned(),
            audience: payload.audience()?,
            expires_at,
            not_before,
            issued_at,
            jti: payload.required_id("jti", Jti::parse)?,
            org: payload.required_id("org", OrgId::parse)?,
            tenant: payload.required_id("tenant", TenantId::parse)?,
            parent_agent: delegation::parent(payload, &acts_for)?,
            confirmation: Confirmation::read(payload)?,
            agent,
            acts_for,
            scopes: scope_claims(payload)?,
            token_use: token_use(payload)?,
        })
    }

    pub(crate) fn times(&self) -> Times {
        let Self { expires_at, not_before, issued_at, .. } = *self;
        Times { expires_at, not_before, issued_at }
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

fn scope_claims(payload: Payload<'_>) -> Result<BTreeSet<String>, TokenError> {
    let from_text = match payload.text("scope")? {
        Some("") => Some(BTreeSet::new()),
        Some(text) => Some(scopes("scope", text.split(' '))?),
        None => None,
    };
    let from_array = match payload.0.get("scopes") {
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

fn token_use(payload: Payload<'_>) -> Result<TokenUse, TokenError> {
    match payload.text("use")? {
        None | Some("bound") => Ok(TokenUse::Bound),
        Some("once") => Ok(TokenUse::Once),
        Some(_) => Err(TokenError::ClaimMalformed { claim: "use" }),
    }
}
