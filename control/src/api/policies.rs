//! The versions of a tenant's policy in an environment: push, list, show, compare.
//!
//! Not here: which version decides (`pointer`), and how files become a version (`control::policies`). Invariant: a version is
//! shown as it was pushed, for as long as its content is held, and by its digests for ever.

use std::cmp::Reverse;
use std::sync::Arc;

use aegis_audit_chain::Hash;
use aegis_document::Location;
use aegis_ledger::{Environment, LineKey, ReleaseRefusal, Version};
use aegis_policy_language::canonical;
use aegis_policy_review::diff::Change;
use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::page::Pages;
use crate::policies::{PolicyFile, opened};
use crate::problem::Problem;
use crate::read::Posted;
use crate::{Control, Principal, clock, page, shapes};

pub(super) type Shared = State<Arc<Control>>;
pub(super) type Answer = Result<Response, Problem>;

const FILES_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 255;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Push {
    files: Vec<PolicyFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Between {
    from: u32,
    to: u32,
}

/// A line by the names in a path.
pub(super) fn line((tenant, environment): (String, String)) -> Result<LineKey, Problem> {
    let tenant = crate::read::tenant(&tenant)?;
    let environment = Environment::parse(&environment).ok_or(Problem::NotFound)?;
    Ok(LineKey { tenant, environment })
}

fn shape(line: &LineKey, number: u32, version: &Version, control: &Control) -> Value {
    let hex = |hash: &Hash| canonical::hex(hash.as_bytes());
    let is_held = control.node().ledger().releases().content(version.bundle).is_some();
    json!({
        "tenant": line.tenant,
        "environment": line.environment,
        "version": number,
        "source_sha256": hex(&version.source),
        "archive_sha256": hex(&version.bundle),
        "by": version.by,
        "at": clock::show(version.at),
        "held": is_held,
        "author": control.origin_shape(line),
    })
}

/// What is known of a version without its content.
fn known(control: &Control, line: &LineKey, number: u32) -> Result<Value, Problem> {
    let version = {
        let ledger = control.node().ledger();
        let known = ledger.releases().line(line).and_then(|line| line.version(number)).cloned();
        known.ok_or(Problem::Release(ReleaseRefusal::VersionUnknown))?
    };
    Ok(shape(line, number, &version, control))
}

pub(super) async fn push(
    State(control): Shared,
    Extension(who): Extension<Principal>,
    Path(path): Path<(String, String)>,
    Posted(asked): Posted,
) -> Answer {
    let line = line(path)?;
    let Push { files } = asked.json()?;
    if files.is_empty() || files.len() > FILES_MAX {
        return Err(Problem::Malformed(format!("a push has 1 to {FILES_MAX} files")));
    }
    let is_name = |file: &PolicyFile| (1..=NAME_BYTES_MAX).contains(&file.name.len());
    if !files.iter().all(is_name) {
        return Err(Problem::Malformed(format!("a file's name has 1 to {NAME_BYTES_MAX} bytes")));
    }
    let once = asked.once(&who)?;
    let number = control.push(&who.actor, &line, files, once).await?;
    Ok(shapes::answer(StatusCode::CREATED, known(&control, &line, number)?))
}

/// The newest first.
pub(super) async fn list(
    State(control): Shared,
    Path(path): Path<(String, String)>,
    pages: Result<Query<Pages>, QueryRejection>,
) -> Answer {
    let line = line(path)?;
    let page = page::query(pages)?.page::<u32>()?;
    let versions: Vec<(u32, Version)> = {
        let ledger = control.node().ledger();
        let held = ledger.releases().line(&line);
        let all = held.into_iter().flat_map(|line| line.versions().rev());
        all.map(|(number, version)| (number, version.clone())).collect()
    };
    let after = page.after.map(Reverse);
    let rest = versions.iter().filter(|(number, _)| after.is_none_or(|it| Reverse(*number) > it));
    let (versions, next) = page.cut(rest, |(number, _)| *number);
    let versions: Vec<_> = versions
        .into_iter()
        .map(|(number, version)| shape(&line, *number, version, &control))
        .collect();
    Ok(shapes::answer(StatusCode::OK, json!({ "versions": versions, "next": next })))
}

pub(super) async fn show(
    State(control): Shared,
    Path((tenant, environment, number)): Path<(String, String, String)>,
) -> Answer {
    let line = line((tenant, environment))?;
    let number = number.parse().map_err(|_| Problem::NotFound)?;
    let mut value = known(&control, &line, number)?;
    let made_of = match control.bundle(&line, number) {
        Err(Problem::Release(ReleaseRefusal::ContentGone)) => {
            json!({ "revision": null, "bundle_sha256": null, "tests": null, "files": null })
        }
        archive => {
            let archive = archive?;
            let read = tokio::task::spawn_blocking(move || opened(&archive)).await;
            let (bundle, set) = read.map_err(|_| Problem::Compiler)??;
            let files = set.sources.iter();
            let files: Vec<_> =
                files.map(|file| json!({ "name": file.file, "text": file.text })).collect();
            json!({
                "revision": bundle.manifest().revision,
                "bundle_sha256": bundle.digest(),
                "tests": set.examples.len(),
                "files": files,
            })
        }
    };
    shapes::extend(&mut value, [made_of]);
    Ok(shapes::answer(StatusCode::OK, value))
}

pub(super) async fn diff(
    State(control): Shared,
    Path(path): Path<(String, String)>,
    between: Result<Query<Between>, QueryRejection>,
) -> Answer {
    let line = line(path)?;
    let Between { from, to } = page::query(between)?;
    let changes = control.changes(&line, (from, to)).await?;
    let body = json!({ "from": from, "to": to, "changes": told(&changes) });
    Ok(shapes::answer(StatusCode::OK, body))
}

pub(super) fn told(changes: &[Change]) -> Value {
    let place = |at: &Option<Location>| at.as_ref().map(ToString::to_string);
    let changes = changes.iter().map(|change| {
        json!({
            "path": change.path,
            "message": change.message,
            "direction": change.direction.as_str(),
            "downgrade": change.downgrade,
            "old": place(&change.old),
            "new": place(&change.new),
        })
    });
    changes.collect()
}
