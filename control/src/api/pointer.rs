//! Which version decides for a tenant in an environment: activate, roll out, stop, go back.
//!
//! Not here: the rules (`ledger`), and what moves a rollout on (`rollouts`). Invariant: whoever activates says which pointer
//! was seen, and who was too late is told what the pointer is; nothing that is enforced stops being enforced but by
//! `downgrade` or by going back to what decided before.

use std::cmp::Ordering;

use aegis_ledger::{Choice, Line, LineKey, Pointer, ReleaseAct, ReleaseRefusal, Rollout};
use aegis_policy_rollout::{Limit, Observed, Progress, Stage};
use axum::Extension;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::IF_MATCH;
use serde::Deserialize;
use serde_json::{Value, json};

use super::policies::{Answer, Shared, line, told};
use super::reads::Known;
use crate::problem::Problem;
use crate::read::Asked;
use crate::rollouts::Watched;
use crate::{Control, Principal, clock, shapes};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Activation {
    active: u32,
    shadow: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    candidate: u32,
    stages: Vec<Stage>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Back {
    to: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Overtaking {
    past: Option<u64>,
}

/// The epoch that the sender saw; `*` is whatever there is (RFC 9110 §13.1.1).
fn seen(control: &Control, key: &LineKey, asked: &Asked) -> Result<u64, Problem> {
    if !asked.headers.contains_key(IF_MATCH) {
        return Err(Problem::NoIfMatch);
    }
    let now = || Ok(epoch(current(control, key)?.0.as_ref()));
    asked.seen().map_or_else(now, Ok)
}

/// Before the first pointer it is zero.
fn epoch(pointer: Option<&Pointer>) -> u64 {
    pointer.map_or(0, |pointer| pointer.epoch)
}

/// What is known of a line's pointer.
fn current(control: &Control, key: &LineKey) -> Result<(Option<Pointer>, Vec<u32>), Problem> {
    let ledger = control.node().ledger();
    let line: &Line = ledger.releases().line(key).ok_or(Problem::NotFound)?;
    Ok((line.pointer().cloned(), line.past().to_vec()))
}

async fn shape(control: &Control, key: &LineKey) -> Result<(u64, Value), Problem> {
    let (pointer, past) = current(control, key)?;
    let epoch = epoch(pointer.as_ref());
    let observed = match pointer.as_ref().and_then(|pointer| Watched::of(key, pointer)) {
        Some(watched) => control.observations.observed(&watched).await,
        None => None,
    };
    let pointer = pointer.as_ref();
    let last = pointer.and_then(|pointer| pointer.rollout.as_ref());
    let value = json!({
        "tenant": key.tenant,
        "environment": key.environment,
        "epoch": epoch,
        "active": pointer.map(|pointer| pointer.choice.active),
        "shadow": pointer.and_then(|pointer| pointer.choice.shadow),
        "rollout": last.map(|rollout| rollout_shape(rollout, observed)),
        "past": past,
        "pinned": pointer.is_some_and(|pointer| pointer.is_pinned),
        "author": control.origin_shape(key),
        "by": pointer.map(|pointer| &pointer.by),
        "at": pointer.map(|pointer| clock::show(pointer.at)),
    });
    Ok((epoch, value))
}

fn rollout_shape(rollout: &Rollout, observed: Option<Observed>) -> Value {
    let (state, stage, since, by): (_, _, _, Option<Limit>) = match rollout.progress {
        Progress::Running { stage, since } => ("running", Some(stage), Some(since), None),
        Progress::Held { stage, since, by } => ("held", Some(stage), Some(since), Some(by)),
        Progress::Complete => ("complete", None, None, None),
        Progress::RolledBack { by } => ("rolled_back", None, None, Some(by)),
        Progress::Aborted => ("aborted", None, None, None),
    };
    json!({
        "id": rollout.plan.id(),
        "candidate": rollout.candidate,
        "stages": rollout.plan.stages(),
        "state": state,
        "paused": rollout.is_paused,
        "stage": stage,
        "since": since.map(clock::show),
        "limit": by,
        "observed": observed,
    })
}

pub(super) async fn show(State(control): Shared, Path(path): Path<(String, String)>) -> Answer {
    let (line, known) = (line(path)?, Known::of(&control).await);
    let shown = shape(&control, &line).await;
    known.mark(shown.map(|(epoch, value)| shapes::tagged(StatusCode::OK, epoch, value)))
}

/// Proposes, and answers with the pointer as it is then; who lost hears against what.
async fn turn(control: &Control, who: &Principal, asked: &Asked, act: ReleaseAct) -> Answer {
    let key = line_of(&act).ok_or(Problem::NotFound)?.clone();
    match control.release(&who.actor, act, asked.once(who)?).await {
        Ok(_) => {
            let (epoch, value) = shape(control, &key).await?;
            Ok(shapes::tagged(StatusCode::OK, epoch, value))
        }
        Err(Problem::Release(ReleaseRefusal::Moved { .. })) => {
            Err(Problem::Moved(Box::new(shape(control, &key).await?.1)))
        }
        Err(problem) => Err(problem),
    }
}

fn line_of(act: &ReleaseAct) -> Option<&LineKey> {
    match act {
        ReleaseAct::Store { .. } => None,
        ReleaseAct::Publish { line, .. }
        | ReleaseAct::Activate { line, .. }
        | ReleaseAct::Downgrade { line, .. }
        | ReleaseAct::Start { line, .. }
        | ReleaseAct::Observe { line, .. }
        | ReleaseAct::Pause { line, .. }
        | ReleaseAct::Resume { line, .. }
        | ReleaseAct::Abort { line, .. }
        | ReleaseAct::Rollback { line, .. }
        | ReleaseAct::Pin { line, .. }
        | ReleaseAct::Unpin { line, .. }
        | ReleaseAct::Overtake { line, .. }
        | ReleaseAct::Withdraw { line, .. } => Some(line),
        ReleaseAct::Take(taking) => Some(&taking.line),
    }
}

/// Refuses a version that stops enforcing something that the one which its sender saw active enforces. The ledger takes the
/// command at that epoch alone, so at any other it is held against nothing: an earlier one is refused there, and of a later
/// one this voter must hear first.
async fn keeps_enforcing(
    control: &Control,
    key: &LineKey,
    (seen, to): (u64, u32),
) -> Result<(), Problem> {
    let mut pointer = current(control, key)?.0;
    if epoch(pointer.as_ref()) < seen {
        control.node.catch_up().await?;
        pointer = current(control, key)?.0;
    }
    match epoch(pointer.as_ref()).cmp(&seen) {
        Ordering::Less => return Err(Problem::Moved(Box::new(shape(control, key).await?.1))),
        Ordering::Greater => return Ok(()),
        Ordering::Equal => {}
    }
    let Some(pointer) = pointer.filter(|pointer| pointer.choice.active != to) else {
        return Ok(());
    };
    let mut changes = control.changes(key, (pointer.choice.active, to)).await?;
    changes.retain(|change| change.downgrade);
    if changes.is_empty() { Ok(()) } else { Err(Problem::Downgrade(Box::new(told(&changes)))) }
}

pub(super) async fn activate(
    State(control): Shared,
    Extension(who): Extension<Principal>,
    Path(path): Path<(String, String)>,
    asked: Asked,
) -> Answer {
    let (line, Activation { active, shadow }) = (line(path)?, asked.json()?);
    let seen = seen(&control, &line, &asked)?;
    keeps_enforcing(&control, &line, (seen, active)).await?;
    let choice = Choice { active, shadow };
    turn(&control, &who, &asked, ReleaseAct::Activate { line, seen, choice }).await
}

/// The same for a version that enforces less: a route of its own, for the permission `policy:downgrade`.
pub(super) async fn downgrade(
    State(control): Shared,
    Extension(who): Extension<Principal>,
    Path(path): Path<(String, String)>,
    asked: Asked,
) -> Answer {
    let (line, Activation { active, shadow }) = (line(path)?, asked.json()?);
    let seen = seen(&control, &line, &asked)?;
    let choice = Choice { active, shadow };
    turn(&control, &who, &asked, ReleaseAct::Downgrade { line, seen, choice }).await
}

pub(super) async fn start(
    State(control): Shared,
    Extension(who): Extension<Principal>,
    Path(path): Path<(String, String)>,
    asked: Asked,
) -> Answer {
    let (line, Start { candidate, stages }) = (line(path)?, asked.json()?);
    let seen = seen(&control, &line, &asked)?;
    keeps_enforcing(&control, &line, (seen, candidate)).await?;
    turn(&control, &who, &asked, ReleaseAct::Start { line, seen, candidate, stages }).await
}

pub(super) async fn roll_back(
    State(control): Shared,
    Extension(who): Extension<Principal>,
    Path(path): Path<(String, String)>,
    asked: Asked,
) -> Answer {
    let (line, Back { to }) = (line(path)?, asked.json()?);
    let act = ReleaseAct::Rollback { line, seen: asked.seen(), to };
    turn(&control, &who, &asked, act).await
}

/// Has gateways that hold a later epoch than the region, as after a restore, take what it says. They may go back to a version
/// that enforces less, so it takes `policy:downgrade`.
pub(super) async fn overtake(
    State(control): Shared,
    Extension(who): Extension<Principal>,
    Path(path): Path<(String, String)>,
    asked: Asked,
) -> Answer {
    let (line, Overtaking { past }) = (line(path)?, asked.json()?);
    let past = match past {
        Some(past) => past,
        None => control.fleet.newest_epoch(&line).await,
    };
    let act = ReleaseAct::Overtake { line, seen: asked.seen(), past };
    turn(&control, &who, &asked, act).await
}

/// Adds a handler of a request that says nothing but what it is.
macro_rules! plain {
    ($name:ident, $act:ident) => {
        pub(super) async fn $name(
            State(control): Shared,
            Extension(who): Extension<Principal>,
            Path(path): Path<(String, String)>,
            asked: Asked,
        ) -> Answer {
            let (line, Nothing {}) = (line(path)?, asked.json()?);
            turn(&control, &who, &asked, ReleaseAct::$act { line, seen: asked.seen() }).await
        }
    };
}

plain!(pause, Pause);
plain!(resume, Resume);
plain!(abort, Abort);
plain!(pin, Pin);
plain!(unpin, Unpin);
