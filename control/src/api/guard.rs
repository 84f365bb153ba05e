//! Routes that ask for a permission, and the way through them.
//!
//! Not here: who has which permission (`control/access`), and who someone is (`access`). Invariant: a route is added with one
//! permission, and no handler runs before its caller was found to have it, for the tenant that the path names.

use std::sync::Arc;

use aegis_access::{Permission, Principal, Unpermitted};
use aegis_domain::TenantId;
use axum::Router;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::handler::Handler;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, on};

use crate::Control;
use crate::problem::Problem;

/// What a route asks of its caller.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    permission: Permission,
    tenant: Tenant,
}

/// Where it is said which tenant a request concerns.
#[derive(Clone, Copy, Debug)]
enum Tenant {
    /// In the path, or nowhere: then it concerns the whole region.
    InPath,
    /// The handler finds out, and asks the principal.
    ForHandler,
}

impl From<Permission> for Demand {
    fn from(permission: Permission) -> Self {
        Self { permission, tenant: Tenant::InPath }
    }
}

/// A route whose handler holds what it lists or takes against the caller's tenants.
pub(super) fn narrowed(permission: Permission) -> Demand {
    Demand { permission, tenant: Tenant::ForHandler }
}

/// Routes, each behind its demand.
pub(super) struct Guarded {
    router: Router<Arc<Control>>,
    control: Arc<Control>,
}

#[derive(Clone)]
struct Gate {
    control: Arc<Control>,
    demand: Demand,
}

/// Adds a route for one method.
macro_rules! method {
    ($name:ident, $filter:ident) => {
        pub(super) fn $name<H, T>(self, path: &str, demand: impl Into<Demand>, handler: H) -> Self
        where
            H: Handler<T, Arc<Control>>,
            T: 'static,
        {
            let gate = Gate { control: Arc::clone(&self.control), demand: demand.into() };
            let route = on(MethodFilter::$filter, handler);
            let route = route.route_layer(from_fn_with_state(gate, admit));
            Self { router: self.router.route(path, route), ..self }
        }
    };
}

impl Guarded {
    pub(super) fn new(control: &Arc<Control>) -> Self {
        Self { router: Router::new(), control: Arc::clone(control) }
    }

    method!(get, GET);
    method!(post, POST);
    method!(put, PUT);
    method!(patch, PATCH);
    method!(delete, DELETE);

    pub(super) fn into_router(self) -> Router<Arc<Control>> {
        self.router
    }
}

async fn admit(
    State(Gate { control, demand }): State<Gate>,
    params: Result<RawPathParams, RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    let tenant = params.as_ref().ok().and_then(|params| {
        let named = params.iter().find(|(name, _)| *name == "tenant");
        named.map(|(_, tenant)| tenant)
    });
    let admitted = control.who(request.headers()).and_then(|principal| {
        allowed(&principal, demand, tenant)?;
        Ok(principal)
    });
    match admitted {
        Ok(principal) => {
            request.extensions_mut().insert(principal);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

fn allowed(who: &Principal, demand: Demand, tenant: Option<&str>) -> Result<(), Problem> {
    who.needs(demand.permission)?;
    match (demand.tenant, tenant) {
        (Tenant::ForHandler, _) => {}
        (Tenant::InPath, None) => who.reaches_region()?,
        // What is no tenant's name is nobody's, so that nothing is told of it.
        (Tenant::InPath, Some(name)) => match TenantId::parse(name) {
            Ok(tenant) => who.reaches(&tenant)?,
            Err(_) => who.reaches_region().map_err(|_| Unpermitted::Tenant)?,
        },
    }
    Ok(())
}
