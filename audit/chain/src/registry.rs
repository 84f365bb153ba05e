//! What the registry says: every stream that was ever born, its key, its anchored heads, its end.
//!
//! Pure: the caller brings the registry's files. Not here: the streams' own files (`verify`). Invariant: nothing
//! counts that no signature of the region key covers.

use std::collections::BTreeMap;

use crate::frame::Frames;
use crate::link::Walker;
use crate::note::Verifier;
use crate::record::{AnchorEntry, BornEntry, ClosedEntry, Entry, FailedEntry, HeadEntry, TornTail};
use crate::roster::Roster;
use crate::walk::{FileEnd, Step, leftover, walk_file};
use crate::{Hash, Head, Origin};

/// Why a registry cannot be believed, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("registry file {file:020}.wal, byte {offset}, record {seq}: {what}")]
pub struct RegistryError {
    pub file: u64,
    pub offset: u64,
    pub seq: u64,
    pub what: RegistryFlaw,
}

/// What is wrong with a registry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryFlaw {
    #[error(transparent)]
    Link(#[from] crate::link::LinkError),
    #[error(transparent)]
    Record(#[from] crate::record::RecordError),
    #[error("the file belongs elsewhere, or a file before it is missing")]
    Misplaced,
    #[error("bytes that are no record stand between records")]
    Torn,
    #[error("the record is of a kind that has no place in a registry")]
    Kind,
    #[error("a signed head disagrees with the records before it")]
    Root,
    #[error("the newest signed head bears no valid signature of the region key")]
    Signature,
    #[error("a stream is named twice, before its birth or after its end")]
    Life,
    #[error("a stream's key is not an Ed25519 verifier key in its own name")]
    Key,
    #[error("the registry names {0}, which is not a stream of its own writer")]
    Foreign(Origin),
    #[error(
        "it says that {0} ended with another root, or other tenants, than were anchored at that size"
    )]
    Contradiction(Origin),
    #[error("no part of the registry is signed")]
    Unsigned,
}

/// One stream as the registry knows it.
#[derive(Clone, Debug)]
pub struct Stream {
    pub born: BornEntry,
    pub verifier: Verifier,
    /// Sizes strictly rise.
    pub anchors: Vec<AnchorEntry>,
    pub failed: Option<FailedEntry>,
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

/// The registry up to its newest signed head.
#[derive(Clone, Debug)]
pub struct Registry {
    streams: Vec<Stream>,
    by_origin: BTreeMap<Origin, usize>,
    /// Root at every size the registry signed, and the wall clock of the record that bears the signature.
    heads: BTreeMap<u64, (Hash, u64)>,
    /// Stands behind the newest signed head's record: where the next one goes.
    walker: Walker,
    /// Where that is on disk: the file's first record, and the offset.
    end: (u64, u64),
    /// What crashes left behind there, a file each. It is unsigned, so it does not count.
    unsigned: Vec<TornTail>,
    /// First record of the newest file, whether or not anything in it is a record.
    last_file: u64,
}

impl Registry {
    /// In the order of their births.
    pub fn streams(&self) -> &[Stream] {
        &self.streams
    }

    pub fn stream(&self, origin: &Origin) -> Option<&Stream> {
        self.by_origin.get(origin).and_then(|at| self.streams.get(*at))
    }

    /// The root that was signed at `size`.
    pub fn root_at(&self, size: u64) -> Option<Hash> {
        self.heads.get(&size).map(|(root, _)| *root)
    }

    /// When the head of `size` was signed, and when the next one, each by the registry's own clock.
    pub fn signed_at(&self, size: u64) -> (Option<u64>, Option<u64>) {
        let ts = |(_, (_, ts)): (&u64, &(Hash, u64))| *ts;
        let mut from = self.heads.range(size..);
        let first = from.next();
        match first {
            Some((at, _)) if *at == size => (first.map(ts), from.next().map(ts)),
            _ => (None, first.map(ts)),
        }
    }

    /// The newest head that is signed.
    pub fn signed_head(&self) -> Option<Head> {
        let (size, (root, _)) = self.heads.last_key_value()?;
        Some(Head { origin: self.walker.origin().clone(), size: *size, root: *root })
    }

    /// Stands behind the newest signed head's record.
    pub fn walker(&self) -> &Walker {
        &self.walker
    }

    /// First record of the last file, and where in it the signed part ends.
    pub fn end(&self) -> (u64, u64) {
        self.end
    }

    /// What stands after the newest signed head: left by crashes, or being written right now.
    pub fn unsigned(&self) -> &[TornTail] {
        &self.unsigned
    }

    /// First record of the newest file, which may hold nothing yet.
    pub fn last_file(&self) -> u64 {
        self.last_file
    }

    /// Incarnation numbers are given out above this.
    pub fn last_incarnation(&self) -> u64 {
        self.streams.iter().map(|stream| stream.born.origin.incarnation()).max().unwrap_or(0)
    }
}

/// Reads a registry file by file.
#[derive(Debug)]
pub struct RegistryReader {
    region: Verifier,
    registry: Registry,
    /// Entries that no head covers yet.
    waiting: Vec<Entry>,
    newest: Option<(HeadEntry, Place)>,
    /// Tails that a `gap` record must explain.
    torn: Vec<TornTail>,
    gaps: Vec<TornTail>,
}

/// Where in the registry something stands: file, offset, record.
type Place = (u64, u64, u64);

fn error((file, offset, seq): Place, what: impl Into<RegistryFlaw>) -> RegistryError {
    RegistryError { file, offset, seq, what: what.into() }
}

impl RegistryReader {
    /// `region` must be named after the registry's origin.
    pub fn new(origin: Origin, region: Verifier) -> Self {
        let registry = Registry {
            streams: Vec::new(),
            by_origin: BTreeMap::new(),
            heads: BTreeMap::new(),
            walker: Walker::new(origin),
            end: (0, 0),
            unsigned: Vec::new(),
            last_file: 0,
        };
        let (waiting, torn, gaps) = (Vec::new(), Vec::new(), Vec::new());
        Self { region, registry, waiting, newest: None, torn, gaps }
    }

    /// Takes the next file; files come in the order of their names.
    pub fn file(&mut self, first: u64, bytes: &[u8]) -> Result<(), RegistryError> {
        self.registry.last_file = first;
        self.waiting.clear();
        if let Ok((_, frames)) = Frames::open(bytes) {
            self.registry.end = (first, u64::try_from(frames.offset()).unwrap_or(u64::MAX));
        }
        let mut walker = self.registry.walker.clone();
        let mut signed = None;
        let mut after_head = None;
        let mut flaw = None;
        let end = walk_file(&mut walker, (first, bytes), &mut |before, step| {
            if let Some(end) = after_head.take() {
                signed = Some((before.clone(), end));
            }
            let place = (first, step.offset, step.head.seq);
            match self.record(before, step, place) {
                _ if flaw.is_some() => {}
                Ok(true) => after_head = Some(step.end),
                Ok(false) => {}
                Err(what) => flaw = Some(error(place, what)),
            }
        });
        if let Some(flaw) = flaw {
            return Err(flaw);
        }
        let seq = walker.size();
        match end {
            // What a crash tears is explained by a `gap` record in the file that follows.
            FileEnd::Clean | FileEnd::Torn { .. } => {}
            FileEnd::Broken { offset, why } => return Err(error((first, offset, seq), why)),
            FileEnd::Misplaced { .. } => {
                return Err(error((first, 0, seq), RegistryFlaw::Misplaced));
            }
        }
        if let Some(end) = after_head {
            signed = Some((walker, end));
        }
        if let Some((walker, end)) = signed {
            (self.registry.walker, self.registry.end) = (walker, (first, end));
            // Whoever signed on has seen what the files before this one end in, and has said so.
            self.torn.append(&mut self.registry.unsigned);
        }
        let (file, used) = self.registry.end;
        let rest = leftover(first, bytes, if file == first { used } else { 0 });
        self.registry.unsigned.extend(rest);
        Ok(())
    }

    /// Hands out the registry, once the newest head's signature and every torn tail are accounted for.
    pub fn finish(self) -> Result<Registry, RegistryError> {
        let Some((head, place)) = self.newest else {
            return Err(error((0, 0, 0), RegistryFlaw::Unsigned));
        };
        let origin = self.registry.walker.origin().clone();
        let signed = Head { origin, size: head.size, root: head.root };
        if self.region.check(&signed.checkpoint(), &head.sig).is_err() {
            return Err(error(place, RegistryFlaw::Signature));
        }
        match self.torn.iter().find(|tail| !self.gaps.contains(tail)) {
            Some(tail) => Err(error((tail.file, tail.offset, head.size), RegistryFlaw::Torn)),
            None => Ok(self.registry),
        }
    }

    /// Takes one record; true when it is a head, which lets all that waited count.
    fn record(
        &mut self,
        before: &Walker,
        step: Step<'_>,
        place: Place,
    ) -> Result<bool, RegistryFlaw> {
        let entry = Entry::parse(step.record)?;
        let Entry::Head(head) = entry else {
            self.waiting.push(entry);
            return Ok(false);
        };
        let known = before.head();
        if (head.size, head.root) != (known.size, known.root) {
            return Err(RegistryFlaw::Root);
        }
        self.registry.heads.insert(head.size, (head.root, step.head.ts));
        self.newest = Some((head, place));
        for entry in std::mem::take(&mut self.waiting) {
            self.apply(entry)?;
        }
        Ok(true)
    }

    fn apply(&mut self, entry: Entry) -> Result<(), RegistryFlaw> {
        match entry {
            Entry::Born(born) => self.born(born),
            Entry::Anchor(anchor) => {
                let stream = self.living(&anchor.origin)?;
                let rises = stream.anchors.last().is_none_or(|last| last.size < anchor.size);
                stream.anchors.push(anchor);
                if rises { Ok(()) } else { Err(RegistryFlaw::Life) }
            }
            Entry::Failed(failed) => {
                let stream = self.living(&failed.origin)?;
                if stream.anchor_at(failed.size).is_some_and(|anchor| anchor.root != failed.root) {
                    return Err(RegistryFlaw::Contradiction(failed.origin));
                }
                stream.failed = Some(failed);
                Ok(())
            }
            Entry::Closed(closed) => {
                let stream = self.living(&closed.origin)?;
                if stream.is_denied_by(&closed) {
                    return Err(RegistryFlaw::Contradiction(closed.origin));
                }
                stream.closed = Some(closed);
                Ok(())
            }
            Entry::Gap(tail) => {
                self.gaps.push(tail);
                Ok(())
            }
            Entry::Genesis(_) | Entry::Clock(_) | Entry::Head(_) => Ok(()),
            Entry::Decision(_)
            | Entry::Outcome(_)
            | Entry::AnchorRef(_)
            | Entry::Change(_)
            | Entry::TenantSeal(_)
            | Entry::Seal(_)
            | Entry::Close => Err(RegistryFlaw::Kind),
        }
    }

    fn born(&mut self, born: BornEntry) -> Result<(), RegistryFlaw> {
        let verifier = Verifier::parse(&born.vkey).map_err(|_| RegistryFlaw::Key)?;
        if verifier.name() != born.origin.as_str() {
            return Err(RegistryFlaw::Key);
        }
        if !self.registry.walker.origin().vouches_for(&born.origin) {
            return Err(RegistryFlaw::Foreign(born.origin));
        }
        let at = self.registry.streams.len();
        if self.registry.by_origin.insert(born.origin.clone(), at).is_some() {
            return Err(RegistryFlaw::Life);
        }
        let anchors = Vec::new();
        self.registry.streams.push(Stream { born, verifier, anchors, failed: None, closed: None });
        Ok(())
    }

    /// The stream of that name, which must be born and not yet closed.
    fn living(&mut self, origin: &Origin) -> Result<&mut Stream, RegistryFlaw> {
        let at = self.registry.by_origin.get(origin).copied();
        let stream = at.and_then(|at| self.registry.streams.get_mut(at));
        stream.filter(|stream| stream.closed.is_none()).ok_or(RegistryFlaw::Life)
    }
}
