//! Tokens of other systems, taken in exchange for ours (RFC 8693 §2.1): who their bearer is here.
//!
//! Pure: keys and time are arguments. Not here: fetching key sets, and what the bearer may then have (`agents`).
//! Invariant: a token counts only under the profile its issuer was configured with, with the keys of that issuer,
//! for an audience of this server, and for the agent that a configured rule names.

mod rule;

use aegis_domain::{AgentId, Jti, TenantId, Timestamp, Ttl};

use crate::jws::Jws;
use crate::payload::Payload;
use crate::public_key::Algorithm;
use crate::times::Times;
use crate::{KeySet, TokenError};

pub use rule::{RuleError, SubjectRule};

/// Azure and Kubernetes put a great deal into theirs.
const TOKEN_BYTES_MAX: usize = 16 * 1_024;
const SVID_TYPES: [&str; 2] = ["JWT", "JOSE"];
const JWT_TYPES: [&str; 1] = ["JWT"];
const OIDC_TYPES: [&str; 3] = ["JWT", "at+jwt", "application/at+jwt"];

/// What an issuer issues, and so what its tokens must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectProfile {
    /// SPIFFE JWT-SVID: `sub` is a SPIFFE id of the trust domain, `aud` and `exp` are there; never Ed25519.
    JwtSvid,
    /// A projected service account token: `sub` and `kubernetes.io` name the same account.
    Kubernetes,
    /// An ID token or RFC 9068 access token: `iss`, `sub`, `aud`, `exp` and `iat` are there.
    Oidc,
}

/// An issuer whose subjects may become agents.
#[derive(Clone, Debug)]
pub struct SubjectIssuer {
    pub profile: SubjectProfile,
    /// `iss`, byte by byte; for JWT-SVIDs, which need none, the trust domain: `spiffe://example.org`.
    pub name: String,
    /// This server's names; a token must be for one of them.
    pub audiences: Vec<String>,
    pub keys: KeySet,
    /// The first rule that fits names the agent.
    pub rules: Vec<SubjectRule>,
}

/// How far foreign tokens are trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubjectLimits {
    pub skew: Ttl,
    /// Others' tokens live longer than ours; what they are exchanged for does not.
    pub ttl_max: Ttl,
}

impl Default for SubjectLimits {
    fn default() -> Self {
        Self { skew: Ttl::from_s(30), ttl_max: Ttl::from_s(24 * 60 * 60) }
    }
}

/// Why a foreign token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    #[error("subject token is refused")]
    Token(#[from] TokenError),
    #[error("subject is not a SPIFFE id of its trust domain")]
    SpiffeId,
    #[error("JWT-SVIDs are not signed with Ed25519")]
    SvidAlgorithm,
    #[error("service account and subject disagree")]
    ServiceAccount,
    #[error("subject token is bound to a key, which no exchange asks for")]
    Bound,
    #[error("bearer of the subject token is not its subject but acts for it")]
    Delegated,
    #[error("no rule makes an agent of the subject")]
    NoRule,
}

/// The bearer of a foreign token, as this region knows it.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub issuer: String,
    /// `sub`, as the issuer wrote it.
    pub subject: String,
    pub tenant: TenantId,
    pub agent: AgentId,
    pub jti: Option<Jti>,
    pub expires_at: Timestamp,
}

/// Checks foreign tokens against the issuers it was made for.
#[derive(Clone, Debug)]
pub struct SubjectVerifier {
    issuers: Vec<SubjectIssuer>,
    limits: SubjectLimits,
}

impl SubjectVerifier {
    /// Of two entries that claim one token, the first counts.
    pub fn new(issuers: Vec<SubjectIssuer>, limits: SubjectLimits) -> Self {
        Self { issuers, limits }
    }

    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Subject, SubjectError> {
        let jws = Jws::parse(token, TOKEN_BYTES_MAX)?;
        let members = jws.claims()?;
        let payload = Payload(&members);
        let subject = payload.name("sub")?;
        let issuer = self.issuer(payload, subject)?;
        jws.header.check_type(issuer.profile.types())?;
        if issuer.profile == SubjectProfile::JwtSvid && jws.header.algorithm == Algorithm::Ed25519 {
            return Err(SubjectError::SvidAlgorithm);
        }
        jws.verify(&issuer.keys)?;

        let named = payload.audience()?;
        if !named.iter().any(|name| issuer.audiences.contains(name)) {
            return Err(TokenError::Audience.into());
        }
        let times = Times::read(payload)?;
        times.check(now, self.limits.skew, self.limits.ttl_max)?;
        is_whole_authority(payload)?;
        issuer.profile.check(payload, subject)?;
        let fitting = issuer.rules.iter().find_map(|rule| Some((rule, rule.agent(subject)?)));
        let (rule, agent) = fitting.ok_or(SubjectError::NoRule)?;
        Ok(Subject {
            issuer: issuer.name.clone(),
            subject: subject.to_owned(),
            tenant: rule.tenant().clone(),
            agent,
            jti: payload.id("jti", Jti::parse)?,
            expires_at: times.expires_at,
        })
    }

    fn issuer(&self, payload: Payload<'_>, subject: &str) -> Result<&SubjectIssuer, TokenError> {
        let iss = payload.text("iss")?;
        let is_of = |issuer: &&SubjectIssuer| match issuer.profile {
            SubjectProfile::JwtSvid => in_trust_domain(subject, &issuer.name),
            SubjectProfile::Kubernetes | SubjectProfile::Oidc => iss == Some(issuer.name.as_str()),
        };
        self.issuers.iter().find(is_of).ok_or(TokenError::IssuerUntrusted)
    }
}

impl SubjectProfile {
    fn types(self) -> &'static [&'static str] {
        match self {
            SubjectProfile::JwtSvid => &SVID_TYPES,
            SubjectProfile::Kubernetes => &JWT_TYPES,
            SubjectProfile::Oidc => &OIDC_TYPES,
        }
    }

    /// What only this kind of token must say.
    fn check(self, payload: Payload<'_>, subject: &str) -> Result<(), SubjectError> {
        match self {
            SubjectProfile::JwtSvid if is_spiffe_id(subject) => Ok(()),
            SubjectProfile::JwtSvid => Err(SubjectError::SpiffeId),
            SubjectProfile::Kubernetes => service_account(payload, subject),
            SubjectProfile::Oidc => Ok(payload.required_date("iat").map(|_| ())?),
        }
    }
}

/// A bearer who must show a key, or who is not the subject, is not who the exchange would make of it.
fn is_whole_authority(payload: Payload<'_>) -> Result<(), SubjectError> {
    if payload.0.contains_key("cnf") {
        return Err(SubjectError::Bound);
    }
    if payload.0.contains_key("act") { Err(SubjectError::Delegated) } else { Ok(()) }
}

/// The account stands twice in a projected token; a Secret's token of old has no `exp` and came no further.
fn service_account(payload: Payload<'_>, subject: &str) -> Result<(), SubjectError> {
    let missing = TokenError::ClaimMissing { claim: "kubernetes.io" };
    let bound = payload.object("kubernetes.io")?.ok_or(missing)?;
    let account = bound.object("serviceaccount")?.ok_or(missing)?;
    let (namespace, name) = (bound.required("namespace")?, account.required("name")?);
    if subject == format!("system:serviceaccount:{namespace}:{name}") {
        Ok(())
    } else {
        Err(SubjectError::ServiceAccount)
    }
}

/// Whether a SPIFFE id stands under `spiffe://<trust domain>`, to the slash.
fn in_trust_domain(subject: &str, domain: &str) -> bool {
    subject.strip_prefix(domain).is_some_and(|path| path.starts_with('/'))
}

/// SPIFFE-ID §2: a trust domain of `a-z 0-9 . - _`, then segments of letters, digits, `.`, `-` and `_` that are
/// neither empty nor dots.
fn is_spiffe_id(subject: &str) -> bool {
    let Some((domain, path)) =
        subject.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/'))
    else {
        return false;
    };
    let in_domain = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    let in_path = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !domain.is_empty()
        && domain.bytes().all(in_domain)
        && path
            .split('/')
            .all(|segment| !matches!(segment, "" | "." | "..") && segment.bytes().all(in_path))
}
