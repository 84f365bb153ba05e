//! Sessions of people: open one, list them, end one.
//!
//! Not here: the text of a session (`identity`), and what its roles permit (`control/access`). Invariant: the text leaves
//! only in the answer to whoever opened it, and counts only while the ledger has it.

use std::collections::BTreeSet;
use std::sync::Arc;

use aegis_access::{Principal, Reach, Role};
use aegis_domain::{Jti, TenantId};
use aegis_ledger::{Action, Session, SessionAct, SessionRefusal};
use aegis_registry::Actor;
use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::page::Pages;
use crate::problem::Problem;
use crate::read::Asked;
use crate::{Control, clock, page, shapes};

type Shared = State<Arc<Control>>;
type Answer = Result<Response, Problem>;

/// A working day.
const TTL_S: u32 = 8 * 60 * 60;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    #[serde(rename = "as")]
    name: String,
    roles: BTreeSet<Role>,
    /// All of them unless named.
    tenants: Option<BTreeSet<TenantId>>,
    ttl_s: Option<u32>,
}

impl Wish {
    fn principal(self) -> Result<Principal, Problem> {
        let actor = Actor::parse(&format!("session {}", self.name));
        let actor = actor.map_err(|error| Problem::Malformed(error.to_string()))?;
        let reach = match self.tenants {
            None => Reach::Region,
            Some(none) if none.is_empty() => {
                return Err(Problem::Malformed("tenants names none".into()));
            }
            Some(tenants) => Reach::Tenants(tenants),
        };
        Ok(Principal { actor, roles: self.roles, reach })
    }
}

pub(super) async fn open(
    State(control): Shared,
    Extension(who): Extension<Principal>,
    asked: Asked,
) -> Answer {
    let wish: Wish = asked.json()?;
    let ttl_s = wish.ttl_s.unwrap_or(TTL_S);
    // A request sent again under one key is about the same session, and so answered with the same text.
    let jti = match asked.once(&who)? {
        Some((client, _)) => Jti::parse(&client.to_string()).ok(),
        None => None,
    };
    let jti = jti.map_or_else(|| clock::jti(clock::now()), Ok)?;
    let principal = wish.principal()?;
    let act = SessionAct::Open { jti: jti.clone(), principal, ttl_s };
    control.command(&who, &asked, Action::Session(act)).await?;
    let opened = control.node.ledger().sessions().get(&jti, clock::now()).cloned();
    let opened = opened.ok_or(Problem::Declined(SessionRefusal::Unknown.into()))?;
    let body = json!({ "session": shape(&jti, &opened), "token": sign(&control, &jti, &opened) });
    Ok(shapes::answer(StatusCode::CREATED, body))
}

fn sign(control: &Control, jti: &Jti, session: &Session) -> String {
    let Principal { actor, roles, reach } = &session.principal;
    let session = aegis_identity::Session {
        issuer: &control.service.issuer,
        subject: actor.as_str(),
        jti,
        issued_at: session.opened_at,
        expires_at: session.expires_at,
        roles: roles.iter().map(|role| role.as_str()).collect(),
        tenants: match reach {
            Reach::Region => None,
            Reach::Tenants(tenants) => Some(tenants.iter().collect()),
            // No session is opened for another region.
            Reach::Abroad(_) => Some(Vec::new()),
        },
    };
    session.sign(&control.region_key)
}

pub(super) async fn list(
    State(control): Shared,
    pages: Result<Query<Pages>, QueryRejection>,
) -> Answer {
    let page = page::query(pages)?.page::<Jti>()?;
    let ledger = control.node.ledger();
    let sessions = ledger.sessions().iter(page.after.as_ref(), clock::now());
    let (sessions, next) = page.cut(sessions, |(jti, _)| (*jti).clone());
    let sessions: Vec<_> = sessions.into_iter().map(|(jti, it)| shape(jti, it)).collect();
    Ok(shapes::answer(StatusCode::OK, json!({ "sessions": sessions, "next": next })))
}

pub(super) async fn end(
    State(control): Shared,
    Extension(who): Extension<Principal>,
    Path(id): Path<String>,
    asked: Asked,
) -> Answer {
    let jti = Jti::parse(&id).map_err(|_| Problem::NotFound)?;
    let act = SessionAct::End { jti: jti.clone() };
    control.command(&who, &asked, Action::Session(act)).await?;
    Ok(shapes::answer(StatusCode::OK, json!({ "id": jti })))
}

fn shape(jti: &Jti, session: &Session) -> Value {
    let Principal { actor, roles, reach } = &session.principal;
    json!({
        "id": jti,
        "actor": actor,
        "roles": roles,
        "tenants": match reach {
            Reach::Region | Reach::Abroad(_) => None,
            Reach::Tenants(tenants) => Some(tenants),
        },
        "opened_by": session.opened_by,
        "opened_at": clock::show(session.opened_at),
        "expires_at": clock::show(session.expires_at),
    })
}
