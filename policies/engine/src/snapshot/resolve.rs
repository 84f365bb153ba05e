//! Which tool a call is for: the one whose host, method and path (or MCP names) hold, or else the one that comes closest.
//!
//! Not here: whether the call is allowed. Invariant: resolving never lets a call through; the tool's program checks
//! them again, so a wrong guess is a refusal with a less helpful reason.

use std::collections::BTreeSet;

use aegis_domain::{EgressCall, Host, McpCall, Method, ToolName};

use aegis_policy_language::host_candidates;
use aegis_policy_language::{Match, Name, PathPattern, PolicySet};

/// A tool's `match`, ready for look-ups.
#[derive(Debug)]
pub(super) struct Matcher {
    hosts: BTreeSet<String>,
    methods: Vec<Method>,
    /// Longest literal part first.
    paths: Vec<PathPattern>,
    mcp: Option<McpCall>,
    passes_through: bool,
}

/// How well a call fits; what stands first counts most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Closeness {
    /// Both speak MCP or neither does.
    protocol: bool,
    /// For MCP, the tool's name.
    path: bool,
    /// For MCP, the server's name as well.
    host: bool,
    method: bool,
    /// Bytes of the path that the best pattern fixes.
    literal_bytes: usize,
}

/// Whether a tool belongs to a route: it has its name, or begins with it and a dot.
pub(super) fn belongs(tool: &ToolName, route: &ToolName) -> bool {
    let rest = tool.as_str().strip_prefix(route.as_str());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

impl Matcher {
    pub(super) fn new(set: &PolicySet, matching: &Match) -> Self {
        let mut paths = matching.paths.clone();
        paths.sort_by_key(|path| std::cmp::Reverse(path.literal_bytes()));
        let hosts = set.members(&matching.hosts).iter().map(|host| host.to_string());
        Self {
            hosts: hosts.collect(),
            methods: matching.methods.clone(),
            paths,
            mcp: matching.mcp.clone(),
            passes_through: matching.passes_through(),
        }
    }

    /// Whether tunnels to a host are passed through unopened.
    pub(super) fn passes_through(&self, host: &Host) -> bool {
        self.passes_through && self.names(host)
    }

    fn names(&self, host: &Host) -> bool {
        host_candidates(host.as_str()).any(|name| self.hosts.contains(&name))
    }

    pub(super) fn closeness(&self, call: &EgressCall) -> Closeness {
        let host = self.hosts.is_empty() || self.names(&call.host);
        if let Some(wanted) = &self.mcp {
            let called = call.mcp.as_ref();
            return Closeness {
                protocol: called.is_some(),
                path: called.is_some_and(|called| called.tool == wanted.tool),
                host: host && called.is_some_and(|called| called.server == wanted.server),
                method: true,
                literal_bytes: 0,
            };
        }
        let path = self.paths.iter().find(|path| path.matches(&call.path).is_some());
        Closeness {
            protocol: call.mcp.is_none(),
            path: path.is_some(),
            host,
            method: self.methods.contains(&call.method),
            literal_bytes: path.map_or(0, PathPattern::literal_bytes),
        }
    }

    pub(super) fn path_params<'p>(&'p self, path: &'p str) -> Vec<(&'p Name, &'p str)> {
        self.paths.iter().find_map(|pattern| pattern.matches(path)).unwrap_or_default()
    }
}
