//! The header names that are ours, and those that never cross us.
//!
//! Not here: what the values mean. Invariant: nothing that begins with `aegis-` travels upstream, and nothing an
//! upstream sends under such a name reaches an agent.

use std::collections::BTreeSet;

use http::header::{CONNECTION, HeaderMap, HeaderName};

pub const AEGIS_AUTHORIZATION: HeaderName = HeaderName::from_static("aegis-authorization");
pub const AEGIS_ATTESTATION: HeaderName = HeaderName::from_static("aegis-attestation");
pub const AEGIS_DECISION_ID: HeaderName = HeaderName::from_static("aegis-decision-id");
pub const AEGIS_POLICY_VERSION: HeaderName = HeaderName::from_static("aegis-policy-version");
pub const AEGIS_APPROVAL_ID: HeaderName = HeaderName::from_static("aegis-approval-id");
pub const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
pub const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Whether a header is ours, whoever sent it.
pub fn is_ours(name: &HeaderName) -> bool {
    name.as_str().starts_with("aegis-")
}

/// Headers of one connection only (RFC 9110 §7.6.1), those that `Connection` names included.
pub fn hop_by_hop(headers: &HeaderMap) -> BTreeSet<String> {
    const ALWAYS: [&str; 8] = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "transfer-encoding",
        "upgrade",
    ];
    let named = headers.get_all(CONNECTION).into_iter().filter_map(|value| value.to_str().ok());
    let named = named.flat_map(|list| list.split(',')).map(|name| name.trim().to_ascii_lowercase());
    ALWAYS.into_iter().map(str::to_owned).chain(named).collect()
}
