//! The chain: puts a draft at its place in the stream, and checks that a record stands at its place.
//!
//! Pure: times are arguments. Not here: frames and files (`frame`, `audit/ship`). Invariant: chain, tenant chains and
//! tree run over the same leaf hashes; what `Sequencer` writes is exactly what `Walker` accepts.

mod amid;
mod pruned;
mod tenants;

pub use amid::Amid;
pub use pruned::Pruned;

use std::collections::BTreeSet;

use aegis_domain::{TenantId, Timestamp};

use crate::record::{self, ClockEntry, Draft, Fields, Kind, SealEntry, Tally, TenantSealEntry};
use crate::roster::{Line, Lines, Reach};
use crate::tree::Frontier;
use crate::{Hash, Head, Origin};
use tenants::{Link, NOBODYS, Tenants};

impl Origin {
    /// What the first record of this stream links to.
    pub fn before_stream(&self) -> Hash {
        Hash::of(format!("aegis.dev/audit/genesis/v1\n{self}").as_bytes())
    }

    /// What the first record of a tenant in this stream links to.
    pub fn before_tenant(&self, tenant: &str) -> Hash {
        Hash::of(format!("aegis.dev/audit/tenant/v1\n{self}\n{tenant}").as_bytes())
    }
}

/// A step of the wall clock larger than this is put on record.
pub const CLOCK_STEP_NS: u64 = 250_000_000;

/// The two readings every record bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    pub wall: Timestamp,
    /// Nanoseconds since the stream began.
    pub mono_ns: u64,
}

/// A record that has its place.
#[derive(Clone, Debug)]
pub struct Placed {
    pub bytes: Vec<u8>,
    pub seq: u64,
    pub leaf: Hash,
    pub ts: Timestamp,
}

/// Where the next record links to.
#[derive(Clone, Debug)]
struct Chain {
    origin: Origin,
    prev: Link,
    tenants: Tenants,
    tree: Frontier,
}

impl Chain {
    fn new(origin: Origin) -> Self {
        let prev = Link::to(origin.before_stream());
        Self { origin, prev, tenants: Tenants::default(), tree: Frontier::new() }
    }

    /// Where the next record of a tenant goes.
    fn due<'t>(&self, tenant: Option<&'t str>) -> Due<'t> {
        let Some(name) = tenant else {
            return Due { tenant: None, tseq: 0, tprev: NOBODYS };
        };
        match self.tenants.get(name) {
            Some((place, reached)) => {
                Due { tenant: Some((Some(place), name)), tseq: reached.next, tprev: reached.last }
            }
            None => {
                let tprev = Link::to(self.origin.before_tenant(name));
                Due { tenant: Some((None, name)), tseq: 0, tprev }
            }
        }
    }

    fn push(&mut self, leaf: Hash, due: &Due<'_>) {
        self.prev = Link::to(leaf);
        self.tree.push(leaf);
        if let Some(tenant) = due.tenant {
            self.tenants.advance(tenant, due.tseq.saturating_add(1), self.prev);
        }
    }

    fn head(&self) -> Head {
        Head { origin: self.origin.clone(), size: self.tree.size(), root: self.tree.root() }
    }
}

/// What the next record must say of its tenant.
#[derive(Clone, Copy, Debug)]
struct Due<'t> {
    /// Its place among the tenants, where it has one yet, and its name.
    tenant: Option<(Option<usize>, &'t str)>,
    tseq: u64,
    tprev: Link,
}

/// Gives drafts their places; there is one per stream, owned by its writer.
#[derive(Clone, Debug)]
pub struct Sequencer {
    chain: Chain,
    mono_ns: u64,
    clock: Option<i128>,
    seal_first: u64,
    tally: Tally,
    /// Tenants with records since their last seal.
    unsealed: BTreeSet<TenantId>,
}

impl Sequencer {
    pub fn new(origin: Origin) -> Self {
        let chain = Chain::new(origin);
        let (tally, unsealed) = (Tally::default(), BTreeSet::new());
        Self { chain, mono_ns: 0, clock: None, seal_first: 0, tally, unsealed }
    }

    /// Goes on where a walk over the stream's records ended.
    pub fn resume(walker: Walker) -> Self {
        let Walker { chain, mono_ns, clock } = walker;
        let seal_first = chain.tree.size();
        let (tally, unsealed) = (Tally::default(), BTreeSet::new());
        Self { chain, mono_ns, clock, seal_first, tally, unsealed }
    }

    pub fn origin(&self) -> &Origin {
        &self.chain.origin
    }

    /// Stands where this one stands.
    pub fn walker(&self) -> Walker {
        Walker { chain: self.chain.clone(), mono_ns: self.mono_ns, clock: self.clock }
    }

    /// The number the next record gets, which is also how many there are.
    pub fn size(&self) -> u64 {
        self.chain.tree.size()
    }

    /// The latest monotonic reading on record.
    pub fn mono_ns(&self) -> u64 {
        self.mono_ns
    }

    /// Head over everything placed so far.
    pub fn head(&self) -> Head {
        self.chain.head()
    }

    /// The tree so far, whose root can be computed elsewhere.
    pub fn tree(&self) -> &Frontier {
        &self.chain.tree
    }

    /// The `clock` record that must come first when the wall clock has stepped.
    pub fn clock_step(&self, now: Reading) -> Option<ClockEntry> {
        let step = offset(now.wall.unix_ns(), now.mono_ns).checked_sub(self.clock?)?;
        let stepped = step.unsigned_abs() > u128::from(CLOCK_STEP_NS);
        let capped = i64::try_from(step).unwrap_or(if step < 0 { i64::MIN } else { i64::MAX });
        stepped.then_some(ClockEntry { step_ns: capped })
    }

    /// How many records the next seal would cover.
    pub fn unsealed(&self) -> u64 {
        self.tally.records
    }

    /// The `seal` over everything since the last one.
    pub fn seal(&self) -> SealEntry {
        SealEntry { first: self.seal_first, tally: self.tally, manifest: None }
    }

    /// A `tenant_seal` for each tenant with records since its last one; they stand before the `seal`.
    pub fn tenant_seals(&mut self) -> Vec<TenantSealEntry> {
        let tenants = std::mem::take(&mut self.unsealed).into_iter();
        let seal = |tenant: TenantId| {
            let Due { tseq, tprev, .. } = self.chain.due(Some(tenant.as_str()));
            let (last_tseq, last_leaf) = (tseq.saturating_sub(1), tprev.leaf());
            TenantSealEntry { tenant, last_tseq, last_leaf }
        };
        tenants.map(seal).collect()
    }

    /// Fills in the head of a draft and hashes it.
    pub fn place(&mut self, draft: Draft, now: Reading) -> Placed {
        let Draft { mut bytes, kind, tenant, effect, cost } = draft;
        if let Some(tenant) = &tenant
            && kind != Kind::TenantSeal
            && !self.unsealed.contains(tenant)
        {
            self.unsealed.insert(tenant.clone());
        }
        let due = self.chain.due(tenant.as_ref().map(TenantId::as_str));
        let (tseq, tprev) = (due.tseq, due.tprev.leaf());
        self.mono_ns = self.mono_ns.max(now.mono_ns);
        let (seq, ts) = (self.size(), now.wall.unix_ns());
        let mono = self.mono_ns;
        let head = record::Head { seq, prev: self.chain.prev.leaf(), tseq, tprev, ts, mono };
        if let Some(slot) = bytes.get_mut(..record::HEAD_BYTES) {
            slot.copy_from_slice(&head.encode());
        }
        if self.clock.is_none() || kind == Kind::Clock {
            self.clock = Some(offset(ts, mono));
        }
        if kind == Kind::Seal {
            (self.seal_first, self.tally) = (seq.saturating_add(1), Tally::default());
        } else {
            self.tally.add(kind, effect, (ts, cost));
        }
        let leaf = Hash::leaf(&bytes);
        self.chain.push(leaf, &due);
        Placed { bytes, seq, leaf, ts: now.wall }
    }
}

fn offset(ts: u64, mono_ns: u64) -> i128 {
    i128::from(ts).saturating_sub(i128::from(mono_ns))
}

/// What is wrong with a record's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    #[error("the record's head is not in the fixed form")]
    Head,
    #[error("the record is number {found}, and number {expected} was due")]
    Seq { expected: u64, found: u64 },
    #[error("the record does not link to the one before it: one of the two was changed")]
    Prev,
    #[error("the record does not follow its tenant's record before it")]
    Tenant,
    #[error("the monotonic clock goes backwards")]
    Mono,
}

/// A record that stands at its place.
#[derive(Clone, Copy, Debug)]
pub struct Checked<'a> {
    pub head: record::Head,
    /// The text of `k`, which may be of a kind this version does not know.
    pub kind: &'a str,
    /// A step of the wall clock that no `clock` record announces.
    pub unrecorded_step_ns: Option<i128>,
    due: Due<'a>,
    clock: Option<i128>,
}

/// Follows a stream record by record, from its start.
#[derive(Clone, Debug)]
pub struct Walker {
    chain: Chain,
    mono_ns: u64,
    clock: Option<i128>,
}

impl Walker {
    pub fn new(origin: Origin) -> Self {
        Self { chain: Chain::new(origin), mono_ns: 0, clock: None }
    }

    pub fn origin(&self) -> &Origin {
        &self.chain.origin
    }

    /// How many records were accepted, which is also the number the next one must bear.
    pub fn size(&self) -> u64 {
        self.chain.tree.size()
    }

    pub fn head(&self) -> Head {
        self.chain.head()
    }

    /// The tree over what was accepted.
    pub fn tree(&self) -> &Frontier {
        &self.chain.tree
    }

    /// Whose records were accepted, and how far each one's reach.
    pub fn roster_lines(&self) -> Lines {
        let Chain { origin, tenants, .. } = &self.chain;
        let lines = tenants.iter().map(|one| {
            Line::of(origin, &one.name, &Reach { records: one.next, last: one.last.leaf() })
        });
        Lines::new(lines.collect())
    }

    /// Checks that `record` is the next one.
    pub fn check<'a>(&self, record: &'a [u8]) -> Result<Checked<'a>, LinkError> {
        let found = Fields::parse(record).ok_or(LinkError::Head)?;
        let (kind, tenant) = record::kind_and_tenant(record).ok_or(LinkError::Head)?;
        let (prev, due) = (&self.chain.prev, self.chain.due(tenant));
        let links = prev.is(found.prev) && found.tseq == due.tseq && due.tprev.is(found.tprev);
        if !links || found.seq != self.size() || found.mono < self.mono_ns {
            return Err(self.refusal(record, &due));
        }
        let Fields { seq, tseq, ts, mono, .. } = found;
        let head = record::Head { seq, prev: prev.leaf(), tseq, tprev: due.tprev.leaf(), ts, mono };
        let now = offset(head.ts, head.mono);
        let step = self.clock.map_or(0, |before| now.saturating_sub(before));
        let large = step.unsigned_abs() > u128::from(CLOCK_STEP_NS);
        let announced = kind == Kind::Clock.as_str();
        let moves = large || announced || self.clock.is_none();
        Ok(Checked {
            head,
            kind,
            unrecorded_step_ns: (large && !announced).then_some(step),
            due,
            clock: if moves { Some(now) } else { self.clock },
        })
    }

    /// Why a record is not the next one.
    fn refusal(&self, record: &[u8], due: &Due<'_>) -> LinkError {
        let expected = self.size();
        match record::Head::parse(record) {
            None => LinkError::Head,
            Some(head) if head.seq != expected => LinkError::Seq { expected, found: head.seq },
            Some(head) if head.prev != self.chain.prev.leaf() => LinkError::Prev,
            Some(head) if (head.tseq, head.tprev) != (due.tseq, due.tprev.leaf()) => {
                LinkError::Tenant
            }
            Some(_) => LinkError::Mono,
        }
    }

    /// Goes past a record that `check` has let through.
    pub fn accept(&mut self, record: &[u8], checked: &Checked<'_>) -> Hash {
        let leaf = Hash::leaf(record);
        self.mono_ns = checked.head.mono;
        self.clock = checked.clock;
        self.chain.push(leaf, &checked.due);
        leaf
    }
}
