//! Host names as a policy's lists hold them.
//!
//! Not here: which host a call is for. Invariant: `*.example.org` stands for every name below it, at any depth, never
//! for the name itself.

/// The host itself, then `*.` before every parent: what a policy's host list may hold to match it.
pub fn host_candidates(host: &str) -> impl Iterator<Item = String> {
    let parents = host.match_indices('.').filter_map(|(dot, _)| host.get(dot..));
    std::iter::once(host.to_owned()).chain(parents.map(|parent| format!("*{parent}")))
}
