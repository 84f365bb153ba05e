//! What budgets have spent and hold, in the windows under way.
//!
//! Not here: correcting it (`adjustments`). Invariant: what is left is what the limit leaves of both, so that money which
//! calls under way may still cost is never shown as free.

use std::sync::Arc;

use aegis_control_messages::page::Page;
use aegis_control_messages::problem::Problem;
use aegis_control_messages::{clock, page, read, shapes};
use aegis_domain::{BudgetKey, BudgetWindow, MicroUsd, Timestamp};
use aegis_state::{Period, Spend};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::limits::{self, Known};
use crate::{Books, purse};

/// As many as one address of a request has room for.
const NAMES_MAX: usize = 50;

/// `?names=..` or `?limit=..&cursor=..`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Budgets by name, with commas between; also such as nobody limits.
    names: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

pub async fn list<B: Books>(
    State(books): State<Arc<B>>,
    Path(of): Path<String>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Problem> {
    let tenant = read::tenant(&of)?;
    let Wanted { names, limit, cursor } = page::query(wanted)?;
    let page: Page<String> = Page::read(limit, cursor.as_deref())?;
    let (wanted, next): (Vec<(BudgetKey, Option<Known>)>, _) = if let Some(names) = names {
        let keys = names.split(',').map(|name| limits::named(&tenant, name));
        let keys = keys.take(NAMES_MAX.saturating_add(1)).collect::<Result<Vec<_>, _>>()?;
        if keys.len() > NAMES_MAX {
            return Err(Problem::Malformed(format!("names holds more than {NAMES_MAX}")));
        }
        let found = |key| {
            let known = limits::find(books.as_ref(), &key);
            (key, known)
        };
        (keys.into_iter().map(found).collect(), None)
    } else {
        let after = page.after.as_deref().map(|name| limits::named(&tenant, name)).transpose()?;
        let is_after = |key: &BudgetKey| after.as_ref().is_none_or(|after| key > after);
        let all = limits::known(books.as_ref(), &tenant).into_iter();
        let all = all.filter(|(key, _)| is_after(key)).map(|(key, known)| (key, Some(known)));
        page.cut(all, |(key, _)| key.to_string())
    };
    let (purse, now) = (purse(books.as_ref())?, clock::now());
    let mut rows = Vec::new();
    for (key, known) in wanted {
        let spend = purse.spend(&key, now).await.map_err(Problem::Purse)?;
        rows.push(row(&key, known.as_ref(), spend, now));
    }
    Ok(shapes::answer(StatusCode::OK, json!({ "spend": rows, "next": next })))
}

fn row(key: &BudgetKey, known: Option<&Known>, spend: Spend, now: Timestamp) -> Value {
    let limit = known.map(|known| known.terms().limit).filter(|limit| *limit < MicroUsd::MAX);
    let left = limit.map(|limit| limit.saturating_sub(spend.spent.saturating_add(spend.held)));
    let (began_at, resets_at) = bounds(key.window, now);
    let mut value = json!({
        "tenant": key.tenant,
        "name": key.to_string(),
        "spent_microusd": spend.spent,
        "held_microusd": spend.held,
        "left_microusd": left,
        "began_at": clock::show(began_at),
        "resets_at": resets_at.map(clock::show),
    });
    let unknown = || json!({ "limit_microusd": null, "warn_at_microusd": null, "overrun": null, "source": null });
    shapes::extend(&mut value, [known.map_or_else(unknown, Known::members)]);
    value
}

/// When the window under way began, and when it ends; money leaves a rolling one hour by hour, so that one never does.
fn bounds(window: BudgetWindow, now: Timestamp) -> (Timestamp, Option<Timestamp>) {
    let period = Period::of(window, now);
    // A period begins where the one before it ends.
    let begins = |back: u32| match period.index.checked_sub(back) {
        Some(before) => Period::nth(window, before).ends_at,
        None => Timestamp::from_unix_ns(0),
    };
    match window {
        BudgetWindow::Day | BudgetWindow::Month => (begins(1), Some(period.ends_at)),
        BudgetWindow::Rolling(hours) => (begins(u32::from(hours.get())), None),
    }
}

#[cfg(test)]
mod tests {
    use aegis_domain::Hours;

    use super::*;

    #[test]
    fn a_window_says_when_it_began_and_a_calendar_one_when_it_ends() {
        let show = |window| {
            // 2026-03-01T10:20:00Z
            let (began, ends) = bounds(window, Timestamp::from_unix_s(1_772_360_400));
            (clock::show(began), ends.map(clock::show).unwrap_or_default())
        };
        let pair = |began: &str, ends: &str| (began.to_owned(), ends.to_owned());
        assert_eq!(show(BudgetWindow::Day), pair("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z"));
        assert_eq!(show(BudgetWindow::Month), pair("2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z"));
        let rolling = |hours| BudgetWindow::Rolling(Hours::new(hours).unwrap());
        assert_eq!(show(rolling(1)), pair("2026-03-01T10:00:00Z", ""));
        assert_eq!(show(rolling(24)), pair("2026-02-28T11:00:00Z", ""));
    }
}
