//! Pairs of tools that one request could belong to equally well.
//!
//! Not here: which of them gets the request (`policies/engine`, `snapshot::resolve`). Invariant: a pair that is named
//! has a request in common; the work is bounded by `COMPARED_MAX` comparisons, after which pairs go unnamed.

use std::collections::{BTreeMap, BTreeSet};

use aegis_domain::ToolName;

use super::finding::{Code, Findings};
use aegis_policy_language::host_candidates;
use aegis_policy_language::{ListRef, Match, PathPattern, PolicySet, Segment, Tool};

/// How many host names and paths are compared in all.
const COMPARED_MAX: usize = 5_000_000;

pub(super) fn overlaps(set: &PolicySet, found: &mut Findings) {
    let mut hosts = Hosts { set, closures: BTreeMap::new(), left: COMPARED_MAX };
    let tools: Vec<(&ToolName, &Tool)> = set.tools.iter().collect();
    for (index, (name, tool)) in tools.iter().enumerate() {
        for (other_name, other) in tools.iter().take(index) {
            if hosts.answer_alike(&tool.matching, &other.matching) {
                let message = format!("`{other_name}` and `{name}` match the same requests");
                let help = match tool.matching.mcp {
                    None => "the longer path wins, then the name that sorts first",
                    Some(_) => {
                        "the name that sorts first wins; leave one, or tell them apart by `hosts`"
                    }
                };
                found.add(Code::OverlappingTools, &tool.at, message, help);
            }
        }
    }
}

/// The host lists of a set, each prepared once.
struct Hosts<'s> {
    set: &'s PolicySet,
    /// By the address of the list: every pattern that covers one of its hosts.
    closures: BTreeMap<*const aegis_policy_language::Text, BTreeSet<String>>,
    left: usize,
}

impl Hosts<'_> {
    /// A call that speaks MCP belongs only to a tool that names its server and tool, and such a tool takes no other.
    fn answer_alike(&mut self, a: &Match, b: &Match) -> bool {
        if a.mcp.is_some() || b.mcp.is_some() {
            let any = is_any(&a.hosts) || is_any(&b.hosts);
            return a.mcp == b.mcp && (any || self.overlap(&a.hosts, &b.hosts));
        }
        self.left = self.left.saturating_sub(a.paths.len().saturating_mul(b.paths.len()));
        let methods = a.methods.iter().any(|method| b.methods.contains(method));
        let paths =
            self.left > 0 && a.paths.iter().any(|x| b.paths.iter().any(|y| paths_overlap(x, y)));
        methods && paths && self.overlap(&a.hosts, &b.hosts)
    }

    /// Whether some name matches both lists: a pattern of one covers a host of the other.
    fn overlap(&mut self, one: &ListRef, other: &ListRef) -> bool {
        let (a, b) = (self.set.members(one), self.set.members(other));
        if std::ptr::eq(a, b) {
            return !a.is_empty();
        }
        let cost = a.len().saturating_add(b.len());
        self.left = self.left.saturating_sub(cost);
        if self.left == 0 {
            return false;
        }
        [(a, b), (b, a)].into_iter().any(|(hosts, patterns)| {
            let covered = self.closures.entry(hosts.as_ptr()).or_insert_with(|| {
                let names = hosts.iter().map(|host| host.as_str().replacen('*', "any", 1));
                names.flat_map(|name| host_candidates(&name).collect::<Vec<_>>()).collect()
            });
            patterns.iter().any(|pattern| covered.contains(pattern.as_str()))
        })
    }
}

/// An MCP tool without hosts is for calls to any.
fn is_any(hosts: &ListRef) -> bool {
    matches!(hosts, ListRef::Inline(hosts) if hosts.is_empty())
}

fn paths_overlap(a: &PathPattern, b: &PathPattern) -> bool {
    let agree = |pair: (&Segment, &Segment)| match pair {
        (Segment::Param(_), Segment::Empty) | (Segment::Empty, Segment::Param(_)) => false,
        (Segment::Param(_), _) | (_, Segment::Param(_)) => true,
        (a, b) => a == b,
    };
    let (a_len, b_len) = (a.segments().len(), b.segments().len());
    let lengths = match (a.is_open(), b.is_open()) {
        (false, false) => a_len == b_len,
        (true, false) => a_len < b_len,
        (false, true) => b_len < a_len,
        (true, true) => true,
    };
    lengths && a.segments().iter().zip(b.segments()).all(agree)
}
