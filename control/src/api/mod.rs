//! The routes of the control API, and what each asks of who uses it.
//!
//! Not here: sockets (`connection`). Invariant: every route but the open ones asks for one permission, and stands in the
//! OpenAPI document with it; tests hold the two together.

mod agents;
mod approvals;
mod cluster;
mod enrol;
mod guard;
mod keys;
mod pointer;
mod policies;
mod reads;
mod residency;
mod revocations;
mod sessions;
mod witness;

use std::sync::Arc;

use aegis_access::Permission::*;
use aegis_control_budgets::{adjustments, limits, spend};
use aegis_control_definitions as definitions;
use aegis_registry::{Definitions, View};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};

use crate::problem::Problem;
use crate::read::BODY_BYTES_MAX;
use crate::{Control, feed, fleet, oauth, releases};

use guard::{Guarded, narrowed};

/// The OpenAPI document of this API (<https://spec.openapis.org/oas/v3.1.1>).
pub const OPENAPI: &str = include_str!("../../openapi.json");

pub(crate) fn router(control: Arc<Control>) -> Router {
    let guarded = Guarded::new(&control)
        .get("/v1/agents", narrowed(AgentsRead), agents::list)
        .post("/v1/agents", narrowed(AgentsWrite), agents::register)
        .get("/v1/agents/{tenant}/{agent}", AgentsRead, agents::show)
        .patch("/v1/agents/{tenant}/{agent}", AgentsWrite, agents::amend)
        .post("/v1/agents/{tenant}/{agent}/disable", AgentsWrite, agents::disable)
        .post("/v1/agents/{tenant}/{agent}/enable", AgentsWrite, agents::enable)
        .post("/v1/agents/{tenant}/{agent}/rotate", AgentsWrite, agents::rotate)
        .get("/v1/approvals", narrowed(ApprovalsRead), approvals::list)
        .get("/v1/approvals/{tenant}/{id}", ApprovalsRead, approvals::show)
        .put("/v1/approvals/{tenant}/{id}", ApprovalsUse, approvals::ask)
        .get("/v1/approvals/{tenant}/{id}/grant", ApprovalsUse, approvals::granted)
        .post("/v1/approvals/{tenant}/{id}/grant", ApprovalsAnswer, approvals::grant)
        .post("/v1/approvals/{tenant}/{id}/deny", ApprovalsAnswer, approvals::deny)
        .post("/v1/approvals/{tenant}/{id}/consume", ApprovalsUse, approvals::consume)
        .post("/v1/overrides", narrowed(ApprovalsOverride), approvals::override_once)
        .get("/v1/audit/logs", AuditRead, witness::list)
        .put("/v1/audit/logs", AuditWrite, witness::register)
        .get("/v1/keys", KeysRead, keys::list)
        .post("/v1/keys", KeysWrite, keys::rotate)
        .post("/v1/keys/{kid}/retire", KeysWrite, keys::retire)
        .get("/v1/revocations", narrowed(RevocationsRead), revocations::list)
        .post("/v1/revocations", narrowed(RevocationsWrite), revocations::revoke)
        .get("/v1/sessions", PeopleRead, sessions::list)
        .post("/v1/sessions", PeopleWrite, sessions::open)
        .delete("/v1/sessions/{id}", PeopleWrite, sessions::end)
        .get("/v1/cluster", ClusterRead, cluster::status)
        .get("/v1/cluster/members", ClusterRead, cluster::members)
        .post("/v1/cluster/members", ClusterWrite, cluster::invite)
        .delete("/v1/cluster/members/{node}", ClusterWrite, cluster::remove)
        .post("/v1/cluster/members/{node}/promote", ClusterWrite, cluster::promote)
        .post("/v1/cluster/hand-over", ClusterWrite, cluster::hand_over)
        .post("/v1/cluster/finish", ClusterWrite, cluster::finish)
        .post("/v1/cluster/raise", ClusterWrite, cluster::raise)
        .get("/v1/cluster/backup", ClusterWrite, cluster::backup)
        .get("/v1/tenants", narrowed(AgentsRead), limits::tenants)
        .get("/v1/tenants/{tenant}/budgets", BudgetsRead, limits::list)
        .get("/v1/tenants/{tenant}/budgets/{name}", BudgetsRead, limits::show)
        .put("/v1/tenants/{tenant}/budgets/{name}", BudgetsWrite, limits::set)
        .delete("/v1/tenants/{tenant}/budgets/{name}", BudgetsWrite, limits::remove)
        .get("/v1/tenants/{tenant}/residency", AgentsRead, residency::show)
        .put("/v1/tenants/{tenant}/residency", ClusterWrite, residency::place)
        .delete("/v1/tenants/{tenant}/residency", ClusterWrite, residency::remove)
        .get("/v1/tenants/{tenant}/spend", BudgetsRead, spend::list)
        .get("/v1/tenants/{tenant}/adjustments", BudgetsRead, adjustments::list)
        .post("/v1/tenants/{tenant}/adjustments", BudgetsWrite, adjustments::order)
        .get("/v1/feed", FeedRead, feed::get::<View>)
        .get("/v1/fleet", FleetRead, fleet::show)
        .post("/v1/fleet/{gateway}", FleetReport, fleet::report)
        .get("/v1/releases", narrowed(FeedRead), releases::get)
        .get("/v1/releases/export", PoliciesRead, releases::export)
        .get("/v1/contents/{digest}", narrowed(FeedRead), releases::content);
    let guarded = defined(policies(guarded));
    let open = Router::new()
        .route("/oauth2/token", post(oauth::token))
        .route("/.well-known/oauth-authorization-server", get(oauth::authorization_server))
        .route("/.well-known/oauth-protected-resource", get(oauth::protected_resource))
        .route("/.well-known/jwks.json", get(oauth::jwks))
        .route("/v1/enrol", post(enrol::enrol))
        .route("/v1/audit/witness/add-checkpoint", post(witness::add_checkpoint))
        .route("/v1/openapi.json", get(openapi));
    guarded
        .into_router()
        .merge(open)
        .fallback(async || Problem::NoRoute)
        .method_not_allowed_fallback(async || Problem::Method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(control)
}

/// What the region says of a tenant's tools and limits.
fn defined(guarded: Guarded) -> Guarded {
    guarded
        .get("/v1/definitions", FeedRead, feed::get::<Definitions>)
        .get("/v1/tenants/{tenant}/limits", BudgetsRead, definitions::show_limits)
        .put("/v1/tenants/{tenant}/limits", BudgetsWrite, definitions::define_limits)
        .delete("/v1/tenants/{tenant}/limits", BudgetsWrite, definitions::withdraw_limits)
        .get("/v1/tenants/{tenant}/tools", ToolsRead, definitions::list)
        .get("/v1/tenants/{tenant}/tools/{name}", ToolsRead, definitions::show_tool)
        .put("/v1/tenants/{tenant}/tools/{name}", ToolsWrite, definitions::define_tool)
        .delete("/v1/tenants/{tenant}/tools/{name}", ToolsWrite, definitions::withdraw_tool)
        .post("/v1/tenants/{tenant}/tools/{name}/check", ToolsRead, definitions::check_tool)
}

/// Versions of a line, what is in force, and how a candidate comes into force.
fn policies(guarded: Guarded) -> Guarded {
    let of = |rest: &str| format!("/v1/policies/{{tenant}}/{{environment}}/{rest}");
    guarded
        .get(&of("versions"), PoliciesRead, policies::list)
        .post(&of("versions"), PoliciesWrite, policies::push)
        .get(&of("versions/{version}"), PoliciesRead, policies::show)
        .get(&of("diff"), PoliciesRead, policies::diff)
        .get(&of("pointer"), PoliciesRead, pointer::show)
        .put(&of("pointer"), PoliciesActivate, pointer::activate)
        .post(&of("downgrade"), PolicyDowngrade, pointer::downgrade)
        .post(&of("rollout"), PoliciesActivate, pointer::start)
        .post(&of("rollout/pause"), PoliciesActivate, pointer::pause)
        .post(&of("rollout/resume"), PoliciesActivate, pointer::resume)
        .post(&of("rollout/abort"), PoliciesActivate, pointer::abort)
        .post(&of("rollback"), PoliciesActivate, pointer::roll_back)
        .post(&of("pin"), PoliciesActivate, pointer::pin)
        .post(&of("unpin"), PoliciesActivate, pointer::unpin)
        .post(&of("overtake"), PolicyDowngrade, pointer::overtake)
}

async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}
