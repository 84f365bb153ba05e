//! The routes of the control API, and who may use each.
//!
//! Not here: sockets (`connection`). Invariant: every route stands in the OpenAPI document, and a test holds the two
//! together.

mod adjustments;
mod agents;
mod budgets;
mod cluster;
mod enrol;
mod keys;
mod pointer;
mod policies;
mod revocations;
mod spend;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{HttpBody as _, to_bytes};
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};

use crate::problem::Problem;
use crate::read::Asked;
use crate::{Control, Role, feed, fleet, oauth, releases};

/// The OpenAPI document of this API (<https://spec.openapis.org/oas/v3.1.1>).
pub const OPENAPI: &str = include_str!("../../openapi.json");

/// What fits into `BODY_BYTES_MAX` comes in this time over any line that agents have.
const BODY: Duration = Duration::from_secs(10);
const BODY_BYTES_MAX: usize = 64 * 1_024;
/// What a version of a policy takes in the ledger, and so about what its files may.
const POLICY_BYTES_MAX: usize = aegis_ledger::CONTENT_BYTES_MAX;

pub(crate) fn router(control: Arc<Control>) -> Router {
    let admin = Router::new()
        .route("/v1/agents", get(agents::list).post(agents::register))
        .route("/v1/agents/{tenant}/{agent}", get(agents::show).patch(agents::amend))
        .route("/v1/agents/{tenant}/{agent}/disable", post(agents::disable))
        .route("/v1/agents/{tenant}/{agent}/enable", post(agents::enable))
        .route("/v1/agents/{tenant}/{agent}/rotate", post(agents::rotate))
        .route("/v1/keys", get(keys::list).post(keys::rotate))
        .route("/v1/keys/{kid}/retire", post(keys::retire))
        .route("/v1/revocations", get(revocations::list).post(revocations::revoke))
        .route("/v1/cluster", get(cluster::status))
        .route("/v1/cluster/members", get(cluster::members).post(cluster::invite))
        .route("/v1/cluster/members/{node}", delete(cluster::remove))
        .route("/v1/cluster/members/{node}/promote", post(cluster::promote))
        .route("/v1/cluster/finish", post(cluster::finish))
        .route("/v1/cluster/raise", post(cluster::raise))
        .route("/v1/cluster/backup", get(cluster::backup))
        .route("/v1/tenants", get(budgets::tenants))
        .route("/v1/tenants/{tenant}/budgets", get(budgets::list))
        .route(
            "/v1/tenants/{tenant}/budgets/{name}",
            get(budgets::show).put(budgets::set).delete(budgets::remove),
        )
        .route("/v1/tenants/{tenant}/spend", get(spend::list))
        .route("/v1/tenants/{tenant}/adjustments", get(adjustments::list).post(adjustments::order))
        .route("/v1/fleet", get(fleet::show))
        .route("/v1/releases/export", get(releases::export))
        .route(
            "/v1/policies/{tenant}/{environment}/versions",
            get(policies::list).post(policies::push),
        )
        .route("/v1/policies/{tenant}/{environment}/versions/{version}", get(policies::show))
        .route("/v1/policies/{tenant}/{environment}/diff", get(policies::diff))
        .route(
            "/v1/policies/{tenant}/{environment}/pointer",
            get(pointer::show).put(pointer::activate),
        )
        .route("/v1/policies/{tenant}/{environment}/downgrade", post(pointer::downgrade))
        .route("/v1/policies/{tenant}/{environment}/rollout", post(pointer::start))
        .route("/v1/policies/{tenant}/{environment}/rollout/pause", post(pointer::pause))
        .route("/v1/policies/{tenant}/{environment}/rollout/resume", post(pointer::resume))
        .route("/v1/policies/{tenant}/{environment}/rollout/abort", post(pointer::abort))
        .route("/v1/policies/{tenant}/{environment}/rollback", post(pointer::roll_back))
        .route("/v1/policies/{tenant}/{environment}/pin", post(pointer::pin))
        .route("/v1/policies/{tenant}/{environment}/unpin", post(pointer::unpin))
        .route_layer(from_fn_with_state(Arc::clone(&control), admins));
    let followers = Router::new()
        .route("/v1/feed", get(feed::get))
        .route("/v1/releases", get(releases::get))
        .route("/v1/contents/{digest}", get(releases::content))
        .route("/v1/fleet/{gateway}", post(fleet::report))
        .route_layer(from_fn_with_state(Arc::clone(&control), followers));
    let open = Router::new()
        .route("/oauth2/token", post(oauth::token))
        .route("/.well-known/oauth-authorization-server", get(oauth::authorization_server))
        .route("/.well-known/oauth-protected-resource", get(oauth::protected_resource))
        .route("/.well-known/jwks.json", get(oauth::jwks))
        .route("/v1/enrol", post(enrol::enrol))
        .route("/v1/openapi.json", get(openapi));
    admin
        .merge(followers)
        .merge(open)
        .fallback(async || Problem::NoRoute)
        .method_not_allowed_fallback(async || Problem::Method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(control)
}

async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn admins(control: State<Arc<Control>>, request: Request, next: Next) -> Response {
    admit(&control, request, next, Role::Admin).await
}

async fn followers(control: State<Arc<Control>>, request: Request, next: Next) -> Response {
    admit(&control, request, next, Role::Follower).await
}

async fn admit(control: &Control, mut request: Request, next: Next, role: Role) -> Response {
    match control.access.check(request.headers(), role) {
        Ok(principal) => {
            request.extensions_mut().insert(principal);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

impl<S: Send + Sync> FromRequest<S> for Asked {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        asked(request, BODY_BYTES_MAX).await
    }
}

/// A request that may bring a whole policy.
pub(crate) struct Posted(pub(crate) Asked);

impl<S: Send + Sync> FromRequest<S> for Posted {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        asked(request, POLICY_BYTES_MAX).await.map(Self)
    }
}

async fn asked(request: Request, bytes_max: usize) -> Result<Asked, Problem> {
    let (head, body) = request.into_parts();
    let too_long =
        || Problem::Malformed(format!("the body is longer than {bytes_max} bytes or broke off"));
    // Known before any of it came, so that nobody waits for it.
    let declared = body.size_hint().lower();
    if usize::try_from(declared).map_or(true, |bytes| bytes > bytes_max) {
        return Err(too_long());
    }
    let body = tokio::time::timeout(BODY, to_bytes(body, bytes_max)).await;
    let body = body.map_err(|_| Problem::Slow)?.map_err(|_| too_long())?;
    Ok(Asked { method: head.method, uri: head.uri, headers: head.headers, body })
}
