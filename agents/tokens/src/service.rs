//! One token request, from the body to what may be granted once the hot state has been asked.
//!
//! Not here: asking it, and signing (`control`). Invariant: a `Grant` comes only out of `Pending::settle`, so nothing is
//! granted before every proof and assertion was found to be new.

use aegis_domain::Timestamp;
use aegis_identity::{
    CertificateThumbprint, Confirmation, Nonces, ProofDemand, ReplayCheck, SubjectVerifier,
    verify_proof,
};
use aegis_registry::{Agent, Mode, View, certificate_id};

use crate::client::{self, Caller};
use crate::exchange;
use crate::form::Form;
use crate::grant::{Grant, Narrowed};
use crate::{OAuthError, Refusal};

const CLIENT_CREDENTIALS: &str = "client_credentials";
pub(crate) const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// The names of one token service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// `iss`, and the base of its endpoints.
    pub issuer: String,
    /// The gateways that take its tokens; never empty in use.
    pub audiences: Vec<String>,
}

/// What came in.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub body: &'a [u8],
    /// Every `DPoP` header.
    pub proofs: &'a [&'a str],
    /// The scheme of `Authorization`, if there was one.
    pub authorization: Option<&'a str>,
    /// Of the certificate the handshake proved.
    pub certificate: Option<CertificateThumbprint>,
}

/// What is known when it came.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    pub view: &'a View,
    pub subjects: &'a SubjectVerifier,
    /// Where a proof must carry a nonce (RFC 9449 §8): those who know them again.
    pub nonces: Option<&'a Nonces>,
    pub now: Timestamp,
}

/// What the hot state said about a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstUse {
    Yes,
    No,
}

/// A request that is in order, if nothing in it was used before.
#[must_use]
#[derive(Debug)]
pub struct Pending {
    checks: Vec<ReplayCheck>,
    grant: Grant,
}

impl Pending {
    /// What must be asked, in this order.
    pub fn checks(&self) -> &[ReplayCheck] {
        &self.checks
    }

    /// The agent it is about, for the record.
    pub fn agent(&self) -> aegis_registry::AgentName {
        self.grant.agent_name()
    }

    /// The grant, given an answer to each check.
    pub fn settle(self, answers: &[FirstUse]) -> Result<Grant, Refusal> {
        let all_new = answers.iter().all(|answer| *answer == FirstUse::Yes);
        if all_new && answers.len() == self.checks.len() {
            Ok(self.grant)
        } else {
            Err(Refusal::Replayed)
        }
    }
}

impl Service {
    /// Where tokens are asked for.
    pub fn token_endpoint(&self) -> String {
        format!("{}/oauth2/token", self.issuer)
    }

    /// Looks at a request.
    pub fn judge(&self, request: &Request<'_>, world: &World<'_>) -> Result<Pending, Refusal> {
        let form = Form::read(request.body)?;
        let desk = Desk { service: self, request, world, form: &form };
        let grant_type = form.get("grant_type").ok_or(Refusal::Missing { name: "grant_type" })?;
        match grant_type {
            CLIENT_CREDENTIALS => desk.client_credentials(),
            TOKEN_EXCHANGE => exchange::judge(&desk),
            _ => Err(Refusal::GrantType),
        }
    }
}

/// Where one request is looked at.
pub(crate) struct Desk<'a> {
    pub(crate) service: &'a Service,
    pub(crate) request: &'a Request<'a>,
    pub(crate) world: &'a World<'a>,
    pub(crate) form: &'a Form,
}

impl<'a> Desk<'a> {
    fn client_credentials(&self) -> Result<Pending, Refusal> {
        let caller = client::authenticate(self)?.ok_or(Refusal::ClientMethods)?;
        let narrowed = Narrowed::of(caller.agent);
        self.pending(caller, narrowed)
    }

    /// What is granted to a caller within bounds.
    pub(crate) fn pending(
        &self,
        caller: Caller<'a>,
        narrowed: Narrowed,
    ) -> Result<Pending, Refusal> {
        let Caller { agent, mut checks } = caller;
        let confirmation = self.confirmation(agent, &mut checks)?;
        let grant = Grant {
            service: self.service.clone(),
            agent: agent.clone(),
            confirmation,
            scopes: narrowed.scopes(self.form.get("scope"))?,
            audience: self.audience()?,
            expires_at: narrowed.expires_at(agent, self.world.now)?,
            issued_at: self.world.now,
            acts_for: narrowed.acts_for,
            exchanged: self.form.get("grant_type") == Some(TOKEN_EXCHANGE),
        };
        Ok(Pending { checks, grant })
    }

    /// What the token is bound to: the key of the proof that came along, the certificate where its mode says so.
    fn confirmation(
        &self,
        agent: &Agent,
        checks: &mut Vec<ReplayCheck>,
    ) -> Result<Option<Confirmation>, Refusal> {
        let key = match self.request.proofs {
            [] if agent.mode == Mode::Proof => return Err(Refusal::ProofMissing),
            [] => None,
            [proof] => {
                let uri = self.service.token_endpoint();
                let nonces = self.world.nonces;
                let demand = ProofDemand { method: "POST", uri: &uri, token: None, nonces };
                let proof = verify_proof(proof, &demand, self.world.now)?;
                self.not_revoked(&proof.key().to_string())?;
                checks.push(proof.replay().clone());
                Some(proof.key())
            }
            [_, _, ..] => return Err(Refusal::ProofTwice),
        };
        let certificate = match (agent.mode, self.request.certificate) {
            (Mode::Mtls, None) => return Err(Refusal::CertificateMissing),
            (Mode::Mtls, Some(certificate)) => {
                self.not_revoked(certificate_id(&certificate).as_str())?;
                Some(certificate)
            }
            (Mode::Bound | Mode::Once | Mode::Proof, _) => None,
        };
        Ok(match (key, certificate) {
            (Some(key), Some(certificate)) => Some(Confirmation::Both(key, certificate)),
            (Some(key), None) => Some(Confirmation::Key(key)),
            (None, Some(certificate)) => Some(Confirmation::Certificate(certificate)),
            (None, None) => None,
        })
    }

    pub(crate) fn not_revoked(&self, key: &str) -> Result<(), Refusal> {
        let id = aegis_domain::KeyId::parse(key).map_err(|_| Refusal::KeyRevoked)?;
        if self.world.view.is_key_revoked(&id) { Err(Refusal::KeyRevoked) } else { Ok(()) }
    }

    /// The gateways the token is for: the one that is asked for (RFC 8707 §2, RFC 8693 §2.1), or all of them.
    fn audience(&self) -> Result<Vec<String>, Refusal> {
        let asked = (self.form.get("resource"), self.form.get("audience"));
        let wanted = match asked {
            (Some(resource), Some(audience)) if resource != audience => {
                return Err(Refusal::Target);
            }
            (Some(wanted), _) | (None, Some(wanted)) => wanted,
            (None, None) => return Ok(self.service.audiences.clone()),
        };
        let known = self.service.audiences.iter().find(|known| *known == wanted);
        known.map(|known| vec![known.clone()]).ok_or(Refusal::Target)
    }
}

impl From<&Refusal> for OAuthError {
    fn from(refusal: &Refusal) -> Self {
        refusal.error()
    }
}
