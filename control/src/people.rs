//! Who sends a request: the bearer of a token file, of a session of this region, or of a token of the OpenID provider.
//!
//! Not here: what they may do (`control/access`), and agents, who have tokens for gateways. Invariant: a token is looked at
//! by one reader only, told by its form, and whoever is refused learns nothing but that.

use aegis_access::Principal;
use aegis_domain::Timestamp;
use aegis_identity::{TokenError, is_session, verify_session};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use tracing::warn;

use crate::problem::Problem;
use crate::provider::ProviderError;
use crate::{Control, clock};

/// Why a token says nothing about who sends it.
#[derive(Debug, thiserror::Error)]
enum Stranger {
    #[error("the session is refused: {0}")]
    Session(TokenError),
    #[error("the session was ended, or never opened in this region")]
    Ended,
    #[error("the provider's token is refused: {0}")]
    Provider(ProviderError),
    #[error("the token is no session and in no file")]
    Unknown,
}

impl Control {
    /// Who sends these headers.
    pub(crate) fn who(&self, headers: &HeaderMap) -> Result<Principal, Problem> {
        let token = bearer(headers).ok_or(Problem::Unauthorized)?;
        if let Some(local) = self.access.bearer_of(token) {
            return Ok(local.clone());
        }
        let now = clock::now();
        let found = match &self.provider {
            _ if is_session(token) => self.in_session(token, now),
            Some(provider) => provider.person(token, now).map_err(Stranger::Provider),
            None => Err(Stranger::Unknown),
        };
        found.map_err(|cause| {
            warn!(%cause, "a token was refused at the control API");
            Problem::Unauthorized
        })
    }

    fn in_session(&self, token: &str, now: Timestamp) -> Result<Principal, Stranger> {
        let (issuer, keys) = (&self.service.issuer, &self.session_keys);
        let jti = verify_session(token, issuer, keys, now).map_err(Stranger::Session)?;
        let ledger = self.node.ledger();
        let session = ledger.sessions().get(&jti, now).ok_or(Stranger::Ended)?;
        Ok(session.principal.clone())
    }
}

/// The one bearer token of a request (RFC 6750 §2.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
