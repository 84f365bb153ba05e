//! The region's token keys: list, rotate, retire.
//!
//! Not here: making them (`keys`). Invariant: private halves never come near this file.

use std::cmp::Reverse;
use std::sync::Arc;

use aegis_domain::{KeyId, Ttl};
use aegis_registry::{Action, TokenKey};
use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use crate::keys::{LEAD, Rotation};
use crate::page::Pages;
use crate::problem::Problem;
use crate::read::Asked;
use crate::{Control, Principal, clock, keys, page, shapes};
use aegis_control_commands::Proposal;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    lead_s: Option<u64>,
    overlap_s: Option<u64>,
}

/// The newest first: when it begins to sign, and its name.
type Place = (Reverse<u64>, KeyId);

fn place(key: &TokenKey) -> Place {
    (Reverse(key.signs_from.unix_ns()), key.id().clone())
}

pub(super) async fn list(
    State(control): State<Arc<Control>>,
    pages: Result<Query<Pages>, QueryRejection>,
) -> Result<Response, Problem> {
    let page = page::query(pages)?.page::<Place>()?;
    let now = clock::now();
    let registry = control.ledger.read();
    let is_after = |key: &&TokenKey| page.after.as_ref().is_none_or(|after| place(key) > *after);
    let mut keys: Vec<_> = registry.view().keys().filter(is_after).collect();
    keys.sort_by_key(|key| place(key));
    let (keys, next) = page.cut(keys.into_iter(), |key| place(key));
    let keys: Vec<_> = keys.into_iter().map(|key| shapes::token_key(key, now)).collect();
    Ok(shapes::answer(StatusCode::OK, json!({ "keys": keys, "next": next })))
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
    Ok(shapes::tagged(StatusCode::CREATED, key.changed, shapes::token_key(&key, clock::now())))
}

pub(super) async fn retire(
    State(control): State<Arc<Control>>,
    Extension(who): Extension<Principal>,
    Path(kid): Path<String>,
    asked: Asked,
) -> Result<Response, Problem> {
    let id = KeyId::parse(&kid).map_err(|_| Problem::NotFound)?;
    let action = Action::RetireKey { id: id.clone(), seen: asked.seen() };
    let proposal = Proposal { once: asked.once(&who)?, by: who.actor, action };
    control.ledger.propose(proposal).await?;
    let registry = control.ledger.read();
    let key = registry.view().key(&id).ok_or(Problem::NotFound)?;
    Ok(shapes::tagged(StatusCode::OK, key.changed, shapes::token_key(key, clock::now())))
}
