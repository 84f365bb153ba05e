//! Revocations: of a token, a key, or everything an agent or a tenant was issued until now.
//!
//! Not here: disabling agents. Invariant: a revocation is never taken back.

use std::sync::Arc;

use aegis_domain::{AgentId, Jti, KeyId, TenantId};
use aegis_identity::{JwkThumbprint, ThumbprintError};
use aegis_registry::{Action, AgentName, Change, Target};
use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use crate::page::Pages;
use crate::problem::Problem;
use crate::read::Asked;
use crate::{Control, Principal, page, shapes};
use aegis_control_commands::Proposal;

/// One of four, told by the members that are there.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum Wish {
    Token { tenant: TenantId, jti: Jti },
    Agent { tenant: TenantId, id: AgentId },
    Key { kid: Kid },
    Tenant { id: TenantId },
}

/// A key's thumbprint, or a certificate's. Any other name would revoke nothing, and nobody would be told.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Kid(KeyId);

impl TryFrom<String> for Kid {
    type Error = ThumbprintError;
    fn try_from(text: String) -> Result<Self, ThumbprintError> {
        JwkThumbprint::parse(&text)?;
        KeyId::parse(&text).map(Self).map_err(|_| ThumbprintError)
    }
}

impl From<Wish> for Target {
    fn from(wish: Wish) -> Self {
        match wish {
            Wish::Token { tenant, jti } => Target::Token { tenant, jti },
            Wish::Agent { tenant, id } => Target::Agent(AgentName { tenant, id }),
            Wish::Key { kid: Kid(id) } => Target::Key(id),
            Wish::Tenant { id } => Target::Tenant(id),
        }
    }
}

pub(super) async fn list(
    State(control): State<Arc<Control>>,
    Extension(who): Extension<Principal>,
    pages: Result<Query<Pages>, QueryRejection>,
) -> Result<Response, Problem> {
    let page = page::query(pages)?.page::<Target>()?;
    let registry = control.ledger.read();
    let revocations = registry.view().revocations_after(page.after.as_ref());
    let revocations = revocations.filter(|revocation| who.sees(revocation.target.tenant()));
    let (revocations, next) = page.cut(revocations, |revocation| revocation.target.clone());
    let revocations: Vec<_> = revocations.into_iter().map(shapes::revocation).collect();
    Ok(shapes::answer(StatusCode::OK, json!({ "revocations": revocations, "next": next })))
}

pub(super) async fn revoke(
    State(control): State<Arc<Control>>,
    Extension(who): Extension<Principal>,
    asked: Asked,
) -> Result<Response, Problem> {
    let wish: Wish = asked.json()?;
    let target = Target::from(wish);
    match target.tenant() {
        Some(tenant) => who.reaches(tenant)?,
        None => who.reaches_region()?,
    }
    let action = Action::Revoke { target, issued: control.issued.latest() };
    let proposal = Proposal { once: asked.once(&who)?, by: who.actor, action };
    let event = control.ledger.propose(proposal).await?;
    let made = event.changes.iter().find_map(|change| match change {
        Change::Revoked(revocation) => Some(shapes::revocation(revocation)),
        Change::Agent(_) | Change::Key(_) | Change::Code(_) | Change::CodeGone(_) => None,
        Change::Budget(_) | Change::BudgetGone(_) | Change::Adjustment(_) => None,
        Change::Definition(_) | Change::DefinitionGone(_) => None,
    });
    let made = made.ok_or(Problem::NotFound)?;
    Ok(shapes::answer(StatusCode::CREATED, made))
}
