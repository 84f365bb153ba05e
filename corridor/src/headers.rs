//! The header names that are ours, and those that never cross us.
//!
//! Not here: what the values mean. Invariant: nothing that begins with `aegis-` travels upstream, and nothing an
//! upstream sends under such a name reaches an agent.

use http::header::{HeaderMap, HeaderName};

pub const AEGIS_AUTHORIZATION: HeaderName = HeaderName::from_static("aegis-authorization");
pub const AEGIS_DPOP: HeaderName = HeaderName::from_static("aegis-dpop");
/// RFC 9449 §4.1.
pub const DPOP: HeaderName = HeaderName::from_static("dpop");
/// RFC 9449 §8.
pub const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
pub const AEGIS_ATTESTATION: HeaderName = HeaderName::from_static("aegis-attestation");
pub const AEGIS_DECISION_ID: HeaderName = HeaderName::from_static("aegis-decision-id");
pub const AEGIS_POLICY_VERSION: HeaderName = HeaderName::from_static("aegis-policy-version");
pub const AEGIS_APPROVAL_ID: HeaderName = HeaderName::from_static("aegis-approval-id");
pub const AEGIS_BUDGET: HeaderName = HeaderName::from_static("aegis-budget");
pub const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
pub const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
pub const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Whether a header is ours, whoever sent it.
pub fn is_ours(name: &HeaderName) -> bool {
    name.as_str().starts_with("aegis-")
}

/// Whether a header tells where a request came from; upstreams are not told, least of all by the agent.
pub fn is_forwarding(name: &HeaderName) -> bool {
    let name = name.as_str();
    name == "forwarded" || name == "via" || name == "x-real-ip" || name.starts_with("x-forwarded-")
}

/// What a policy's scan should see of the headers: everything but what HTTP clients always send.
pub fn free_text(headers: &HeaderMap) -> String {
    const USUAL: &str = "accept accept-encoding accept-language authorization cache-control connection \
        content-encoding content-length content-type dpop expect host if-none-match proxy-authorization proxy-connection \
        sec-websocket-extensions sec-websocket-key sec-websocket-protocol \
        sec-websocket-version te traceparent tracestate transfer-encoding upgrade user-agent";
    let free = headers.iter().filter(|(name, _)| !is_one_of(USUAL, name) && !is_ours(name));
    let lines = free
        .map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
    lines.collect()
}

/// Whether a header is of one connection only (RFC 9110 §7.6.1). The gate has refused those that `Connection` names.
pub fn is_hop_by_hop(name: &HeaderName) -> bool {
    const ALWAYS: &str = "connection http2-settings keep-alive proxy-connection proxy-authenticate \
        proxy-authorization te transfer-encoding upgrade";
    is_one_of(ALWAYS, name)
}

fn is_one_of(names: &str, name: &HeaderName) -> bool {
    names.split(' ').any(|one| one == name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &'static str, value: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, http::HeaderValue::from_static(value));
        headers
    }

    #[test]
    fn what_an_agent_writes_into_headers_of_its_own_is_seen() {
        assert_eq!(free_text(&of("x-note", "123-45-6789")), "x-note: 123-45-6789\n");
        assert_eq!(free_text(&of("user-agent", "curl")), "");
        // A token said to the proxy is no credential that leaves.
        assert_eq!(free_text(&of("proxy-authorization", "Basic YWdlbnQ6c2VjcmV0")), "");
    }
}
