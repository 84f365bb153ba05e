//! The region's token keys: list, rotate, retire.
//!
//! Not here: making them (`keys`). Invariant: private halves never come near this file.

use std::sync::Arc;

use aegis_domain::{KeyId, Ttl};
use aegis_registry::Action;
use axum::Extension;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::keys::{LEAD, Rotation};
use crate::ledger::Proposal;
use crate::problem::Problem;
use crate::read::Asked;
use crate::{Control, Principal, clock, keys, shapes};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    lead_s: Option<u64>,
    overlap_s: Option<u64>,
}

pub(super) async fn list(State(control): State<Arc<Control>>) -> Response {
    let now = clock::now();
    let registry = control.ledger.read();
    let mut keys: Vec<_> = registry.view().keys().collect();
    keys.sort_by_key(|key| std::cmp::Reverse(key.signs_from));
    let keys: Vec<Value> = keys.into_iter().map(|key| shapes::token_key(key, now)).collect();
    shapes::answer(StatusCode::OK, json!({ "keys": keys }))
}

pub(super) async fn rotate(
    State(control): State<Arc<Control>>,
    Extension(who): Extension<Principal>,
    asked: Asked,
) -> Result<Response, Problem> {
    let wish: Wish = asked.json()?;
    let rotation = Rotation {
        once: asked.once(&who)?,
        by: who.actor,
        lead: wish.lead_s.map_or(LEAD, Ttl::from_s),
        overlap: Ttl::from_s(wish.overlap_s.unwrap_or(0)),
    };
    let key = keys::rotate(&control, rotation).await?;
    Ok(shapes::answer(StatusCode::CREATED, shapes::token_key(&key, clock::now())))
}

pub(super) async fn retire(
    State(control): State<Arc<Control>>,
    Extension(who): Extension<Principal>,
    Path(kid): Path<String>,
    asked: Asked,
) -> Result<Response, Problem> {
    let id = KeyId::parse(&kid).map_err(|_| Problem::NotFound)?;
    let action = Action::RetireKey { id: id.clone() };
    let proposal = Proposal { once: asked.once(&who)?, by: who.actor, action };
    control.ledger.propose(proposal).await?;
    let registry = control.ledger.read();
    let key = registry.view().key(&id).ok_or(Problem::NotFound)?;
    Ok(shapes::answer(StatusCode::OK, shapes::token_key(key, clock::now())))
}
