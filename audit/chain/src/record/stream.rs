//! The records a stream writes about itself: birth, clock steps, registry heads, seals.
//!
//! Not here: what the registry writes about streams (`registry`). Invariant: a seal's sums are those of the records
//! since the seal before.

use super::json::{Reader, Writer};
use super::{Draft, Head, Kind, RecordError};
use crate::{Hash, Origin};
use aegis_domain::{Effect, MicroUsd, TenantId};

/// The stream that came before, and how far it is known to have reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Previous {
    pub origin: Origin,
    pub size: u64,
    pub root: Hash,
}

/// The body of a `genesis` record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenesisEntry {
    pub origin: Origin,
    /// The stream's verifier key, in signed-note form. Verifiers take it from the registry, not from here.
    pub vkey: String,
    /// Version and commit of the software.
    pub build: String,
    pub config_sha256: Hash,
    pub previous: Option<Previous>,
}

/// The body of a `clock` record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockEntry {
    /// By how much wall time minus monotonic time has moved since it was last on record.
    pub step_ns: i64,
}

/// The body of an `anchor_ref` record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnchorRefEntry {
    pub registry: Origin,
    pub size: u64,
    pub root: Hash,
}

/// Counts and sums over the records of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub records: u64,
    pub allow: u64,
    pub sanitize: u64,
    pub approval_needed: u64,
    pub deny: u64,
    pub outcomes: u64,
    pub cost_microusd: u64,
    pub first_ts: u64,
    pub last_ts: u64,
}

impl Tally {
    /// Counts one more record; `cost` is that of an outcome.
    pub fn add(&mut self, kind: Kind, effect: Option<Effect>, (ts, cost): (u64, MicroUsd)) {
        let slot = match effect {
            Some(Effect::Allow) => Some(&mut self.allow),
            Some(Effect::Sanitize) => Some(&mut self.sanitize),
            Some(Effect::ApprovalNeeded) => Some(&mut self.approval_needed),
            Some(Effect::Deny) => Some(&mut self.deny),
            None => None,
        };
        if let Some(slot) = slot {
            *slot = slot.saturating_add(1);
        }
        if kind == Kind::Outcome {
            self.outcomes = self.outcomes.saturating_add(1);
        }
        self.cost_microusd = self.cost_microusd.saturating_add(cost.micro_usd());
        self.first_ts = if self.records == 0 { ts } else { self.first_ts };
        self.last_ts = ts;
        self.records = self.records.saturating_add(1);
    }

    /// These records and then those.
    pub fn and(self, later: Self) -> Self {
        let (first_ts, last_ts) = (self.first_ts, later.last_ts);
        Self {
            records: self.records.saturating_add(later.records),
            allow: self.allow.saturating_add(later.allow),
            sanitize: self.sanitize.saturating_add(later.sanitize),
            approval_needed: self.approval_needed.saturating_add(later.approval_needed),
            deny: self.deny.saturating_add(later.deny),
            outcomes: self.outcomes.saturating_add(later.outcomes),
            cost_microusd: self.cost_microusd.saturating_add(later.cost_microusd),
            first_ts: if self.records == 0 { later.first_ts } else { first_ts },
            last_ts: if later.records == 0 { self.last_ts } else { last_ts },
        }
    }
}

/// The body of a `seal` record: the sums of all records since the last seal, this one left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealEntry {
    /// Number of the first record of the segment.
    pub first: u64,
    pub tally: Tally,
    /// SHA-256 of the manifest of the segment before, once segments are shipped.
    pub manifest: Option<Hash>,
}

/// The body of a `tenant_seal` record: how far the tenant's own records reached before this one, which is its next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantSealEntry {
    pub tenant: TenantId,
    /// The last record's number among the tenant's.
    pub last_tseq: u64,
    pub last_leaf: Hash,
}

impl GenesisEntry {
    pub fn draft(&self) -> Result<Draft, RecordError> {
        let mut w = Writer::new(Kind::Genesis);
        w.text("origin", self.origin.as_str()).text("vkey", &self.vkey);
        w.text("build", &self.build).hash("config_sha256", &self.config_sha256);
        write_previous(&mut w, self.previous.as_ref());
        w.finish(Draft::empty(Kind::Genesis))
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, RecordError> {
        Ok(Self {
            origin: r.parsed("origin", |text| Origin::parse(text).ok())?,
            vkey: r.text("vkey")?.into_owned(),
            build: r.text("build")?.into_owned(),
            config_sha256: r.parsed("config_sha256", Hash::parse)?,
            previous: read_previous(r)?,
        })
    }
}

impl ClockEntry {
    pub fn draft(&self) -> Result<Draft, RecordError> {
        let mut w = Writer::new(Kind::Clock);
        w.text("step_ns", &self.step_ns.to_string());
        w.finish(Draft::empty(Kind::Clock))
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, RecordError> {
        let canonical = |text: &str| text.parse::<i64>().ok().filter(|n| n.to_string() == text);
        Ok(Self { step_ns: r.parsed("step_ns", canonical)? })
    }
}

impl AnchorRefEntry {
    pub fn draft(&self) -> Result<Draft, RecordError> {
        let mut w = Writer::new(Kind::AnchorRef);
        w.text("registry", self.registry.as_str()).wide("size", self.size).hash("root", &self.root);
        w.finish(Draft::empty(Kind::AnchorRef))
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, RecordError> {
        Ok(Self {
            registry: r.parsed("registry", |text| Origin::parse(text).ok())?,
            size: r.wide("size")?,
            root: r.parsed("root", Hash::parse)?,
        })
    }
}

impl SealEntry {
    pub fn draft(&self) -> Result<Draft, RecordError> {
        let mut w = Writer::new(Kind::Seal);
        let tally = &self.tally;
        w.wide("first", self.first).wide("records", tally.records).wide("allow", tally.allow);
        w.wide("sanitize", tally.sanitize).wide("approval_needed", tally.approval_needed);
        w.wide("deny", tally.deny).wide("outcomes", tally.outcomes);
        w.wide("cost_microusd", tally.cost_microusd);
        w.wide("first_ts", tally.first_ts).wide("last_ts", tally.last_ts);
        if let Some(manifest) = &self.manifest {
            w.hash("manifest", manifest);
        }
        w.finish(Draft::empty(Kind::Seal))
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, RecordError> {
        Ok(Self {
            first: r.wide("first")?,
            tally: Tally {
                records: r.wide("records")?,
                allow: r.wide("allow")?,
                sanitize: r.wide("sanitize")?,
                approval_needed: r.wide("approval_needed")?,
                deny: r.wide("deny")?,
                outcomes: r.wide("outcomes")?,
                cost_microusd: r.wide("cost_microusd")?,
                first_ts: r.wide("first_ts")?,
                last_ts: r.wide("last_ts")?,
            },
            manifest: r.opt("manifest", Hash::parse)?,
        })
    }
}

impl TenantSealEntry {
    pub fn draft(&self) -> Result<Draft, RecordError> {
        let mut w = Writer::new(Kind::TenantSeal);
        w.text("tenant", self.tenant.as_str());
        w.wide("last_tseq", self.last_tseq).hash("last_leaf", &self.last_leaf);
        let tenant = Some(self.tenant.clone());
        w.finish(Draft { tenant, ..Draft::empty(Kind::TenantSeal) })
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, RecordError> {
        Ok(Self {
            tenant: r.parsed("tenant", |text| TenantId::parse(text).ok())?,
            last_tseq: r.wide("last_tseq")?,
            last_leaf: r.parsed("last_leaf", Hash::parse)?,
        })
    }

    /// Whether it says of its place what the place says itself.
    pub fn agrees(&self, head: &Head) -> bool {
        self.last_tseq.checked_add(1) == Some(head.tseq) && self.last_leaf == head.tprev
    }
}

pub(super) fn write_previous(w: &mut Writer, previous: Option<&Previous>) {
    if let Some(previous) = previous {
        w.open("previous").text("origin", previous.origin.as_str());
        w.wide("size", previous.size).hash("root", &previous.root).close();
    }
}

pub(super) fn read_previous(r: &mut Reader<'_>) -> Result<Option<Previous>, RecordError> {
    r.object("previous", |r| {
        Ok(Previous {
            origin: r.parsed("origin", |text| Origin::parse(text).ok())?,
            size: r.wide("size")?,
            root: r.parsed("root", Hash::parse)?,
        })
    })
}
