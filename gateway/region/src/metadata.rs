//! What a gateway tells about itself to clients that look for a token (RFC 9728).
//!
//! Not here: what the token service tells of itself (`agents/tokens`). Invariant: it names the region's own service or
//! nothing: foreign issuers may give tokens to whom they like, but not by our advice.

use std::sync::Arc;

use aegis_config::Config;
use aegis_tokens::Service;
use bytes::Bytes;

/// Where the document is.
pub const PATH: &str = "/.well-known/oauth-protected-resource";

/// The document, if there is a service to name.
pub fn document(config: &Config) -> Option<Bytes> {
    let issuer = config.registry.as_ref()?.issuer().to_owned();
    let resource = &config.identity.audience;
    let service = Service { issuer, audiences: Vec::new() };
    let document = aegis_tokens::protected_resource(&service, resource);
    Some(Bytes::from(document.to_string()))
}

/// What refusals name, where agents know this gateway by a URL.
pub fn url(config: &Config) -> Option<Arc<str>> {
    config.registry.as_ref()?;
    let base = config.identity.urls.iter().find(|url| url.starts_with("http"))?;
    Some(Arc::from(format!("{}{PATH}", base.trim_end_matches('/'))))
}
