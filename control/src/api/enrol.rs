//! Enrolment: an agent brings its one-time code and its key, and proves that it holds the private half.
//!
//! Not here: what the code is worth (`agents/registry`). Invariant: nobody can enrol a key of somebody else, since the
//! proof is signed by it and names this server and this code.

use std::sync::Arc;

use aegis_domain::{Timestamp, Ttl};
use aegis_identity::verify_jws;
use aegis_registry::{Action, Actor, AgentKey, Change, CodeHash, PublicJwk};
use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::problem::Problem;
use crate::read::Asked;
use crate::{Control, clock, shapes};
use aegis_control_commands::Proposal;
use aegis_control_connection::Peer;

/// `typ` of the proof, so that it serves for nothing else.
const PROOF_TYPE: &str = "aegis-enrol+jwt";
const PROOF_AGE_MAX: Ttl = Ttl::from_s(5 * 60);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Enrolment {
    code: String,
    /// Absent where the certificate of the connection is the key.
    jwk: Option<Value>,
    proof: Option<String>,
}

/// What the proof says.
#[derive(Debug, Deserialize)]
struct Claims {
    aud: String,
    /// The code's SHA-256, so that the proof does not tell the code.
    code: CodeHash,
    iat: u64,
}

pub(super) async fn enrol(
    State(control): State<Arc<Control>>,
    Extension(peer): Extension<Peer>,
    asked: Asked,
) -> Result<Response, Problem> {
    let wish: Enrolment = asked.json()?;
    let code = CodeHash::of(wish.code.trim());
    let key = match (&wish.jwk, &wish.proof, peer.certificate) {
        (Some(jwk), Some(proof), _) => {
            let jwk =
                PublicJwk::parse(jwk).map_err(|error| Problem::Malformed(error.to_string()))?;
            check_proof(&control.service.issuer, proof, &jwk, code, clock::now())?;
            AgentKey::Jwk(jwk)
        }
        (None, None, Some(certificate)) => AgentKey::Certificate(certificate),
        (Some(_), None, _) | (None, Some(_), _) | (None, None, None) => return Err(Problem::Proof),
    };
    let by = Actor::parse("enrolment code").map_err(|_| Problem::Proof)?;
    let proposal = Proposal { by, action: Action::Enrol { code, key }, once: None };
    let event = control.ledger.propose(proposal).await?;
    let agent = event.changes.iter().find_map(|change| match change {
        Change::Agent(agent) => Some(agent),
        Change::Key(_) | Change::Revoked(_) | Change::Code(_) | Change::CodeGone(_) => None,
        Change::Budget(_) | Change::BudgetGone(_) | Change::Adjustment(_) => None,
        Change::Definition(_) | Change::DefinitionGone(_) => None,
    });
    let agent = agent.ok_or(Problem::NotFound)?;
    let body = json!({
        "agent": shapes::agent(agent, clock::now()),
        "token_endpoint": control.service.token_endpoint(),
        "issuer": control.service.issuer,
    });
    Ok(shapes::tagged(StatusCode::OK, agent.changed, body))
}

fn check_proof(
    issuer: &str,
    proof: &str,
    jwk: &PublicJwk,
    code: CodeHash,
    now: Timestamp,
) -> Result<(), Problem> {
    let payload =
        verify_jws(proof, PROOF_TYPE, &PublicJwk::set([jwk])).map_err(|_| Problem::Proof)?;
    let claims: Claims = serde_json::from_slice(&payload).map_err(|_| Problem::Proof)?;
    let signed = Timestamp::from_unix_s(claims.iat);
    let is_young = now < signed.plus(PROOF_AGE_MAX) && signed < now.plus(PROOF_AGE_MAX);
    if claims.aud == issuer && claims.code == code && is_young {
        Ok(())
    } else {
        Err(Problem::Proof)
    }
}
