//! Revocations: of a token, a key, or everything an agent or a tenant was issued until now.
//!
//! Not here: disabling agents. Invariant: a revocation is never taken back.

use std::sync::Arc;

use aegis_domain::{AgentId, Jti, KeyId, TenantId};
use aegis_registry::{Action, AgentName, Change, Target};
use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::ledger::Proposal;
use crate::problem::Problem;
use crate::read::Asked;
use crate::{Control, Principal, shapes};

/// One of four, told by the members that are there.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum Wish {
    Token { tenant: TenantId, jti: Jti },
    Agent { tenant: TenantId, id: AgentId },
    Key { kid: KeyId },
    Tenant { id: TenantId },
}

impl From<Wish> for Target {
    fn from(wish: Wish) -> Self {
        match wish {
            Wish::Token { tenant, jti } => Target::Token { tenant, jti },
            Wish::Agent { tenant, id } => Target::Agent(AgentName { tenant, id }),
            Wish::Key { kid } => Target::Key(kid),
            Wish::Tenant { id } => Target::Tenant(id),
        }
    }
}

pub(super) async fn list(State(control): State<Arc<Control>>) -> Response {
    let registry = control.ledger.read();
    let all: Vec<Value> = registry.view().revocations().map(shapes::revocation).collect();
    shapes::answer(StatusCode::OK, json!({ "revocations": all }))
}

pub(super) async fn revoke(
    State(control): State<Arc<Control>>,
    Extension(who): Extension<Principal>,
    asked: Asked,
) -> Result<Response, Problem> {
    let wish: Wish = asked.json()?;
    let action = Action::Revoke { target: wish.into() };
    let proposal = Proposal { once: asked.once(&who)?, by: who.actor, action };
    let event = control.ledger.propose(proposal).await?;
    let made = event.changes.iter().find_map(|change| match change {
        Change::Revoked(revocation) => Some(shapes::revocation(revocation)),
        Change::Agent(_) | Change::Key(_) | Change::Code(_) | Change::CodeGone(_) => None,
        Change::Budget(_) | Change::BudgetGone(_) | Change::Adjustment(_) => None,
    });
    let made = made.ok_or(Problem::NotFound)?;
    Ok(shapes::answer(StatusCode::CREATED, made))
}
