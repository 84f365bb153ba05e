//! The region's books: limits, spend and corrections, asked of the control API page by page.
//!
//! Not here: what is shown of them (`budget`). Invariant: a list is read to its end or not at all.

use std::path::Path;

use aegis_control_client::{Client, ClientError, Conditions, encoded};
use aegis_domain::{BudgetKey, MicroUsd, TenantId};
use aegis_registry::{Correction, Purpose};
use serde_json::{Value, json};

use crate::region::{Access, RegionError};
use crate::{files, pages};

/// As many names as the API takes at once.
const NAMES_MAX: usize = 50;

/// The books of one region.
#[derive(Debug)]
pub struct Books(Client);

/// A correction to order.
#[derive(Clone, Debug)]
pub(crate) struct Order<'a> {
    pub(crate) budget: &'a BudgetKey,
    pub(crate) correction: Correction,
    pub(crate) purpose: Purpose,
    pub(crate) reason: &'a str,
    /// What tells an order that is sent again from another one.
    pub(crate) once: &'a str,
}

impl Books {
    pub fn open(access: &Access, data: &Path) -> Result<Self, RegionError> {
        access.admin(data).map(Self)
    }

    pub(crate) fn client(&self) -> &Client {
        &self.0
    }

    /// The tenants that agents or budgets name.
    pub(crate) fn tenants(&self) -> Result<Vec<TenantId>, RegionError> {
        let names = self.all("/v1/tenants", "tenants")?;
        let tenants = names.iter().map(|name| name.as_str().and_then(|it| it.parse().ok()));
        tenants.collect::<Option<_>>().ok_or(RegionError::Answer { what: "the tenants" })
    }

    /// What every known budget of a tenant allows, has spent and holds.
    pub(crate) fn spend(&self, tenant: &TenantId) -> Result<Vec<Value>, RegionError> {
        self.all(&format!("/v1/tenants/{tenant}/spend"), "spend")
    }

    /// The same of budgets by name, also of those nobody limits.
    pub(crate) fn spend_of(
        &self,
        tenant: &TenantId,
        names: &[String],
    ) -> Result<Vec<Value>, RegionError> {
        let mut rows = Vec::new();
        for names in names.chunks(NAMES_MAX) {
            let names = encoded(&names.join(","));
            rows.extend(self.all(&format!("/v1/tenants/{tenant}/spend?names={names}"), "spend")?);
        }
        Ok(rows)
    }

    /// What every known budget of a tenant allows.
    pub(crate) fn limits(&self, tenant: &TenantId) -> Result<Vec<Value>, RegionError> {
        self.all(&format!("/v1/tenants/{tenant}/budgets"), "budgets")
    }

    /// Who corrected what, the oldest first.
    pub(crate) fn adjustments(&self, tenant: &TenantId) -> Result<Vec<Value>, RegionError> {
        self.all(&format!("/v1/tenants/{tenant}/adjustments"), "adjustments")
    }

    /// Corrects a spend; says under which key to ask again where it is not known whether that was done.
    pub(crate) fn adjust(&self, order: &Order<'_>) -> Result<Value, RegionError> {
        let Order { budget, correction, purpose, reason, once } = order;
        let sign = |amount: MicroUsd, sign: i64| signed(amount).saturating_mul(sign);
        let change = match *correction {
            Correction::Add(amount) => sign(amount, 1),
            Correction::Subtract(amount) => sign(amount, -1),
        };
        let (name, purpose) = (budget.to_string(), purpose.as_str());
        let wish = json!({ "budget": name, "change_microusd": change, "purpose": purpose, "reason": reason });
        let path = format!("/v1/tenants/{}/adjustments", budget.tenant);
        let conditions = Conditions { version: None, once: Some(once) };
        match self.0.post(&path, &wish, &conditions) {
            Ok(answer) => Ok(answer.body),
            Err(source) if is_unsure(&source) => {
                Err(RegionError::Unsure { once: (*once).to_owned(), source })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn all(&self, path: &str, member: &'static str) -> Result<Vec<Value>, RegionError> {
        pages::all(&self.0, path, member)
    }
}

/// Whether the order may be on record all the same.
fn is_unsure(error: &ClientError) -> bool {
    matches!(error, ClientError::Unreachable { .. } | ClientError::NotJson { .. })
        || matches!(error, ClientError::Refused { status, kind, .. } if *status >= 500 && kind != "no-hot-state")
}

/// A key for an order that nobody gave one.
pub(crate) fn new_key(now: aegis_domain::Timestamp) -> Result<String, RegionError> {
    files::jti(now).map(|jti| jti.to_string())
}

/// An amount among the members of an answer.
pub(crate) fn microusd(row: &Value, member: &str) -> Option<MicroUsd> {
    row.get(member).and_then(Value::as_u64).map(MicroUsd::new)
}

/// A change of an amount among the members of an answer, in micro-dollars.
pub(crate) fn change_microusd(row: &Value) -> i64 {
    row.get("change_microusd").and_then(Value::as_i64).unwrap_or_default()
}

/// Amounts stop far below what this holds.
pub(crate) fn signed(amount: MicroUsd) -> i64 {
    i64::try_from(amount.micro_usd()).unwrap_or(i64::MAX)
}
