//! Where a tenant may be: its home region, and those where its calls may be handled and its policies are released.
//!
//! Not here: who is told of its releases (`releases`), and answering 421 elsewhere (`gateway`). Invariant: whoever places a
//! tenant under an `If-Match` has seen where it was.

use std::collections::BTreeSet;

use aegis_domain::{Region, TenantId};
use aegis_ledger::{Action, Residency, Tenant, TenantAct};
use axum::Extension;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::policies::{Answer, Shared};
use crate::problem::Problem;
use crate::read::Asked;
use crate::read::tenant;
use crate::{Control, Principal, shapes};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    home: Region,
    allowed: BTreeSet<Region>,
}

fn shape(tenant: &TenantId, placed: &Tenant) -> Value {
    let Tenant { residency: Residency { home, allowed }, changed } = placed;
    json!({ "tenant": tenant, "home": home, "allowed": allowed, "version": changed })
}

fn placed(control: &Control, tenant: &TenantId) -> Result<Tenant, Problem> {
    control.node.ledger().tenants().get(tenant).cloned().ok_or(Problem::NotFound)
}

pub(super) async fn show(State(control): Shared, Path(of): Path<String>) -> Answer {
    let tenant = tenant(&of)?;
    let placed = placed(&control, &tenant)?;
    Ok(shapes::tagged(StatusCode::OK, placed.changed, shape(&tenant, &placed)))
}

pub(super) async fn place(
    State(control): Shared,
    Extension(who): Extension<Principal>,
    Path(of): Path<String>,
    asked: Asked,
) -> Answer {
    let (tenant, Wish { home, allowed }) = (tenant(&of)?, asked.json()?);
    let now = || placed(&control, &tenant).map_or(0, |placed| placed.changed);
    let seen = asked.seen().unwrap_or_else(now);
    let residency = Residency { home, allowed };
    let act = TenantAct::Place { tenant: tenant.clone(), seen, residency };
    control.command(&who, &asked, Action::Tenant(act)).await?;
    let placed = placed(&control, &tenant)?;
    Ok(shapes::tagged(StatusCode::OK, placed.changed, shape(&tenant, &placed)))
}

/// From then on it may be in the region of this ledger alone.
pub(super) async fn remove(
    State(control): Shared,
    Extension(who): Extension<Principal>,
    Path(of): Path<String>,
    asked: Asked,
) -> Answer {
    let tenant = tenant(&of)?;
    let seen = asked.seen().map_or_else(|| placed(&control, &tenant).map(|it| it.changed), Ok)?;
    let act = TenantAct::Remove { tenant: tenant.clone(), seen };
    control.command(&who, &asked, Action::Tenant(act)).await?;
    Ok(shapes::answer(StatusCode::OK, json!({ "tenant": tenant })))
}
