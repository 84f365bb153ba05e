//! The region's voters: how they are, who they are, and who comes and goes.
//!
//! Not here: how they agree (`raft-store`), and who may be one (`authority`). Invariant: an invitation is answered once and
//! kept nowhere; any voter can be asked for any of this; whoever changes who votes, or takes a backup, is on record.

use std::sync::Arc;
use std::time::Duration;

use aegis_authority::{Common, VoterName};
use aegis_identity::BACKUP_TYPE;
use aegis_raft_store::{Backup, Status};
use axum::Extension;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::warn;

use crate::clock::show;
use crate::problem::Problem;
use crate::read::Asked;
use crate::{Control, Principal, clock, shapes, stream};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    address: String,
}

pub(super) async fn status(State(control): State<Arc<Control>>) -> Response {
    let status = control.node.status();
    let ms = |length: Duration| u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    let ledger = control.node.ledger();
    let (revision, level) = (ledger.revision(), ledger.voters().level());
    drop(ledger);
    let body = json!({
        "cluster": control.node.identity().cluster,
        "node": status.node,
        "leader": status.leader,
        "term": status.term,
        "voters": status.voters,
        "learners": status.learners,
        "changing": status.is_joint,
        "quorum_heard_ms_ago": status.quorum_heard_ago.map(ms),
        "last_entry": status.last_entry,
        "applied": status.applied,
        "snapshot": status.snapshot,
        "ledger_bytes": status.ledger_bytes,
        "ledger_bytes_max": status.ledger_bytes_max,
        "alarm": alarm(&status),
        "revision": revision,
        "level": level,
    });
    shapes::answer(StatusCode::OK, body)
}

fn alarm(status: &Status) -> Option<&'static str> {
    if status.is_full() {
        Some("ledger-full")
    } else if status.is_nearly_full() {
        Some("ledger-nearly-full")
    } else if status.are_clocks_apart() {
        Some("clocks-apart")
    } else {
        None
    }
}

pub(super) async fn members(State(control): State<Arc<Control>>) -> Response {
    shapes::answer(StatusCode::OK, json!({ "members": listed(&control) }))
}

fn listed(control: &Control) -> Vec<Value> {
    let status = control.node.status();
    let ledger = control.node.ledger();
    let voters = ledger.voters().iter();
    let member = |(id, voter): (u64, &aegis_ledger::Voter)| {
        json!({
            "id": id,
            "address": voter.address,
            "role": role(&status, id),
            "reads": voter.level,
            "held": status.held.get(&id).copied().flatten(),
            "clock_ahead_ms": status.clocks_ahead_ms.get(&id),
        })
    };
    voters.map(member).collect()
}

fn role(status: &Status, id: u64) -> &'static str {
    if status.leader == Some(id) {
        "leader"
    } else if status.voters.contains(&id) {
        "voter"
    } else if status.learners.contains(&id) {
        "learner"
    } else {
        "invited"
    }
}

pub(super) async fn invite(
    State(control): State<Arc<Control>>,
    Extension(who): Extension<Principal>,
    asked: Asked,
) -> Result<Response, Problem> {
    let Wish { address } = asked.json()?;
    if control.node.address().is_none() {
        return Err(Problem::Alone);
    }
    let target = Some(format!("voter at {address}"));
    let admit = async { Ok(control.node.admit(&address).await?) };
    let node = control.deed(&who, ("voter.invite", target), admit).await?;
    warn!(by = who.actor.as_str(), node, "a voter was invited");
    let name = VoterName { cluster: control.node.identity().cluster.clone(), node };
    let (key, files) = (control.region_key.to_pkcs8_pem(), control.voters.clone());
    let follower = control.access.follower().clone();
    let made = tokio::task::spawn_blocking(move || {
        let common = Common { region_key: &key, follower_token: &follower };
        files.invite((name, &address), common, clock::now())
    });
    let invitation = made.await.map_err(|_| Problem::Invitation)?.map_err(|error| {
        tracing::error!(%error, "an invitation could not be made");
        Problem::Invitation
    })?;
    Ok(shapes::answer(StatusCode::CREATED, json!({ "id": node, "invitation": invitation })))
}

/// What a voter is called on record.
fn named(node: Option<u64>) -> Option<String> {
    node.map(|node| format!("voter {node}"))
}

/// A path names a voter by its id.
fn id(text: &str) -> Result<u64, Problem> {
    text.parse().map_err(|_| Problem::NotFound)
}

pub(super) async fn promote(
    State(control): State<Arc<Control>>,
    Extension(who): Extension<Principal>,
    Path(node): Path<String>,
) -> Result<Response, Problem> {
    let node = id(&node)?;
    let promote = async {
        control.node.teach(node).await?;
        Ok(control.node.promote(node).await?)
    };
    control.deed(&who, ("voter.promote", named(Some(node))), promote).await?;
    warn!(by = who.actor.as_str(), node, "a voter was promoted");
    Ok(shapes::answer(StatusCode::OK, json!({ "members": listed(&control) })))
}

pub(super) async fn remove(
    State(control): State<Arc<Control>>,
    Extension(who): Extension<Principal>,
    Path(node): Path<String>,
) -> Result<Response, Problem> {
    let node = id(&node)?;
    let remove = async { Ok(control.node.remove(node).await?) };
    control.deed(&who, ("voter.remove", named(Some(node))), remove).await?;
    warn!(by = who.actor.as_str(), node, "a voter was removed");
    Ok(shapes::answer(StatusCode::OK, json!({ "members": listed(&control) })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Heir {
    /// Whoever holds most, where nobody is named.
    to: Option<u64>,
}

pub(super) async fn hand_over(
    State(control): State<Arc<Control>>,
    Extension(who): Extension<Principal>,
    asked: Asked,
) -> Result<Response, Problem> {
    let Heir { to } = asked.json()?;
    let hand_over = async { Ok(control.node.hand_over(to).await?) };
    control.deed(&who, ("voter.hand_over", named(to)), hand_over).await?;
    warn!(by = who.actor.as_str(), to, "leadership was handed over");
    Ok(status(State(control)).await)
}

pub(super) async fn finish(
    State(control): State<Arc<Control>>,
    Extension(who): Extension<Principal>,
) -> Result<Response, Problem> {
    let finish = async { Ok(control.node.finish_change().await?) };
    control.deed(&who, ("voter.finish", None), finish).await?;
    Ok(status(State(control)).await)
}

pub(super) async fn raise(
    State(control): State<Arc<Control>>,
    Extension(who): Extension<Principal>,
) -> Result<Response, Problem> {
    let raise = async { Ok(control.node.raise().await?) };
    control.deed(&who, ("voter.raise", None), raise).await?;
    Ok(status(State(control)).await)
}

/// Two lines: what the backup is, signed by the region, and the ledger. The digest in the first tells whether the second came
/// whole.
pub(super) async fn backup(
    State(control): State<Arc<Control>>,
    Extension(who): Extension<Principal>,
) -> Result<Response, Problem> {
    let back_up = async { Ok(control.node.backup().await?) };
    let backup: Backup = control.deed(&who, ("voter.backup", None), back_up).await?;
    let Backup { cluster, node, index, revision, at, bytes, sha256, .. } = &backup;
    warn!(by = who.actor.as_str(), index, "a backup was taken");
    let manifest = json!({
        "format": 2,
        "cluster": cluster,
        "node": node,
        "index": index,
        "revision": revision,
        "at": show(*at),
        "bytes": bytes,
        "sha256": STANDARD.encode(sha256),
    });
    let signed = control.region_key.sign(BACKUP_TYPE, manifest.to_string().as_bytes());
    let head = json!({ "manifest": manifest, "signed": signed });
    let body = stream::written(move |to| {
        writeln!(to, "{head}")?;
        backup.write(to)
    });
    Ok(([(CONTENT_TYPE, "application/x-ndjson"), (CACHE_CONTROL, "no-store")], body)
        .into_response())
}
