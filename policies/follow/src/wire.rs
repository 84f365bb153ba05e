//! What goes over the wire: statements of what decides in a line, pages of them, and what a gateway reports back.
//!
//! Not here: checking them (`release`, `follow`). Invariant: a statement names the region it is for and the digest of every
//! bundle its pointer needs, so it can be believed alone, wherever it was kept.

use std::collections::BTreeMap;

use aegis_audit_chain::Hash;
use aegis_domain::{Region, TenantId, ToolName};
use aegis_ledger::{LineKey, Pointer};
use aegis_policy_rollout::Observed;
use serde::{Deserialize, Serialize};

/// `typ` of a statement, so that nothing else the region signs is taken for one.
pub const RELEASE_TYPE: &str = "aegis-release+jwt";
/// `typ` of a page.
pub const RELEASES_TYPE: &str = "aegis-releases+jwt";

/// What decides in a line, as it is said to one region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Where it counts.
    pub region: Region,
    /// The revision of the ledger that it was read at.
    pub revision: u64,
    pub line: LineKey,
    pub pointer: Pointer,
    /// The archive of each version that the pointer names.
    #[serde(with = "digests")]
    pub bundles: BTreeMap<u32, Hash>,
    /// Whose bundles they are, where the line comes from another region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<Authored>,
}

/// Another region whose bundles decide here: its keys are believed because this region says so, never because a bundle does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authored {
    pub region: Region,
    /// Of the author's pointer, as this region last took it.
    pub epoch: u64,
    /// A JSON Web Key Set.
    pub keys: Box<str>,
}

/// One answer of the feed: everything, or what came after a revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    pub region: Region,
    /// By the clock of who answers.
    pub at_s: u64,
    /// What it leads to.
    pub revision: u64,
    /// What it leads on from; `None` is nothing, and then a line that is not listed is not released.
    pub after: Option<u64>,
    /// Statements, each signed by itself.
    pub releases: Vec<String>,
    /// Lines that are released to this region no more.
    pub gone: Vec<LineKey>,
}

/// What a gateway says of itself. One of a later build may say more, and is heard all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub build: String,
    pub region: Region,
    pub lines: Vec<LineReport>,
    /// What the region defines and this gateway refuses calls for; left out where nothing is, for builds before know no such word.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unusable: Vec<UnusableReport>,
}

/// A definition of the region that one gateway cannot follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnusableReport {
    pub tenant: TenantId,
    /// `None` is the tenant's limits.
    pub tool: Option<ToolName>,
    /// The definition's: the event of the registry that made it what it is.
    pub version: u64,
    pub why: String,
}

/// What decides in one line, on one gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineReport {
    pub line: LineKey,
    /// Of the release that decides; zero while none does.
    pub epoch: u64,
    /// The version that decides; zero while none does.
    pub version: u32,
    /// Since when, by the clock of the region.
    pub since_s: u64,
    /// A later release that this gateway does not take.
    pub refused: Option<Refused>,
    /// The rollout under way, as far as it is known here.
    pub rollout: Option<RolloutReport>,
}

/// What both versions of a rollout did on one gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutReport {
    /// The rollout's id.
    pub id: String,
    pub stage: u32,
    /// Since when the stage has its agents, as the region's ledger has it.
    pub since_ns: u64,
    /// Since then, on this gateway.
    pub observed: Observed,
}

/// A release that was not taken, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    pub epoch: u64,
    pub why: String,
}

/// Version numbers as JSON's names, and hashes as 43 characters of base64url.
mod digests {
    use super::*;
    use serde::de::Error as _;
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        all: &BTreeMap<u32, Hash>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_map(all.iter().map(|(version, digest)| (version, digest.to_string())))
    }

    pub(super) fn deserialize<'de, D>(from: D) -> Result<BTreeMap<u32, Hash>, D::Error>
    where
        D: Deserializer<'de>,
    {
        let texts = BTreeMap::<u32, String>::deserialize(from)?;
        let hashes = texts.into_iter().map(|(version, text)| Some((version, Hash::parse(&text)?)));
        hashes.collect::<Option<_>>().ok_or_else(|| D::Error::custom("a digest is no hash"))
    }
}
