//! What holding a package against its keys found: one verdict, and each thing by its name.
//!
//! Not here: how it is found (`check`). Invariant: a verdict follows from the findings and gaps alone, and an empty package
//! never passes.

use aegis_audit_chain::note::NoteError;
use aegis_audit_chain::record::{Ending, RecordError};
use aegis_audit_chain::{Head, Origin};
use aegis_audit_registry::RegistryFlaw;
use aegis_audit_verify::Verdict;
use aegis_domain::TenantId;
use serde_json::{Value, json};

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("no trusted registry bears this name")]
    Untrusted,
    #[error("the registry does not hold: {0}")]
    Registry(RegistryFlaw),
    #[error("the registry ends at {found} records, and a head of {signed} was seen before")]
    Older { found: u64, signed: u64 },
    #[error("the registry is not the one whose head of {size} records was seen before")]
    Other { size: u64 },
    #[error("the registry names this stream, and the package leaves it out")]
    LeftOut,
    #[error("the registry does not name this stream, or the package brings it twice")]
    Stranger,
    #[error(
        "the package goes up to a head of {found} records, and the registry signs for {signed}"
    )]
    Stale { found: u64, signed: u64 },
    #[error("the gateway found the stream {} when it started again", .0.as_str())]
    FoundBroken(Ending),
    #[error("the signature of the head does not hold: {0}")]
    Anchor(NoteError),
    #[error("{0}")]
    Record(RecordError),
    #[error("the record is not this tenant's")]
    OtherTenant,
    #[error("the tenant's records {from} to {to} are missing before this one")]
    Dropped { from: u64, to: u64 },
    #[error("the record is out of order, or stands here twice")]
    Order,
    #[error(
        "the record does not link to the tenant's record before it: one of the two was changed"
    )]
    Changed,
    #[error("the tenant's seal names another record than the tenant's last")]
    Seal,
    #[error("the roster's lines do not lead to the root that the head bears")]
    Roster,
    #[error("the head's roster names {signed} records of this tenant, and {found} are here")]
    Truncated { found: u64, signed: u64 },
    #[error("the head's roster names another last record of this tenant")]
    Last,
    #[error("the roster's lines do not show that this tenant has no records")]
    NotAbsent,
    #[error(
        "the stream's key was revoked behind {stands} records, and it signed a head of {signed}"
    )]
    Revoked { stands: u64, signed: u64 },
    #[error("the records do not lead to the root of the head of {size} records")]
    Root { size: u64 },
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub origin: Origin,
    /// The record's number in its stream.
    pub seq: Option<u64>,
    pub flaw: Flaw,
}

/// Something that could not be judged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Gap {
    #[error("the trust file names this registry, and the package brings none of it")]
    NoRegistry(Origin),
    #[error("the stream was born, and no head of it is signed yet")]
    Unsigned(Origin),
    #[error(
        "the stream's key was revoked, and records behind its last head may be somebody else's"
    )]
    Revoked(Origin),
}

impl Gap {
    pub fn origin(&self) -> &Origin {
        let (Gap::NoRegistry(origin) | Gap::Unsigned(origin) | Gap::Revoked(origin)) = self;
        origin
    }
}

/// The tenant's part of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamReport {
    pub origin: Origin,
    /// The tenant's records in it.
    pub records: u64,
    /// Records of all tenants under the signed head.
    pub size: u64,
    /// `None` while it is being written.
    pub ended: Option<Ending>,
}

/// Everything that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub tenant: TenantId,
    pub findings: Vec<Finding>,
    pub gaps: Vec<Gap>,
    pub streams: Vec<StreamReport>,
    /// The registry heads that this is complete up to; the next check should be given them as `remembered`.
    pub registries: Vec<Head>,
    /// When the newest of them was signed, in nanoseconds since 1970.
    pub until_ns: u64,
    /// The tenant's records in all.
    pub records: u64,
}

impl Report {
    pub(crate) fn new(tenant: TenantId) -> Self {
        let (findings, gaps, streams, registries) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { tenant, findings, gaps, streams, registries, until_ns: 0, records: 0 }
    }

    pub fn verdict(&self) -> Verdict {
        if !self.findings.is_empty() {
            Verdict::Fail
        } else if !self.gaps.is_empty() || self.streams.is_empty() {
            Verdict::Incomplete
        } else {
            Verdict::Pass
        }
    }

    pub(crate) fn fail(&mut self, origin: &Origin, seq: Option<u64>, flaw: Flaw) {
        self.findings.push(Finding { origin: origin.clone(), seq, flaw });
    }

    /// The report for machines.
    pub fn to_json(&self) -> Value {
        let finding = |it: &Finding| json!({"origin": it.origin.as_str(), "seq": it.seq, "what": it.flaw.to_string()});
        let gap = |it: &Gap| json!({"origin": it.origin().as_str(), "what": it.to_string()});
        let stream = |it: &StreamReport| {
            let ended = it.ended.map(Ending::as_str);
            json!({"origin": it.origin.as_str(), "records": it.records, "size": it.size, "ended": ended})
        };
        json!({
            "verdict": self.verdict().as_str(),
            "tenant": self.tenant.as_str(),
            "records": self.records,
            "findings": self.findings.iter().map(finding).collect::<Vec<_>>(),
            "gaps": self.gaps.iter().map(gap).collect::<Vec<_>>(),
            "streams": self.streams.iter().map(stream).collect::<Vec<_>>(),
            "registry_heads": self.registries.iter().map(Head::checkpoint).collect::<Vec<_>>(),
            "until_ns": self.until_ns,
        })
    }
}
