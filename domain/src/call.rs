//! What an agent wants to send, in the one form that policy judges and the upstream receives.
//!
//! Not here: reading it (`corridor::rooms::read`). Invariant: `params_hash` is over the exact body, `path` what goes upstream.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::{AgentId, Host, McpTool, MicroUsd, ToolName};

/// The parameters policy sees, from path, query and body together.
pub type Params = serde_json::Map<String, serde_json::Value>;

/// Whether a call changes anything at its upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallKind {
    Read,
    Write,
}

impl CallKind {
    pub fn as_str(self) -> &'static str {
        match self {
            CallKind::Read => "read",
            CallKind::Write => "write",
        }
    }
}

/// How the upstream is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    Http,
    Https,
}

/// An HTTP method: a token of 1 to 32 upper-case letters, digits or `-` (RFC 9110 §9.1, kept narrow on purpose).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Method(Box<str>);

impl Method {
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=32).contains(&text.len());
        let token = text.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'0'..=b'9' | b'-'));
        (fits && token).then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads are the safe methods of RFC 9110 §9.2.1; anything else may change something.
    pub fn kind(&self) -> CallKind {
        if matches!(self.as_str(), "GET" | "HEAD" | "OPTIONS") {
            CallKind::Read
        } else {
            CallKind::Write
        }
    }
}

/// SHA-256 over the exact bytes of the request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ParamsHash([u8; 32]);

impl ParamsHash {
    pub fn of(body: &[u8]) -> Self {
        Self(Sha256::digest(body).into())
    }

    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ParamsHash {
    /// base64url without padding, 43 characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// A `tools/call` request of the Model Context Protocol (specification 2025-11-25, server/tools), as the gateway read
/// it off the body. The `arguments` object is the call's `params`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct McpCall {
    /// The server, as this gateway's config calls it; what a server says of itself proves nothing.
    pub server: ToolName,
    /// `params.name` of the request.
    pub tool: McpTool,
}

/// One call an agent wants to make, bounded and parsed, before anyone has judged it.
#[derive(Clone, Debug, PartialEq)]
pub struct EgressCall {
    /// The first segment of the route: which upstream binding the agent addressed.
    pub route: ToolName,
    pub scheme: Scheme,
    pub host: Host,
    pub port: u16,
    pub method: Method,
    /// The path that goes upstream, without query.
    pub path: String,
    /// The query that goes upstream, without `?`.
    pub query: Option<String>,
    pub kind: CallKind,
    /// The MCP tool that the body calls, when it calls one; host, method and path are then the server's endpoint.
    pub mcp: Option<McpCall>,
    pub params: Params,
    pub params_hash: ParamsHash,
    pub body_bytes: u64,
    pub estimated_cost: MicroUsd,
}

impl EgressCall {
    /// The digest of all that goes upstream in one agent's name, which is what a grant is bound to. Each part stands behind
    /// its length, so that no byte can move from one to the next.
    pub fn digest(&self, agent: &AgentId) -> ParamsHash {
        let port = self.port.to_string();
        let mcp = self.mcp.as_ref().map(|mcp| mcp.tool.as_str());
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let mut digest = Sha256::new_with_prefix(b"aegis.dev/call/v1\n");
        let (query, none) = (self.query.as_deref(), "");
        for part in [
            agent.as_str(),
            self.route.as_str(),
            scheme,
            self.host.as_str(),
            &port,
            self.method.as_str(),
            &self.path,
            // A query that is empty is not one that is absent.
            query.map_or("no", |_| "yes"),
            query.unwrap_or(none),
            mcp.unwrap_or(none),
        ] {
            digest.update(part.len().to_string());
            digest.update(b":");
            digest.update(part);
        }
        digest.update(self.params_hash.as_bytes());
        ParamsHash(digest.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_methods_count_as_writes() {
        assert_eq!(Method::parse("GET").unwrap().kind(), CallKind::Read);
        assert_eq!(Method::parse("PURGE").unwrap().kind(), CallKind::Write);
        assert_eq!(Method::parse("get"), None);
        assert_eq!(Method::parse(""), None);
    }

    #[test]
    fn every_part_of_a_call_changes_its_digest() {
        let call = EgressCall {
            route: ToolName::parse("pay").unwrap(),
            scheme: Scheme::Https,
            host: Host::parse("a.test").unwrap(),
            port: 443,
            method: Method::parse("POST").unwrap(),
            path: "/x".to_owned(),
            query: None,
            kind: CallKind::Write,
            mcp: None,
            params: Params::new(),
            params_hash: ParamsHash::of(b"body"),
            body_bytes: 4,
            estimated_cost: MicroUsd::ZERO,
        };
        let (bot, other) = (AgentId::parse("bot").unwrap(), AgentId::parse("other").unwrap());
        let with = |change: fn(&mut EgressCall)| {
            let mut call = call.clone();
            change(&mut call);
            call.digest(&bot)
        };
        let digests = [
            call.digest(&bot),
            call.digest(&other),
            with(|call| call.route = ToolName::parse("pays").unwrap()),
            with(|call| call.scheme = Scheme::Http),
            with(|call| call.host = Host::parse("b.test").unwrap()),
            with(|call| call.port = 444),
            with(|call| call.method = Method::parse("PUT").unwrap()),
            with(|call| call.path = "/x/".to_owned()),
            with(|call| call.query = Some(String::new())),
            with(|call| call.query = Some("a=1".to_owned())),
            with(|call| call.params_hash = ParamsHash::of(b"another body")),
        ];
        let distinct: std::collections::HashSet<_> = digests.iter().collect();
        assert_eq!(distinct.len(), digests.len());
        assert_eq!(call.digest(&bot), digests[0]);
    }

    #[test]
    fn params_hash_is_sha256_in_base64url() {
        // RFC 6234 test: SHA-256("") = e3b0c442..b855
        assert_eq!(ParamsHash::of(b"").to_string(), "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU");
    }
}
