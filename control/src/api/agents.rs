//! Agents: register, list, show, change, disable, enable, and hand out a new enrolment code.
//!
//! Not here: enrolling with the code (`enrol`). Invariant: a code leaves in the answer that made it and in no other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aegis_domain::{AgentId, OrgId, TenantId, Ttl};
use aegis_registry::{
    Action, Agent, AgentKey, AgentName, Amendment, Attribute, Change, CodeHash, Event, Group,
    Limits, Mode, NewAgent, NewCode, Scope, Standing,
};
use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use crate::page::Page;
use crate::problem::Problem;
use crate::read::{Asked, agent_name};
use crate::{Control, Principal, clock, page, shapes};
use aegis_control_commands::Proposal;

type Shared = State<Arc<Control>>;
type Answer = Result<Response, Problem>;

const CODE_TTL_S: u64 = 60 * 60;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Registration {
    tenant: TenantId,
    id: AgentId,
    org: OrgId,
    parent: Option<AgentId>,
    #[serde(default)]
    scopes: BTreeSet<Scope>,
    #[serde(default)]
    groups: BTreeSet<Group>,
    #[serde(default)]
    attributes: BTreeMap<Box<str>, Attribute>,
    mode: Option<ModeName>,
    #[serde(default)]
    limits: Limits,
    key: Option<AgentKey>,
    code_ttl_s: Option<u64>,
}

/// A mode by its name.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
struct ModeName(Mode);

impl TryFrom<String> for ModeName {
    type Error = &'static str;
    fn try_from(name: String) -> Result<Self, Self::Error> {
        Mode::parse(&name).map(Self).ok_or("a mode is bound, once, proof or mtls")
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotation {
    code_ttl_s: Option<u64>,
    overlap_s: Option<u64>,
}

/// A code that was drawn, to be shown once.
struct Drawn {
    text: String,
    code: NewCode,
}

fn draw(ttl_s: Option<u64>, overlap_s: Option<u64>) -> Result<Drawn, Problem> {
    let text = clock::secret("aegis-enrol-")?;
    let hash = CodeHash::of(&text);
    let ttl = Ttl::from_s(ttl_s.unwrap_or(CODE_TTL_S));
    Ok(Drawn { text, code: NewCode { hash, ttl, overlap: Ttl::from_s(overlap_s.unwrap_or(0)) } })
}

/// Registers an agent; one without a key is given a code to enrol with.
pub(super) async fn register(
    State(control): Shared,
    Extension(who): Extension<Principal>,
    asked: Asked,
) -> Answer {
    let new: Registration = asked.json()?;
    who.reaches(&new.tenant)?;
    let drawn = match new.key {
        None => Some(draw(new.code_ttl_s, None)?),
        Some(_) => None,
    };
    let agent = NewAgent {
        tenant: new.tenant,
        id: new.id,
        org: new.org,
        parent: new.parent,
        scopes: new.scopes,
        groups: new.groups,
        attributes: new.attributes,
        mode: new.mode.map_or(Mode::Bound, |mode| mode.0),
        limits: new.limits,
        key: new.key,
    };
    let code = drawn.as_ref().map(|drawn| drawn.code.clone());
    let action = Action::Register { agent: Box::new(agent), code };
    let proposal = Proposal { once: asked.once(&who)?, by: who.actor, action };
    let event = control.ledger.propose(proposal).await?;
    with_code(StatusCode::CREATED, &control, &event, drawn)
}

/// The agent an event left, and the code if this very request made it.
fn with_code(status: StatusCode, control: &Control, event: &Event, drawn: Option<Drawn>) -> Answer {
    let made = event.changes.iter().find_map(|change| match change {
        Change::Code(code) => Some(code),
        Change::Agent(_) | Change::Key(_) | Change::Revoked(_) | Change::CodeGone(_) => None,
        Change::Budget(_) | Change::BudgetGone(_) | Change::Adjustment(_) => None,
        Change::Definition(_) | Change::DefinitionGone(_) => None,
    });
    let enrolment = drawn.zip(made).filter(|(drawn, made)| drawn.code.hash == made.hash);
    let enrolment = enrolment.map(|(drawn, made)| shapes::code(&drawn.text, made));
    let agent = match (agent_of(event), made) {
        (Some(agent), _) => agent.clone(),
        (None, Some(code)) => current(control, &code.agent_name())?,
        (None, None) => return Err(Problem::NotFound),
    };
    let body = json!({ "agent": shapes::agent(&agent, clock::now()), "enrolment": enrolment });
    Ok(shapes::tagged(status, agent.changed, body))
}

fn agent_of(event: &Event) -> Option<&Agent> {
    event.changes.iter().find_map(|change| match change {
        Change::Agent(agent) => Some(agent.as_ref()),
        Change::Key(_) | Change::Revoked(_) | Change::Code(_) | Change::CodeGone(_) => None,
        Change::Budget(_) | Change::BudgetGone(_) | Change::Adjustment(_) => None,
        Change::Definition(_) | Change::DefinitionGone(_) => None,
    })
}

fn current(control: &Control, name: &AgentName) -> Result<Agent, Problem> {
    let registry = control.ledger.read();
    registry.view().agent(&name.tenant, &name.id).cloned().ok_or(Problem::NotFound)
}

/// `?tenant=..&limit=..&cursor=..`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    tenant: Option<TenantId>,
    limit: Option<usize>,
    cursor: Option<String>,
}

pub(super) async fn list(
    State(control): Shared,
    Extension(who): Extension<Principal>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Answer {
    let Wanted { tenant, limit, cursor } = page::query(wanted)?;
    let page: Page<AgentName> = Page::read(limit, cursor.as_deref())?;
    let now = clock::now();
    let registry = control.ledger.read();
    let is_wanted = |agent: &&Agent| {
        who.sees(Some(&agent.tenant))
            && tenant.as_ref().is_none_or(|tenant| agent.tenant == *tenant)
    };
    let agents = registry.view().agents(page.after.as_ref()).filter(is_wanted);
    let (agents, next) = page.cut(agents, |agent| agent.name());
    let agents: Vec<_> = agents.into_iter().map(|agent| shapes::agent(agent, now)).collect();
    Ok(shapes::answer(StatusCode::OK, json!({ "agents": agents, "next": next })))
}

pub(super) async fn show(State(control): Shared, Path(path): Path<(String, String)>) -> Answer {
    let agent = current(&control, &agent_name(path)?)?;
    let body = json!({ "agent": shapes::agent(&agent, clock::now()), "enrolment": null });
    Ok(shapes::tagged(StatusCode::OK, agent.changed, body))
}

pub(super) async fn amend(
    State(control): Shared,
    Extension(who): Extension<Principal>,
    Path(path): Path<(String, String)>,
    asked: Asked,
) -> Answer {
    let amendment: Box<Amendment> = asked.json()?;
    let action = Action::Amend { agent: agent_name(path)?, seen: asked.seen(), amendment };
    act(&control, who, &asked, action, None).await
}

pub(super) async fn disable(
    State(control): Shared,
    Extension(who): Extension<Principal>,
    Path(path): Path<(String, String)>,
    asked: Asked,
) -> Answer {
    stand(&control, who, path, &asked, Standing::Disabled).await
}

pub(super) async fn enable(
    State(control): Shared,
    Extension(who): Extension<Principal>,
    Path(path): Path<(String, String)>,
    asked: Asked,
) -> Answer {
    stand(&control, who, path, &asked, Standing::Active).await
}

async fn stand(
    control: &Control,
    who: Principal,
    path: (String, String),
    asked: &Asked,
    standing: Standing,
) -> Answer {
    let action = Action::SetStanding { agent: agent_name(path)?, seen: asked.seen(), standing };
    act(control, who, asked, action, None).await
}

/// Hands out a code for a new key; the old one counts until the code is spent, and for the overlap after that.
pub(super) async fn rotate(
    State(control): Shared,
    Extension(who): Extension<Principal>,
    Path(path): Path<(String, String)>,
    asked: Asked,
) -> Answer {
    let rotation: Rotation = asked.json()?;
    let drawn = draw(rotation.code_ttl_s, rotation.overlap_s)?;
    let (agent, seen) = (agent_name(path)?, asked.seen());
    let action = Action::IssueCode { agent, seen, code: drawn.code.clone() };
    act(&control, who, &asked, action, Some(drawn)).await
}

async fn act(
    control: &Control,
    who: Principal,
    asked: &Asked,
    action: Action,
    drawn: Option<Drawn>,
) -> Answer {
    let proposal = Proposal { once: asked.once(&who)?, by: who.actor, action };
    let event = control.ledger.propose(proposal).await?;
    with_code(StatusCode::OK, control, &event, drawn)
}
