//! The table of a registry: every stream with its key, its heads and its end.
//!
//! Pure. Not here: where the records come from, and whether anything signs for them (`lib`). Invariant: a record that
//! contradicts those before it is refused.

use std::collections::BTreeMap;

use crate::RegistryFlaw;
use aegis_audit_chain::note::Verifier;
use aegis_audit_chain::record::{
    AnchorEntry, BornEntry, ClosedEntry, Entry, FailedEntry, RevokedEntry,
};
use aegis_audit_chain::roster::Roster;
use aegis_audit_chain::{Hash, Origin};

/// One stream as the registry knows it.
#[derive(Clone, Debug)]
pub struct Stream {
    pub born: BornEntry,
    pub verifier: Verifier,
    /// Sizes strictly rise.
    pub anchors: Vec<AnchorEntry>,
    pub failed: Option<FailedEntry>,
    /// Its key signs nothing more that counts.
    pub revoked: Option<RevokedEntry>,
    pub closed: Option<ClosedEntry>,
}

impl Stream {
    /// Every root that was signed of it, by size. What it signed itself stands, whatever the registry says of its end.
    pub fn signed_roots(&self) -> BTreeMap<u64, Hash> {
        let failed = self.failed.iter().map(|failed| (failed.size, failed.root));
        let closed = self.closed.iter().map(|closed| (closed.size, closed.root));
        let anchors = self.anchors.iter().map(|anchor| (anchor.size, anchor.root));
        closed.chain(failed).chain(anchors).collect()
    }

    /// What the registry says of the tenants at its sizes.
    pub fn signed_rosters(&self) -> BTreeMap<u64, Option<Roster>> {
        let closed = self.closed.iter().map(|closed| (closed.size, closed.tenants));
        let anchors = self.anchors.iter().map(|anchor| (anchor.size, anchor.tenants));
        closed.chain(anchors).collect()
    }

    fn anchor_at(&self, size: u64) -> Option<&AnchorEntry> {
        let at = self.anchors.binary_search_by_key(&size, |anchor| anchor.size).ok()?;
        self.anchors.get(at)
    }

    /// Whether an end says another thing than an anchor of its size. The region key alone signs it, the stream's the anchor.
    fn is_denied_by(&self, closed: &ClosedEntry) -> bool {
        let said = |anchor: &AnchorEntry| (anchor.root, anchor.tenants);
        // One that was found broken fails for that, and its anchors stand.
        !closed.how.is_broken()
            && (self
                .anchor_at(closed.size)
                .is_some_and(|it| said(it) != (closed.root, closed.tenants))
                || self
                    .failed
                    .as_ref()
                    .is_some_and(|it| it.size == closed.size && it.root != closed.root))
    }

    /// The last head the registry holds of the stream.
    pub fn last(&self) -> Option<(u64, Hash)> {
        let closed = self.closed.as_ref().map(|closed| (closed.size, closed.root));
        closed.or_else(|| self.anchors.last().map(|anchor| (anchor.size, anchor.root)))
    }
}

/// How much of a registry is held in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// Every head.
    All,
    /// Of each stream the newest one, and the records that say all that is held: what whoever goes on writing needs.
    Newest,
}

/// All streams of a registry.
#[derive(Clone, Debug)]
pub struct Streams {
    keeps: Keeps,
    list: Vec<Stream>,
    by_origin: BTreeMap<Origin, usize>,
    /// The records that say what is held, by their numbers; with `Keeps::Newest` only.
    records: BTreeMap<u64, Vec<u8>>,
    /// The number of each stream's newest anchor.
    anchored: BTreeMap<usize, u64>,
}

impl Streams {
    pub fn new(keeps: Keeps) -> Self {
        let (list, by_origin) = (Vec::new(), BTreeMap::new());
        Self { keeps, list, by_origin, records: BTreeMap::new(), anchored: BTreeMap::new() }
    }

    /// The same, to be gone on with in another way.
    pub(crate) fn keeping(mut self, keeps: Keeps) -> Self {
        self.keeps = keeps;
        if keeps == Keeps::All {
            self.records.clear();
            self.anchored.clear();
        }
        self
    }

    pub fn keeps(&self) -> Keeps {
        self.keeps
    }

    /// In the order of their births.
    pub fn list(&self) -> &[Stream] {
        &self.list
    }

    pub fn get(&self, origin: &Origin) -> Option<&Stream> {
        self.by_origin.get(origin).and_then(|at| self.list.get(*at))
    }

    /// The records that say all this, in order.
    pub(crate) fn records(&self) -> impl Iterator<Item = &[u8]> {
        self.records.values().map(Vec::as_slice)
    }

    /// Takes what record number `seq` of `registry` says.
    pub fn apply(
        &mut self,
        registry: &Origin,
        (seq, record): (u64, &[u8]),
        entry: Entry,
    ) -> Result<(), RegistryFlaw> {
        let said = match entry {
            Entry::Born(born) => self.born(registry, born),
            Entry::Anchor(anchor) => return self.anchor(anchor, (seq, record)),
            Entry::Failed(failed) => {
                let stream = self.believed(&failed.origin)?;
                if stream.anchor_at(failed.size).is_some_and(|anchor| anchor.root != failed.root) {
                    return Err(RegistryFlaw::Contradiction(failed.origin));
                }
                stream.failed = Some(failed);
                Ok(())
            }
            Entry::Revoked(revoked) => self.revoked(revoked),
            Entry::Closed(closed) => {
                let stream = self.living(&closed.origin)?;
                if stream.is_denied_by(&closed) {
                    return Err(RegistryFlaw::Contradiction(closed.origin));
                }
                stream.closed = Some(closed);
                Ok(())
            }
            Entry::Genesis(_) | Entry::Clock(_) | Entry::Head(_) | Entry::Gap(_) => return Ok(()),
            Entry::Decision(_)
            | Entry::Outcome(_)
            | Entry::AnchorRef(_)
            | Entry::Change(_)
            | Entry::TenantSeal(_)
            | Entry::Seal(_)
            | Entry::Close => Err(RegistryFlaw::Kind),
        };
        if self.keeps == Keeps::Newest {
            self.records.insert(seq, record.to_vec());
        }
        said
    }

    fn anchor(
        &mut self,
        anchor: AnchorEntry,
        (seq, record): (u64, &[u8]),
    ) -> Result<(), RegistryFlaw> {
        let (keeps, at) = (self.keeps, self.by_origin.get(&anchor.origin).copied());
        let stream = self.believed(&anchor.origin)?;
        if stream.anchors.last().is_some_and(|last| last.size >= anchor.size) {
            return Err(RegistryFlaw::Life);
        }
        if keeps == Keeps::Newest {
            stream.anchors.clear();
        }
        stream.anchors.push(anchor);
        if let (Keeps::Newest, Some(at)) = (keeps, at) {
            let superseded = self.anchored.insert(at, seq);
            superseded.and_then(|superseded| self.records.remove(&superseded));
            self.records.insert(seq, record.to_vec());
        }
        Ok(())
    }

    fn born(&mut self, registry: &Origin, born: BornEntry) -> Result<(), RegistryFlaw> {
        let verifier = Verifier::parse(&born.vkey).map_err(|_| RegistryFlaw::Key)?;
        if verifier.name() != born.origin.as_str() {
            return Err(RegistryFlaw::Key);
        }
        if !registry.vouches_for(&born.origin) {
            return Err(RegistryFlaw::Foreign(born.origin));
        }
        let at = self.list.len();
        if self.by_origin.insert(born.origin.clone(), at).is_some() {
            return Err(RegistryFlaw::Life);
        }
        let anchors = Vec::new();
        self.list.push(Stream {
            born,
            verifier,
            anchors,
            failed: None,
            revoked: None,
            closed: None,
        });
        Ok(())
    }

    /// A key may also be known to be stolen once its stream has ended. What was anchored before stands, and no more.
    fn revoked(&mut self, revoked: RevokedEntry) -> Result<(), RegistryFlaw> {
        let at = self.by_origin.get(&revoked.origin).copied();
        let stream = at.and_then(|at| self.list.get_mut(at));
        let stream = stream.filter(|stream| stream.revoked.is_none()).ok_or(RegistryFlaw::Life)?;
        let anchored = stream.anchors.last().map(|anchor| (anchor.size, anchor.root));
        if anchored.unwrap_or((0, Hash::empty_root())) != (revoked.size, revoked.root) {
            return Err(RegistryFlaw::Contradiction(revoked.origin));
        }
        stream.revoked = Some(revoked);
        Ok(())
    }

    /// The same stream, if its key is believed as well.
    fn believed(&mut self, origin: &Origin) -> Result<&mut Stream, RegistryFlaw> {
        let stream = self.living(origin)?;
        if stream.revoked.is_some() { Err(RegistryFlaw::Life) } else { Ok(stream) }
    }

    /// The stream of that name, which must be born and not yet closed.
    fn living(&mut self, origin: &Origin) -> Result<&mut Stream, RegistryFlaw> {
        let at = self.by_origin.get(origin).copied();
        let stream = at.and_then(|at| self.list.get_mut(at));
        stream.filter(|stream| stream.closed.is_none()).ok_or(RegistryFlaw::Life)
    }
}
