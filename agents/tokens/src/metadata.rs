//! What the service says about itself: RFC 8414 for clients, RFC 9728 for the gateways' side.
//!
//! Not here: serving it (`control`). Invariant: nothing is listed that `judge` does not do.

use aegis_identity::ALGORITHM_NAMES;
use serde_json::{Value, json};

use crate::Service;
use crate::service::TOKEN_EXCHANGE;

/// `/.well-known/oauth-authorization-server` (RFC 8414 §2). There is no authorization endpoint: agents have no browser.
pub fn authorization_server(service: &Service) -> Value {
    let issuer = &service.issuer;
    json!({
        "issuer": issuer,
        "token_endpoint": service.token_endpoint(),
        "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
        "response_types_supported": [],
        "grant_types_supported": ["client_credentials", TOKEN_EXCHANGE],
        "token_endpoint_auth_methods_supported": ["private_key_jwt", "self_signed_tls_client_auth"],
        "token_endpoint_auth_signing_alg_values_supported": ALGORITHM_NAMES,
        "dpop_signing_alg_values_supported": ALGORITHM_NAMES,
        "tls_client_certificate_bound_access_tokens": true,
        "protected_resources": service.audiences,
    })
}

/// `/.well-known/oauth-protected-resource` of one gateway (RFC 9728 §2).
pub fn protected_resource(service: &Service, resource: &str) -> Value {
    json!({
        "resource": resource,
        "authorization_servers": [service.issuer],
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": ALGORITHM_NAMES,
        "dpop_bound_access_tokens_required": false,
        "tls_client_certificate_bound_access_tokens": true,
    })
}
