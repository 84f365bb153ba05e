//! What a region defines of a tenant and a gateway cannot follow.
//!
//! Not here: why it cannot (`allowed`, `read_definition`), and what is followed instead: nothing is. Invariant: what is named
//! here refuses calls, for whatever a gateway's own file says of it is not what the region wants.

use std::collections::BTreeMap;

use aegis_domain::ToolName;

use crate::Upstream;

/// Calls for any of it are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unusable {
    /// Its tools.
    pub tools: BTreeMap<ToolName, Leads>,
    /// Its limits: nobody knows then what any call of it may.
    pub limits: bool,
}

impl Unusable {
    pub fn count(&self) -> usize {
        self.tools.len().saturating_add(usize::from(self.limits))
    }
}

/// Where the calls of a tool would go that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leads {
    To(Upstream),
    /// Not even that can be read.
    Anywhere,
}
