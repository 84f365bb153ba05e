//! Follows a stream from the middle: takes the first records' word for what stands before them, and keeps that word.
//!
//! Not here: whether it was true (`Walker::follow`). Invariant: where it was, a walker that leaps over these records stands where
//! one stands that took every step; where it was not, the walker does not leap.

use super::tenants::{Link, NOBODYS, Tenants};
use super::{CLOCK_STEP_NS, Checked, Due, LinkError, Walker, offset};
use crate::record::{self, Fields, Kind};
use crate::tree::Stretch;
use crate::walk::Follow;
use crate::{Hash, Origin};

/// Some records of a stream, followed without those before them.
#[derive(Clone, Debug)]
pub struct Amid {
    origin: Origin,
    claims: Claims,
    /// Where the record before is; of the first one nobody knows.
    prev: Option<Link>,
    tenants: Tenants,
    /// For each tenant, the leap in which it was seen last.
    seen: Vec<usize>,
    mono_ns: u64,
    clock: Option<i128>,
    /// Since the last leap.
    tree: Stretch,
    moved: Vec<usize>,
    /// Where a walker is to stop on its way, the next one last.
    stops: Vec<u64>,
    leaps: Vec<Leap>,
}

/// What these records say of those before them.
#[derive(Clone, Debug, Default)]
struct Claims {
    prev: Option<Hash>,
    /// Of each tenant: its number among them here, where its first record goes.
    tenants: Vec<(usize, u64, Hash)>,
    mono_ns: u64,
    /// Wall minus monotonic time, as long as no `clock` record said what it is: at first, at least and at most.
    clock: Option<(i128, i128, i128)>,
}

/// From one stop to the next.
#[derive(Clone, Debug)]
struct Leap {
    tree: Stretch,
    last: Link,
    /// How far the tenants with records in between reach: number here, next, last.
    tenants: Vec<(usize, u64, Link)>,
}

impl Amid {
    /// Stands before record `first`; `stops` rise.
    pub fn new(origin: Origin, first: u64, stops: &[u64]) -> Self {
        let ahead = stops.partition_point(|stop| *stop <= first);
        let ahead = stops.get(ahead..).unwrap_or_default();
        Self {
            origin,
            claims: Claims::default(),
            prev: None,
            tenants: Tenants::default(),
            seen: Vec::new(),
            mono_ns: 0,
            clock: None,
            tree: Stretch::after(first),
            moved: Vec::new(),
            stops: ahead.iter().rev().copied().collect(),
            leaps: Vec::new(),
        }
    }

    /// Where the next record of a tenant goes; a first one is believed.
    fn due<'t>(&self, found: &Fields<'_>, tenant: Option<&'t str>) -> Option<Due<'t>> {
        let Some(name) = tenant else {
            return Some(Due { tenant: None, tseq: 0, tprev: NOBODYS });
        };
        let (place, tseq, tprev) = match self.tenants.get(name) {
            Some((place, reached)) => (Some(place), reached.next, reached.last),
            None => (None, found.tseq, Link::to(record::hash(found.tprev)?)),
        };
        Some(Due { tenant: Some((place, name)), tseq, tprev })
    }

    fn leap(&mut self) {
        let next = Stretch::after(self.tree.end());
        let tree = std::mem::replace(&mut self.tree, next);
        let reached = self.moved.drain(..).filter_map(|place| {
            self.tenants.at(place).map(|reached| (place, reached.next, reached.last))
        });
        let tenants = reached.collect();
        self.leaps.extend(self.prev.map(|last| Leap { tree, last, tenants }));
    }

    /// What must be kept of a record that is the first of anything here.
    fn claim(&mut self, checked: &Checked<'_>) {
        let Checked { head, due, .. } = checked;
        if self.prev.is_none() {
            (self.claims.prev, self.claims.mono_ns) = (Some(head.prev), head.mono);
        }
        if let Some((None, _)) = due.tenant {
            self.claims.tenants.push((self.seen.len(), due.tseq, due.tprev.leaf()));
        }
        if checked.clock.is_none() {
            let now = offset(head.ts, head.mono);
            let (first, least, most) = self.claims.clock.unwrap_or((now, now, now));
            self.claims.clock = Some((first, least.min(now), most.max(now)));
        }
    }

    /// Whether it begins where the walker stands.
    fn begins_at(&self, walker: &Walker) -> bool {
        let Claims { prev, tenants, mono_ns, clock } = &self.claims;
        let begins = self.leaps.first().map_or(self.tree.first(), |leap| leap.tree.first());
        let are_tenants = tenants.iter().all(|(place, tseq, tprev)| {
            let due = self.tenants.at(*place).map(|one| walker.chain.due(Some(&one.name)));
            due.is_some_and(|due| (due.tseq, due.tprev.leaf()) == (*tseq, *tprev))
        });
        let is_clock = clock.is_none_or(|(first, least, most)| {
            let set = walker.clock.unwrap_or(first);
            let is_near =
                |now: i128| now.saturating_sub(set).unsigned_abs() <= u128::from(CLOCK_STEP_NS);
            is_near(least) && is_near(most)
        });
        self.origin == walker.chain.origin
            && begins == walker.size()
            && prev.is_none_or(|prev| prev == walker.chain.prev.leaf())
            && are_tenants
            && *mono_ns >= walker.mono_ns
            && is_clock
    }
}

impl Follow for Amid {
    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn size(&self) -> u64 {
        self.tree.end()
    }

    fn check<'a>(&self, record: &'a [u8]) -> Result<Checked<'a>, LinkError> {
        let found = Fields::parse(record).ok_or(LinkError::Head)?;
        let (kind, tenant) = record::kind_and_tenant(record).ok_or(LinkError::Head)?;
        let prev = match self.prev {
            Some(prev) => prev,
            None => Link::to(record::hash(found.prev).ok_or(LinkError::Head)?),
        };
        let due = self.due(&found, tenant).ok_or(LinkError::Head)?;
        let Fields { seq, tseq, ts, mono, .. } = found;
        if seq != self.size() {
            return Err(LinkError::Seq { expected: self.size(), found: seq });
        }
        if !prev.is(found.prev) {
            return Err(LinkError::Prev);
        }
        if tseq != due.tseq || !due.tprev.is(found.tprev) {
            return Err(LinkError::Tenant);
        }
        if mono < self.mono_ns {
            return Err(LinkError::Mono);
        }
        let head = record::Head { seq, prev: prev.leaf(), tseq, tprev: due.tprev.leaf(), ts, mono };
        let now = offset(ts, mono);
        let step = self.clock.map_or(0, |before| now.saturating_sub(before));
        let large = step.unsigned_abs() > u128::from(CLOCK_STEP_NS);
        let announced = kind == Kind::Clock.as_str();
        let unrecorded_step_ns = (large && !announced).then_some(step);
        let clock = if large || announced { Some(now) } else { self.clock };
        Ok(Checked { head, kind, unrecorded_step_ns, due, clock })
    }

    fn accept(&mut self, record: &[u8], checked: &Checked<'_>) -> Hash {
        self.claim(checked);
        let leaf = Hash::leaf(record);
        let link = Link::to(leaf);
        (self.prev, self.mono_ns, self.clock) = (Some(link), checked.head.mono, checked.clock);
        self.tree.push(leaf);
        if let Some((place, name)) = checked.due.tenant {
            self.tenants.advance((place, name), checked.due.tseq.saturating_add(1), link);
            let place = place.unwrap_or(self.seen.len());
            let leap = self.leaps.len().saturating_add(1);
            if place == self.seen.len() {
                self.seen.push(0);
            }
            let seen = self.seen.get_mut(place).map(|seen| std::mem::replace(seen, leap));
            if seen != Some(leap) {
                self.moved.push(place);
            }
        }
        if self.stops.last() == Some(&self.tree.end()) {
            self.stops.pop();
            self.leap();
        }
        leaf
    }
}

impl Walker {
    /// Goes past what `amid` followed, if that begins here, and stops on the way wherever `amid` was told to, and at its end. False where
    /// it does not begin here or `stop` says so; then this walker is of no further use.
    pub fn follow(&mut self, mut amid: Amid, stop: &mut dyn FnMut(&Walker) -> bool) -> bool {
        amid.leap();
        if !amid.begins_at(self) {
            return false;
        }
        for Leap { tree, last, tenants } in &amid.leaps {
            let names = tenants.iter().filter_map(|(place, next, last)| {
                amid.tenants.at(*place).map(|one| (&*one.name, *next, *last))
            });
            for (name, next, last) in names {
                let place = self.chain.tenants.get(name).map(|(place, _)| place);
                self.chain.tenants.advance((place, name), next, last);
            }
            self.chain.prev = *last;
            if !self.chain.tree.extend(tree) || !stop(self) {
                return false;
            }
        }
        self.mono_ns = amid.mono_ns;
        let first = amid.claims.clock.map(|(first, ..)| first);
        self.clock = amid.clock.or(self.clock).or(first);
        true
    }
}
