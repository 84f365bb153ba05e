//! Adjustments: a budget's spend corrected by hand, and who did that when and why.
//!
//! Not here: the rules (`agents/registry`). Invariant: an adjustment is on record before the hot state hears of it, under a
//! key of its sender, so that sending it again after any failure ends in one correction.

use std::sync::Arc;

use aegis_domain::DecisionId;
use aegis_registry::{Action, Adjustment, Change, Correction, Event, Purpose, Why};
use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::budgets;
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
    budget: String,
    /// Below zero where less was spent than is counted.
    change_microusd: i64,
    purpose: Option<String>,
    reason: String,
}

impl Wish {
    /// To amend, unless it says otherwise.
    fn purpose(&self) -> Result<Purpose, Problem> {
        let purpose = self.purpose.as_deref().unwrap_or(Purpose::Amend.as_str());
        let wrong = || Problem::Malformed("purpose is not amend or reconcile".into());
        Purpose::parse(purpose).ok_or_else(wrong)
    }

    fn correction(&self) -> Result<Correction, Problem> {
        let amount = budgets::amount(self.change_microusd.unsigned_abs())?;
        match self.change_microusd {
            0 => Err(Problem::Malformed("change_microusd is 0".into())),
            1.. => Ok(Correction::Add(amount)),
            _ => Ok(Correction::Subtract(amount)),
        }
    }
}

pub(super) async fn order(
    State(control): Shared,
    Extension(who): Extension<Principal>,
    Path(of): Path<String>,
    asked: Asked,
) -> Answer {
    let tenant = budgets::tenant(&of)?;
    let wish: Wish = asked.json()?;
    let once = asked.once(&who)?.ok_or_else(|| {
        Problem::Malformed("an adjustment is sent with an Idempotency-Key".into())
    })?;
    let reason = Why::parse(&wish.reason).map_err(|error| Problem::Malformed(error.to_string()))?;
    let (budget, correction) = (budgets::named(&tenant, &wish.budget)?, wish.correction()?);
    let purpose = wish.purpose()?;
    // Nothing is put on record that nobody could do.
    let purse = control.purse()?;

    let action = Action::Adjust { budget, correction, purpose, reason };
    let by = who.actor.clone();
    let ordered = control.ledger.propose(Proposal { by, action, once: Some(once) }).await?;
    let ordered = adjustment_of(&ordered).ok_or(Problem::NotFound)?;
    let noted = control.ledger.read().adjustment(&ordered.id).cloned();
    if let Some(noted) = noted.filter(|noted| noted.applied_at.is_some()) {
        let spend = purse.spend(&noted.budget, clock::now()).await.map_err(Problem::Purse)?;
        return Ok(shapes::answer(StatusCode::CREATED, shape(&noted, Some(spend))));
    }
    let spend = purse.adjust(ordered).await.map_err(Problem::Unadjusted)?;
    let action = Action::NoteAdjusted { id: ordered.id };
    let noted = control.ledger.propose(Proposal { by: who.actor, action, once: None }).await?;
    let noted = adjustment_of(&noted).unwrap_or(ordered);
    Ok(shapes::answer(StatusCode::CREATED, shape(noted, Some(spend))))
}

fn adjustment_of(event: &Event) -> Option<&Adjustment> {
    event.changes.iter().find_map(|change| match change {
        Change::Adjustment(adjustment) => Some(adjustment.as_ref()),
        Change::Agent(_) | Change::Key(_) | Change::Revoked(_) | Change::Code(_) => None,
        Change::CodeGone(_) | Change::Budget(_) | Change::BudgetGone(_) => None,
        Change::Definition(_) | Change::DefinitionGone(_) => None,
    })
}

/// In the order of their times.
pub(super) async fn list(
    State(control): Shared,
    Path(of): Path<String>,
    pages: Result<Query<Pages>, QueryRejection>,
) -> Answer {
    let tenant = budgets::tenant(&of)?;
    let page = page::query(pages)?.page::<DecisionId>()?;
    let registry = control.ledger.read();
    let all = registry.adjustments(page.after).filter(|it| it.budget.tenant == tenant);
    let (adjustments, next) = page.cut(all, |adjustment| adjustment.id);
    let adjustments: Vec<_> = adjustments.into_iter().map(|it| shape(it, None)).collect();
    Ok(shapes::answer(StatusCode::OK, json!({ "adjustments": adjustments, "next": next })))
}

fn shape(adjustment: &Adjustment, spend: Option<aegis_state::Spend>) -> Value {
    let change = match adjustment.correction {
        Correction::Add(amount) => i128::from(amount.micro_usd()),
        Correction::Subtract(amount) => 0_i128.saturating_sub(amount.micro_usd().into()),
    };
    let mut value = json!({
        "id": adjustment.id,
        "tenant": adjustment.budget.tenant,
        "budget": adjustment.budget.to_string(),
        "change_microusd": i64::try_from(change).unwrap_or_default(),
        "purpose": adjustment.purpose.as_str(),
        "reason": adjustment.reason,
        "by": adjustment.by,
        "at": clock::show(adjustment.at),
        "applied_at": adjustment.applied_at.map(clock::show),
    });
    let spend =
        spend.map(|spend| json!({ "spent_microusd": spend.spent, "held_microusd": spend.held }));
    shapes::extend(&mut value, spend);
    value
}
