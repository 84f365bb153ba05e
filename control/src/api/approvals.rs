//! Approvals: calls that wait for a person, what people answered, and one-time overrides of calls that did not ask.
//!
//! Not here: the rules (`aegis-ledger`), and which call asks (`decide`). Invariant: what may go out on a grant is used up
//! here before it goes, by the ledger's one order of commands, so that two gateways never use one grant.

use std::collections::BTreeSet;
use std::sync::Arc;

use aegis_domain::{AgentId, DecisionId, ParamsHash, RuleId, TenantId, Timestamp, ToolName, Ttl};
use aegis_ledger::{
    Action, Approval, ApprovalAct, ApprovalKey, ApprovalRefusal, ApprovalState, WaitingCall,
};
use aegis_raft_store::NodeError;
use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::reads::Known;
use crate::page::Page;
use crate::problem::Problem;
use crate::read::Asked;
use crate::{Control, Principal, clock, page, shapes};

type Shared = State<Arc<Control>>;
type Answer = Result<Response, Problem>;

/// How long what is granted waits for its call, unless said otherwise.
const TTL_S: u32 = 15 * 60;

/// The digest of a call's parameters: 43 characters of base64url.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Params(ParamsHash);

impl TryFrom<String> for Params {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        let digest = bytes.map(|bytes| Self(ParamsHash::from_bytes(bytes)));
        digest.ok_or("a digest is 43 characters of base64url")
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AskWish {
    params_hash: Params,
    rules: BTreeSet<RuleId>,
    agent: AgentId,
    tool: ToolName,
    #[serde(default)]
    routes: BTreeSet<Box<str>>,
    ttl_s: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OverrideWish {
    tenant: TenantId,
    params_hash: Params,
    rules: BTreeSet<RuleId>,
    ttl_s: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConsumeWish {
    params_hash: Params,
    rules: BTreeSet<RuleId>,
}

/// Where an approval stands at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Standing {
    Open,
    Granted,
    Denied,
    Consumed,
    Expired,
}

impl Standing {
    fn of(approval: &Approval, now: Timestamp) -> Self {
        match approval.state {
            ApprovalState::Denied { .. } => Standing::Denied,
            ApprovalState::Consumed { .. } => Standing::Consumed,
            ApprovalState::Open | ApprovalState::Granted { .. } if approval.expires_at <= now => {
                Standing::Expired
            }
            ApprovalState::Open => Standing::Open,
            ApprovalState::Granted { .. } => Standing::Granted,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Standing::Open => "open",
            Standing::Granted => "granted",
            Standing::Denied => "denied",
            Standing::Consumed => "consumed",
            Standing::Expired => "expired",
        }
    }
}

/// `?tenant=..&standing=..&limit=..&cursor=..`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    tenant: Option<TenantId>,
    standing: Option<Standing>,
    limit: Option<usize>,
    cursor: Option<String>,
}

pub(super) async fn list(
    State(control): Shared,
    Extension(who): Extension<Principal>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Answer {
    let Wanted { tenant, standing, limit, cursor } = page::query(wanted)?;
    let page: Page<ApprovalKey> = Page::read(limit, cursor.as_deref())?;
    let (known, now) = (Known::of(&control).await, clock::now());
    let ledger = control.node.ledger();
    let is_wanted = |(key, approval): &(&ApprovalKey, &Approval)| {
        who.sees(Some(&key.tenant))
            && tenant.as_ref().is_none_or(|tenant| key.tenant == *tenant)
            && standing.is_none_or(|standing| Standing::of(approval, now) == standing)
    };
    let all = ledger.approvals().iter(page.after.as_ref()).filter(is_wanted);
    let (approvals, next) = page.cut(all, |(key, _)| (*key).clone());
    let approvals: Vec<_> = approvals.into_iter().map(|(key, it)| shape(key, it, now)).collect();
    let body = json!({ "approvals": approvals, "next": next });
    known.mark(Ok(shapes::answer(StatusCode::OK, body)))
}

pub(super) async fn show(State(control): Shared, Path(path): Path<(String, String)>) -> Answer {
    let (key, known) = (key(path)?, Known::of(&control).await);
    known.mark(told(StatusCode::OK, &control, &key))
}

/// A call waits for a person.
pub(super) async fn ask(
    State(control): Shared,
    Extension(who): Extension<Principal>,
    Path(path): Path<(String, String)>,
    asked: Asked,
) -> Answer {
    let key = key(path)?;
    let AskWish { params_hash, rules, agent, tool, routes, ttl_s } = asked.json()?;
    let (params, expires_at) = (params_hash.0, expiry(ttl_s));
    let call = WaitingCall { agent, tool, routes };
    let act = ApprovalAct::Ask { key: key.clone(), params, rules, expires_at, call };
    control.command(&who, &asked, Action::Approval(act)).await?;
    told(StatusCode::CREATED, &control, &key)
}

pub(super) async fn grant(
    State(control): Shared,
    Extension(who): Extension<Principal>,
    Path(path): Path<(String, String)>,
    asked: Asked,
) -> Answer {
    let key = key(path)?;
    let act = ApprovalAct::Grant { key: key.clone() };
    answer(&control, &who, &asked, (&key, act)).await
}

pub(super) async fn deny(
    State(control): Shared,
    Extension(who): Extension<Principal>,
    Path(path): Path<(String, String)>,
    asked: Asked,
) -> Answer {
    let key = key(path)?;
    let act = ApprovalAct::Deny { key: key.clone() };
    answer(&control, &who, &asked, (&key, act)).await
}

/// `?params_hash=..`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfCall {
    params_hash: Params,
}

/// What a gateway asks before it uses a grant: which rules this very call may pass.
pub(super) async fn granted(
    State(control): Shared,
    Path(path): Path<(String, String)>,
    call: Result<Query<OfCall>, QueryRejection>,
) -> Answer {
    let (key, OfCall { params_hash: Params(params) }) = (key(path)?, page::query(call)?);
    let rules = control.granted(&key, &params).await?;
    Ok(shapes::answer(StatusCode::OK, json!({ "rules": rules })))
}

impl Control {
    /// The rules that were granted a call by now, anywhere in the region; fails where that cannot be known.
    pub async fn granted(
        &self,
        key: &ApprovalKey,
        params: &ParamsHash,
    ) -> Result<BTreeSet<RuleId>, NodeError> {
        let known = || self.node.ledger().approvals().granted(key, params, clock::now());
        let rules = known();
        if !rules.is_empty() {
            // Should it be used up elsewhere, the ledger will say so when it is consumed.
            return Ok(rules);
        }
        self.node.catch_up().await?;
        Ok(known())
    }
}

/// The call is about to go out.
pub(super) async fn consume(
    State(control): Shared,
    Extension(who): Extension<Principal>,
    Path(path): Path<(String, String)>,
    asked: Asked,
) -> Answer {
    let key = key(path)?;
    let ConsumeWish { params_hash: Params(params), rules } = asked.json()?;
    let act = ApprovalAct::Consume { key: key.clone(), params, rules };
    answer(&control, &who, &asked, (&key, act)).await
}

/// Grants a call that did not ask.
pub(super) async fn override_once(
    State(control): Shared,
    Extension(who): Extension<Principal>,
    asked: Asked,
) -> Answer {
    let OverrideWish { tenant, params_hash: Params(params), rules, ttl_s } = asked.json()?;
    who.reaches(&tenant)?;
    // A request sent again under one key is about the same override.
    let id = match asked.once(&who)? {
        Some((client, _)) => named_by(&client.to_string()),
        None => DecisionId::new(clock::now().unix_ms(), clock::random()?),
    };
    let key = ApprovalKey { tenant, id };
    let expires_at = expiry(ttl_s);
    let act = ApprovalAct::Override { key: key.clone(), params, rules, expires_at };
    control.command(&who, &asked, Action::Approval(act)).await?;
    told(StatusCode::CREATED, &control, &key)
}

async fn answer(
    control: &Control,
    who: &Principal,
    asked: &Asked,
    (key, act): (&ApprovalKey, ApprovalAct),
) -> Answer {
    // What was sent before under one key is answered as it was then, whatever changed since.
    let is_new = asked.once(who)?.is_none();
    if let Some(seen) = asked.seen().filter(|_| is_new) {
        // The ledger lets nobody answer twice, so that nothing can come between this look and the answer but an answer.
        let known = control.node.ledger().approvals().get(key).map(|approval| approval.changed);
        if known.is_some_and(|changed| changed != seen) {
            return Err(Problem::Refused(aegis_registry::Refusal::Changed));
        }
    }
    control.command(who, asked, Action::Approval(act)).await?;
    told(StatusCode::OK, control, key)
}

fn told(status: StatusCode, control: &Control, key: &ApprovalKey) -> Answer {
    let ledger = control.node.ledger();
    let approval = ledger.approvals().get(key);
    let approval = approval.ok_or(Problem::Declined(ApprovalRefusal::Unknown.into()))?;
    Ok(shapes::tagged(status, approval.changed, shape(key, approval, clock::now())))
}

/// What is no name of an approval names none.
fn key((tenant, id): (String, String)) -> Result<ApprovalKey, Problem> {
    let tenant = TenantId::parse(&tenant).map_err(|_| Problem::NotFound)?;
    Ok(ApprovalKey { tenant, id: DecisionId::parse(&id).map_err(|_| Problem::NotFound)? })
}

fn expiry(ttl_s: Option<u32>) -> Timestamp {
    clock::now().plus(Ttl::from_s(u64::from(ttl_s.unwrap_or(TTL_S))))
}

fn named_by(client: &str) -> DecisionId {
    let digest: [u8; 32] = Sha256::digest(client).into();
    let (mut ms, mut rest) = ([0; 8], [0; 10]);
    ms.iter_mut().skip(2).zip(&digest).for_each(|(to, from)| *to = *from);
    rest.iter_mut().zip(digest.iter().skip(6)).for_each(|(to, from)| *to = *from);
    DecisionId::new(u64::from_be_bytes(ms), rest)
}

fn shape(key: &ApprovalKey, approval: &Approval, now: Timestamp) -> Value {
    let (answered_by, used_by, used_at) = match &approval.state {
        ApprovalState::Open => (None, None, None),
        ApprovalState::Granted { by } | ApprovalState::Denied { by } => (Some(by), None, None),
        ApprovalState::Consumed { granted_by, by, at } => {
            (Some(granted_by), Some(by), Some(clock::show(*at)))
        }
    };
    let call = approval.call.as_ref();
    json!({
        "tenant": key.tenant,
        "id": key.id,
        "kind": if call.is_some() { "approval" } else { "override" },
        "standing": Standing::of(approval, now).as_str(),
        "agent": call.map(|call| &call.agent),
        "tool": call.map(|call| &call.tool),
        "routes": call.map(|call| &call.routes).into_iter().flatten().collect::<Vec<_>>(),
        "rules": approval.rules,
        "params_hash": approval.params.to_string(),
        "raised_by": approval.raised_by,
        "raised_at": clock::show(approval.raised_at),
        "expires_at": clock::show(approval.expires_at),
        "answered_by": answered_by,
        "used_by": used_by,
        "used_at": used_at,
        "version": approval.changed,
    })
}
