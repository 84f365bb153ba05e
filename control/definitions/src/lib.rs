//! Tools and limits of tenants, defined for the whole region: made, shown, changed and withdrawn.
//!
//! Not here: what a definition may say (`config`), bounds and revisions (`agents/registry`), and what a gateway makes of it.
//! Invariant: the ledger is given no text that this version cannot read whole, and nobody changes what a tool costs or what
//! it is trusted with who may not.

mod read;

use std::sync::Arc;

use aegis_access::{Permission, Principal};
use aegis_control_commands::{Ledger, Proposal};
use aegis_control_messages::page::{self, Pages};
use aegis_control_messages::problem::Problem;
use aegis_control_messages::read::{Asked, tenant};
use aegis_control_messages::{clock, shapes};
use aegis_domain::ToolName;
use aegis_registry::{Action, Change, Defined, Definition, DefinitionText, Part, Refusal};
use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

type Answer = Result<Response, Problem>;

/// Whoever serves these routes.
pub trait Keeper: Send + Sync + 'static {
    fn ledger(&self) -> &dyn Ledger;
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    text: String,
}

pub async fn list<K: Keeper>(
    State(keeper): State<Arc<K>>,
    Path(of): Path<String>,
    pages: Result<Query<Pages>, QueryRejection>,
) -> Answer {
    let tenant = tenant(&of)?;
    let page = page::query(pages)?.page::<ToolName>()?;
    // The limits of a tenant come before its tools.
    let after = page.after.clone().map_or(Part::Limits, Part::Tool);
    let registry = keeper.ledger().read();
    let tools = registry.definitions_of(&tenant, Some(&after));
    let tools = tools.filter_map(|it| Some((tool_of(it)?, it)));
    let (tools, next) = page.cut(tools, |(name, _)| (*name).clone());
    let tools: Vec<_> = tools.into_iter().map(|(_, it)| shape(it)).collect();
    Ok(shapes::answer(StatusCode::OK, json!({ "tools": tools, "next": next })))
}

pub async fn show_tool<K: Keeper>(
    State(keeper): State<Arc<K>>,
    Path((tenant, name)): Path<(String, String)>,
) -> Answer {
    show(keeper.as_ref(), &tool(&tenant, &name)?)
}

pub async fn show_limits<K: Keeper>(
    State(keeper): State<Arc<K>>,
    Path(of): Path<String>,
) -> Answer {
    show(keeper.as_ref(), &limits(&of)?)
}

pub async fn define_tool<K: Keeper>(
    State(keeper): State<Arc<K>>,
    Extension(who): Extension<Principal>,
    Path((tenant, name)): Path<(String, String)>,
    asked: Asked,
) -> Answer {
    let (of, text) = (tool(&tenant, &name)?, text(&asked)?);
    let is_entrusted = read::tool(&of, &text)?;
    let seen = trusted(keeper.as_ref(), (&who, &asked), &of, is_entrusted)?;
    propose(keeper.as_ref(), (who, &asked), Action::Define { of, seen, text: Some(text) }).await
}

pub async fn define_limits<K: Keeper>(
    State(keeper): State<Arc<K>>,
    Extension(who): Extension<Principal>,
    Path(of): Path<String>,
    asked: Asked,
) -> Answer {
    let (of, text) = (limits(&of)?, text(&asked)?);
    read::limits(&text)?;
    let action = Action::Define { of, seen: asked.seen(), text: Some(text) };
    propose(keeper.as_ref(), (who, &asked), action).await
}

/// What a text would define, and nothing is defined.
pub async fn check_tool(Path((tenant, name)): Path<(String, String)>, asked: Asked) -> Answer {
    let of = tool(&tenant, &name)?;
    let is_entrusted = read::tool(&of, &text(&asked)?)?;
    let mut value = self::name(&of);
    shapes::extend(&mut value, [json!({ "entrusted": is_entrusted })]);
    Ok(shapes::answer(StatusCode::OK, value))
}

/// From then on the region says nothing of it.
pub async fn withdraw_tool<K: Keeper>(
    State(keeper): State<Arc<K>>,
    Extension(who): Extension<Principal>,
    Path((tenant, name)): Path<(String, String)>,
    asked: Asked,
) -> Answer {
    let of = tool(&tenant, &name)?;
    let seen = trusted(keeper.as_ref(), (&who, &asked), &of, false)?;
    propose(keeper.as_ref(), (who, &asked), Action::Define { of, seen, text: None }).await
}

pub async fn withdraw_limits<K: Keeper>(
    State(keeper): State<Arc<K>>,
    Extension(who): Extension<Principal>,
    Path(of): Path<String>,
    asked: Asked,
) -> Answer {
    let action = Action::Define { of: limits(&of)?, seen: asked.seen(), text: None };
    propose(keeper.as_ref(), (who, &asked), action).await
}

/// Holds a caller to what a tool is trusted with, before and after; tells which version must still stand.
fn trusted(
    keeper: &impl Keeper,
    (who, asked): (&Principal, &Asked),
    of: &Defined,
    becomes_entrusted: bool,
) -> Result<Option<u64>, Problem> {
    let Err(unpermitted) = who.needs(Permission::ToolsEntrust) else { return Ok(asked.seen()) };
    let before = keeper.ledger().read().definition(of).cloned();
    // What an earlier version took and this one cannot read is nobody's to change but theirs who may change all.
    let is_entrusted = |it: &Definition| read::tool(of, &it.text).unwrap_or(true);
    if becomes_entrusted || before.as_ref().is_some_and(is_entrusted) {
        return Err(unpermitted.into());
    }
    // Somebody may entrust it meanwhile, or define what is not there yet; and of what the sender saw and this voter has not
    // heard of, it cannot say what it is trusted with.
    let known = before.map_or(0, |it| it.changed);
    match asked.seen() {
        Some(seen) if seen > known => Err(Problem::Refused(Refusal::Changed)),
        seen => Ok(Some(seen.unwrap_or(known))),
    }
}

async fn propose(
    keeper: &impl Keeper,
    (who, asked): (Principal, &Asked),
    action: Action,
) -> Answer {
    let proposal = Proposal { once: asked.once(&who)?, by: who.actor, action };
    let event = keeper.ledger().propose(proposal).await?;
    let answer = event.changes.iter().find_map(|change| match change {
        Change::Definition(it) => Some(shapes::tagged(StatusCode::OK, it.changed, shape(it))),
        Change::DefinitionGone(of) => Some(shapes::answer(StatusCode::OK, name(of))),
        Change::Agent(_) | Change::Key(_) | Change::Revoked(_) | Change::Code(_) => None,
        Change::CodeGone(_) | Change::Budget(_) | Change::BudgetGone(_) => None,
        Change::Adjustment(_) => None,
    });
    answer.ok_or(Problem::NotFound)
}

fn show(keeper: &impl Keeper, of: &Defined) -> Answer {
    let registry = keeper.ledger().read();
    let known = registry.definition(of).ok_or(Problem::NotFound)?;
    Ok(shapes::tagged(StatusCode::OK, known.changed, shape(known)))
}

fn shape(definition: &Definition) -> Value {
    let mut value = name(&definition.of);
    let Definition { of: _, text, by, at, changed } = definition;
    let set = json!({
        "text": text.as_str(),
        "set_by": by,
        "set_at": clock::show(*at),
        "version": changed,
    });
    shapes::extend(&mut value, [set]);
    value
}

fn name(of: &Defined) -> Value {
    match &of.part {
        Part::Tool(name) => json!({ "tenant": of.tenant, "name": name }),
        Part::Limits => json!({ "tenant": of.tenant }),
    }
}

fn tool_of(definition: &Definition) -> Option<&ToolName> {
    match &definition.of.part {
        Part::Tool(name) => Some(name),
        Part::Limits => None,
    }
}

fn text(asked: &Asked) -> Result<DefinitionText, Problem> {
    let Wish { text } = asked.json()?;
    DefinitionText::parse(&text).map_err(|error| Problem::Malformed(error.to_string()))
}

fn tool(of: &str, name: &str) -> Result<Defined, Problem> {
    let name = ToolName::parse(name).map_err(|_| Problem::NotFound)?;
    Ok(Defined { tenant: tenant(of)?, part: Part::Tool(name) })
}

fn limits(of: &str) -> Result<Defined, Problem> {
    Ok(Defined { tenant: tenant(of)?, part: Part::Limits })
}

#[cfg(test)]
mod tests;
