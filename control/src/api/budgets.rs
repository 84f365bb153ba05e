//! Budgets: what each may spend, set for the whole region.
//!
//! Not here: what they have spent (`spend`), and corrections of that (`adjustments`). Invariant: a budget that the region
//! sets replaces the configured one of its name, and a list says of each where it comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aegis_domain::{BudgetKey, MicroUsd, Overrun, TenantId};
use aegis_registry::{Action, Budget, BudgetTerms, Change, Event};
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
use crate::{Control, Principal, clock, page, shapes};
use aegis_control_commands::Proposal;

type Shared = State<Arc<Control>>;
type Answer = Result<Response, Problem>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    limit_microusd: u64,
    warn_at_microusd: Option<u64>,
    overrun: Option<String>,
}

impl Wish {
    fn terms(self) -> Result<BudgetTerms, Problem> {
        let wrong = || Problem::Malformed("overrun is not refuse or warn".into());
        let overrun = self.overrun.as_deref().unwrap_or(Overrun::Refuse.as_str());
        Ok(BudgetTerms {
            limit: amount(self.limit_microusd)?,
            warn_at: self.warn_at_microusd.map(amount).transpose()?,
            overrun: Overrun::parse(overrun).ok_or_else(wrong)?,
        })
    }
}

/// An amount that the region can count.
pub(super) fn amount(micro_usd: u64) -> Result<MicroUsd, Problem> {
    let amount = MicroUsd::new(micro_usd);
    let max = MicroUsd::MAX.micro_usd();
    let too_much = || Problem::Malformed(format!("an amount is over {max} micro-dollars"));
    if amount.micro_usd() == micro_usd { Ok(amount) } else { Err(too_much()) }
}

/// Where a budget's terms come from.
#[derive(Clone, Debug)]
pub(super) enum Known {
    Region(Budget),
    /// A gateway's own configuration.
    Configured(BudgetTerms),
}

impl Known {
    pub(super) fn terms(&self) -> BudgetTerms {
        match self {
            Known::Region(budget) => budget.terms,
            Known::Configured(terms) => *terms,
        }
    }

    /// What is told of the terms wherever the budget is spoken of.
    pub(super) fn members(&self) -> Value {
        let BudgetTerms { limit, warn_at, overrun } = self.terms();
        json!({
            // The most there is stands for none at all.
            "limit_microusd": Some(limit).filter(|limit| *limit < MicroUsd::MAX),
            "warn_at_microusd": warn_at,
            "overrun": overrun.as_str(),
            "source": match self {
                Known::Region(_) => "region",
                Known::Configured(_) => "configuration",
            },
        })
    }
}

/// What is known of one budget.
pub(super) fn find(control: &Control, key: &BudgetKey) -> Option<Known> {
    let set = control.ledger.read().view().budget(key).cloned();
    let configured = || control.purse.as_ref()?.configured().get(key).copied();
    set.map(Known::Region).or_else(|| configured().map(Known::Configured))
}

/// All that is known of a tenant's budgets.
pub(super) fn known(control: &Control, tenant: &TenantId) -> BTreeMap<BudgetKey, Known> {
    let configured = control.purse.as_ref().map(|purse| purse.configured()).unwrap_or_default();
    let configured = configured.iter().filter(|(key, _)| key.tenant == *tenant);
    let mut all: BTreeMap<_, _> =
        configured.map(|(key, terms)| (key.clone(), Known::Configured(*terms))).collect();
    let registry = control.ledger.read();
    let set = registry.view().budgets_of(tenant, None);
    all.extend(set.map(|budget| (budget.key.clone(), Known::Region(budget.clone()))));
    all
}

/// A budget by the names in a path.
fn key((tenant, name): (String, String)) -> Result<BudgetKey, Problem> {
    BudgetKey::parse(self::tenant(&tenant)?, &name).map_err(|_| Problem::NotFound)
}

pub(super) fn tenant(text: &str) -> Result<TenantId, Problem> {
    TenantId::parse(text).map_err(|_| Problem::NotFound)
}

/// The same by a name that stands elsewhere in a request.
pub(super) fn named(tenant: &TenantId, name: &str) -> Result<BudgetKey, Problem> {
    BudgetKey::parse(tenant.clone(), name)
        .map_err(|error| Problem::Malformed(format!("a name is no budget's: {error}")))
}

fn shape(key: &BudgetKey, known: &Known) -> Value {
    let mut value = json!({ "tenant": key.tenant, "name": key.to_string() });
    let set = match known {
        Known::Region(budget) => {
            let (at, version) = (clock::show(budget.at), budget.changed);
            json!({ "set_by": budget.by, "set_at": at, "version": version })
        }
        Known::Configured(_) => json!({ "set_by": null, "set_at": null, "version": null }),
    };
    shapes::extend(&mut value, [known.members(), set]);
    value
}

fn answer(status: StatusCode, key: &BudgetKey, known: &Known) -> Response {
    let body = shape(key, known);
    match known {
        Known::Region(budget) => shapes::tagged(status, budget.changed, body),
        Known::Configured(_) => shapes::answer(status, body),
    }
}

/// The tenants that agents or budgets name.
pub(super) async fn tenants(
    State(control): Shared,
    Extension(who): Extension<Principal>,
    pages: Result<Query<Pages>, QueryRejection>,
) -> Answer {
    let page = page::query(pages)?.page::<TenantId>()?;
    let configured = control.purse.as_ref().map(|purse| purse.configured()).unwrap_or_default();
    let mut tenants: BTreeSet<_> = configured.keys().map(|key| key.tenant.clone()).collect();
    let registry = control.ledger.read();
    tenants.extend(registry.view().budgets().map(|budget| budget.key.tenant.clone()));
    tenants.extend(registry.view().agents(None).map(|agent| agent.tenant.clone()));
    tenants.retain(|tenant| who.sees(Some(tenant)));
    let is_after = |tenant: &TenantId| page.after.as_ref().is_none_or(|after| tenant > after);
    let (tenants, next) = page.cut(tenants.into_iter().filter(is_after), TenantId::clone);
    Ok(shapes::answer(StatusCode::OK, json!({ "tenants": tenants, "next": next })))
}

pub(super) async fn list(
    State(control): Shared,
    Path(of): Path<String>,
    pages: Result<Query<Pages>, QueryRejection>,
) -> Answer {
    let tenant = tenant(&of)?;
    let page = page::query(pages)?.page::<String>()?;
    let after = page.after.as_deref().map(|name| named(&tenant, name)).transpose()?;
    let all = known(&control, &tenant);
    let rest = all.iter().filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after));
    let (budgets, next) = page.cut(rest, |(key, _)| key.to_string());
    let budgets: Vec<_> = budgets.into_iter().map(|(key, known)| shape(key, known)).collect();
    Ok(shapes::answer(StatusCode::OK, json!({ "budgets": budgets, "next": next })))
}

pub(super) async fn show(State(control): Shared, Path(path): Path<(String, String)>) -> Answer {
    let key = key(path)?;
    let known = find(&control, &key).ok_or(Problem::NotFound)?;
    Ok(answer(StatusCode::OK, &key, &known))
}

pub(super) async fn set(
    State(control): Shared,
    Extension(who): Extension<Principal>,
    Path(path): Path<(String, String)>,
    asked: Asked,
) -> Answer {
    let (key, terms) = (key(path)?, asked.json::<Wish>()?.terms()?);
    let event = propose(&control, who, &asked, &key, Some(terms)).await?;
    let set = event.changes.into_iter().find_map(|change| match change {
        Change::Budget(budget) => Some(budget),
        Change::Agent(_) | Change::Key(_) | Change::Revoked(_) | Change::Code(_) => None,
        Change::CodeGone(_) | Change::BudgetGone(_) | Change::Adjustment(_) => None,
        Change::Definition(_) | Change::DefinitionGone(_) => None,
    });
    Ok(answer(StatusCode::OK, &key, &Known::Region(set.ok_or(Problem::NotFound)?)))
}

/// Takes the region's limit back; what gateways have configured counts again.
pub(super) async fn remove(
    State(control): Shared,
    Extension(who): Extension<Principal>,
    Path(path): Path<(String, String)>,
    asked: Asked,
) -> Answer {
    let key = key(path)?;
    propose(&control, who, &asked, &key, None).await?;
    let body = json!({ "tenant": key.tenant, "name": key.to_string() });
    Ok(shapes::answer(StatusCode::OK, body))
}

async fn propose(
    control: &Control,
    who: Principal,
    asked: &Asked,
    budget: &BudgetKey,
    terms: Option<BudgetTerms>,
) -> Result<Event, Problem> {
    let action = Action::SetBudget { budget: budget.clone(), seen: asked.seen(), terms };
    let proposal = Proposal { once: asked.once(&who)?, by: who.actor, action };
    Ok(control.ledger.propose(proposal).await?)
}
