//! The region's books: limits, spend and corrections, asked of the control API page by page.
//!
//! Not here: what is shown of them (`budget`). Invariant: a list is read to its end or not at all.

use std::path::Path;

use aegis_control_client::{Client, ClientError, Conditions, encoded};
use aegis_domain::{BudgetKey, MicroUsd, TenantId};
use aegis_registry::{Correction, Purpose};
use serde_json::{Value, json};

use crate::files;
use crate::region::{Access, RegionError};

/// As many names as the API takes at once.
const NAMES_MAX: usize = 50;

/// The books of one region.
#[derive(Debug)]
pub struct Books(Client);

/// A correction to order.
#[derive(Clone, Debug)]
pub struct Order<'a> {
    pub budget: &'a BudgetKey,
    pub correction: Correction,
    pub purpose: Purpose,
    pub reason: &'a str,
    /// What tells an order that is sent again from another one.
    pub once: &'a str,
}

impl Books {
    pub fn open(access: &Access, data: &Path) -> Result<Self, RegionError> {
        access.admin(data).map(Self)
    }

    pub(crate) fn client(&self) -> &Client {
        &self.0
    }

    /// The tenants that agents or budgets name.
    pub fn tenants(&self) -> Result<Vec<TenantId>, RegionError> {
        let names = self.all("/v1/tenants?limit=1000", "tenants")?;
        let tenants = names.iter().map(|name| name.as_str().and_then(|it| it.parse().ok()));
        tenants.collect::<Option<_>>().ok_or(RegionError::Answer { what: "the tenants" })
    }

    /// What every known budget of a tenant allows, has spent and holds.
    pub fn spend(&self, tenant: &TenantId) -> Result<Vec<Value>, RegionError> {
        self.all(&format!("/v1/tenants/{tenant}/spend?limit=1000"), "spend")
    }

    /// The same of budgets by name, also of those nobody limits.
    pub fn spend_of(&self, tenant: &TenantId, names: &[String]) -> Result<Vec<Value>, RegionError> {
        let mut rows = Vec::new();
        for names in names.chunks(NAMES_MAX) {
            let names = encoded(&names.join(","));
            rows.extend(self.all(&format!("/v1/tenants/{tenant}/spend?names={names}"), "spend")?);
        }
        Ok(rows)
    }

    /// What every known budget of a tenant allows.
    pub(crate) fn limits(&self, tenant: &TenantId) -> Result<Vec<Value>, RegionError> {
        self.all(&format!("/v1/tenants/{tenant}/budgets?limit=1000"), "budgets")
    }

    /// Who corrected what, the oldest first.
    pub fn adjustments(&self, tenant: &TenantId) -> Result<Vec<Value>, RegionError> {
        self.all(&format!("/v1/tenants/{tenant}/adjustments?limit=1000"), "adjustments")
    }

    /// Corrects a spend; says under which key to ask again where it is not known whether that was done.
    pub fn adjust(&self, order: &Order<'_>) -> Result<Value, RegionError> {
        let Order { budget, correction, purpose, reason, once } = order;
        let (member, amount) = match correction {
            Correction::Add(amount) => ("add_microusd", amount),
            Correction::Subtract(amount) => ("subtract_microusd", amount),
        };
        let (budget_name, purpose) = (budget.to_string(), purpose.as_str());
        let wish =
            json!({ "budget": budget_name, "reason": reason, "purpose": purpose, member: amount });
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
        let (mut all, mut page) = (Vec::new(), path.to_owned());
        loop {
            let mut body = self.0.get(&page)?.body;
            let things = body.get_mut(member).and_then(Value::as_array_mut).map(std::mem::take);
            all.extend(things.ok_or(RegionError::Answer { what: member })?);
            match body.get("next").and_then(Value::as_str) {
                Some(next) => page = format!("{path}&cursor={}", encoded(next)),
                None => return Ok(all),
            }
        }
    }
}

/// Whether the order may be on record all the same.
fn is_unsure(error: &ClientError) -> bool {
    matches!(error, ClientError::Unreachable { .. } | ClientError::NotJson { .. })
        || matches!(error, ClientError::Refused { status, kind, .. } if *status >= 500 && kind != "no-hot-state")
}

/// A key for an order that nobody gave one.
pub fn new_key(now: aegis_domain::Timestamp) -> Result<String, RegionError> {
    files::jti(now).map(|jti| jti.to_string())
}

/// An amount among the members of an answer.
pub fn microusd(row: &Value, member: &str) -> Option<MicroUsd> {
    row.get(member).and_then(Value::as_u64).map(MicroUsd::new)
}
