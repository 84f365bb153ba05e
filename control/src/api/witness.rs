//! Audit logs and their heads: `add-checkpoint` of <https://c2sp.org/tlog-witness>, and the logs it is for.
//!
//! Not here: what a head must be (`witness`). Invariant: whoever shows a head needs no token, because the log's key signed it
//! (tlog-witness, introduction); whoever adds a log does.

use std::sync::Arc;

use aegis_access::Principal;
use aegis_audit_chain::Hash;
use aegis_audit_chain::submission::Answer as Said;
use aegis_ledger::Stream;
use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::clock::show;
use crate::page::Pages;
use crate::problem::Problem;
use crate::read::Asked;
use crate::{Control, page, shapes};

type Shared = State<Arc<Control>>;
type Answer = Result<Response, Problem>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    key: String,
}

pub(super) async fn add_checkpoint(State(control): Shared, asked: Asked) -> Answer {
    let malformed = || Problem::Malformed("the body is no old size, proof and signed head".into());
    let body = std::str::from_utf8(&asked.body).map_err(|_| malformed())?;
    let text = |status, kind, body| {
        (status, [(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-store")], body).into_response()
    };
    match control.witness.add_checkpoint(body).await? {
        Said::Cosigned(lines) => Ok(text(StatusCode::OK, "text/plain; charset=utf-8", lines)),
        Said::Seen(size) => Ok(text(StatusCode::CONFLICT, "text/x.tlog.size", format!("{size}\n"))),
        Said::NotProven => Err(Problem::HeadNotProven),
        Said::UnknownLog => Err(Problem::NotFound),
        Said::UnknownKey => Err(Problem::HeadNotSigned),
        Said::Malformed => Err(malformed()),
    }
}

pub(super) async fn register(
    State(control): Shared,
    Extension(who): Extension<Principal>,
    asked: Asked,
) -> Answer {
    let Wish { key } = asked.json()?;
    control.witness.register_others_log(&who.actor, &key, control.chronicle.as_ref()).await?;
    Ok(shapes::answer(StatusCode::OK, json!({ "key": key, "witnesses": witnesses(&control) })))
}

pub(super) async fn list(
    State(control): Shared,
    asked: Result<Query<Pages>, QueryRejection>,
) -> Answer {
    let page = page::query(asked)?.page::<String>()?;
    let ledger = control.node.ledger();
    let after = page.after.as_deref();
    let logs =
        ledger.streams().iter().skip_while(|(origin, _)| after.is_some_and(|it| *origin <= it));
    let (logs, next) = page.cut(logs, |(origin, _)| (*origin).to_owned());
    let logs: Vec<Value> =
        logs.into_iter().map(|(origin, log)| shown(&control, origin, log)).collect();
    drop(ledger);
    let body = json!({ "logs": logs, "witnesses": witnesses(&control), "next": next });
    Ok(shapes::answer(StatusCode::OK, body))
}

fn shown(control: &Control, origin: &str, log: &Stream) -> Value {
    let evidence = log.evidence().iter().map(|found| {
        json!({
            "anchored": found.anchored,
            "conflicting": found.conflicting,
            "proof": found.proof.iter().map(Hash::standard).collect::<Vec<_>>(),
            "at": show(found.at),
        })
    });
    let doubts = log.doubts().iter().map(|doubt| {
        json!({ "anchored": doubt.anchored, "doubted": doubt.doubted, "at": show(doubt.at) })
    });
    json!({
        "origin": origin,
        "key": log.key(),
        "size": log.size(),
        "head": control.witness.cosigned(log),
        "anchored_at": log.newest().map(|(_, at)| show(at)),
        "has_ended": log.has_ended(),
        "evidence": evidence.collect::<Vec<_>>(),
        "doubts": doubts.collect::<Vec<_>>(),
    })
}

/// The voters' keys, also those that cosign no more: what they signed still counts.
fn witnesses(control: &Control) -> Vec<Value> {
    let ledger = control.node.ledger();
    let cosigners = ledger.voters().cosigners().iter();
    let shown = cosigners.map(|cosigner| {
        json!({
            "voter": cosigner.voter,
            "key": cosigner.key,
            "url": cosigner.url,
            "since": show(cosigner.since),
            "until": cosigner.until.map(show),
        })
    });
    shown.collect()
}
