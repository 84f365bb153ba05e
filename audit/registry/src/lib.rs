//! What the registry says: every stream that was ever born, its key, its anchored heads, its end.
//!
//! Pure: the caller brings the registry's files. Not here: the streams' own files (`audit/verify`). Invariant: nothing
//! counts that no signature of the region key covers.

mod resume;
mod streams;

use std::collections::BTreeMap;

pub use resume::{Newest, Resume};
pub use streams::{Keeps, Stream, Streams};

use aegis_audit_chain::frame::{FRAME_OVERHEAD, Frames};
use aegis_audit_chain::link::Walker;
use aegis_audit_chain::note::Verifier;
use aegis_audit_chain::record::{Entry, HeadEntry, TornTail};
use aegis_audit_chain::walk::{FileEnd, Step, leftover, walk_file};
use aegis_audit_chain::{Hash, Head, Origin};

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
    Link(#[from] aegis_audit_chain::link::LinkError),
    #[error(transparent)]
    Record(#[from] aegis_audit_chain::record::RecordError),
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
    #[error(
        "a stream is named twice, before its birth, after its end or after its key was revoked"
    )]
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

/// The registry up to its newest signed head.
#[derive(Clone, Debug)]
pub struct Registry {
    streams: Streams,
    /// Root at every size the registry signed, as far as heads are kept, and the wall clock of the record that bears the signature.
    heads: BTreeMap<u64, (Hash, u64)>,
    /// The newest signed head's record.
    newest: Option<Newest>,
    /// Number of the first record that was read, behind a resume point or at the beginning.
    begins: u64,
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
        self.streams.list()
    }

    pub fn stream(&self, origin: &Origin) -> Option<&Stream> {
        self.streams.get(origin)
    }

    /// All that it says of streams, to go on with.
    pub fn table(&self) -> &Streams {
        &self.streams
    }

    /// The newest signed head's record, and where the registry stood before it.
    pub fn newest(&self) -> Option<&Newest> {
        self.newest.as_ref()
    }

    /// Number of the first record that was read: 0, or behind a resume point.
    pub fn begins(&self) -> u64 {
        self.begins
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
        self.streams().iter().map(|stream| stream.born.origin.incarnation()).max().unwrap_or(0)
    }
}

/// Reads a registry file by file.
#[derive(Debug)]
pub struct RegistryReader {
    region: Verifier,
    registry: Registry,
    /// Entries that no head covers yet, with the bytes where these are kept.
    waiting: Vec<(u64, Vec<u8>, Entry)>,
    newest: Option<(HeadEntry, Place)>,
    /// The size of a head that is to be compared afterwards.
    noted: Option<u64>,
    /// Tails that a `gap` record must explain.
    torn: Vec<TornTail>,
    gaps: Vec<TornTail>,
}

/// Where in the registry something stands: file, offset, record.
type Place = (u64, u64, u64);

fn error((file, offset, seq): Place, what: impl Into<RegistryFlaw>) -> RegistryError {
    RegistryError { file, offset, seq, what: what.into() }
}

/// The record in the frame between two offsets of a file.
fn framed(bytes: &[u8], (offset, end): (u64, u64)) -> &[u8] {
    let (offset, end) = (usize::try_from(offset), usize::try_from(end));
    let (Ok(offset), Ok(end)) = (offset, end) else { return &[] };
    bytes.get(offset.saturating_add(FRAME_OVERHEAD)..end).unwrap_or_default()
}

impl RegistryReader {
    /// `region` must be named after the registry's origin.
    pub fn new(origin: Origin, region: Verifier) -> Self {
        Self::of(Walker::new(origin), (Streams::new(Keeps::All), None), region)
    }

    /// For whoever goes on writing: of the heads only the newest is kept, and the one of the size `noted`.
    pub fn newest(origin: Origin, region: Verifier, noted: Option<u64>) -> Self {
        let kept = (Streams::new(Keeps::Newest), None);
        Self { noted, ..Self::of(Walker::new(origin), kept, region) }
    }

    /// Goes on behind a resume point, as if all files before it had been read.
    pub fn after(resume: Resume, (region, noted): (Verifier, Option<u64>), keeps: Keeps) -> Self {
        let ts = resume.newest.ts();
        let Resume { newest, head, behind, streams } = resume;
        let kept = (streams.keeping(keeps), Some(newest));
        let mut reader = Self { noted, ..Self::of(behind, kept, region) };
        let registry = &mut reader.registry;
        registry.begins = registry.walker.size();
        (registry.end, registry.last_file) = ((registry.begins, 0), registry.begins);
        registry.heads.insert(head.size, (head.root, ts));
        let place = (registry.begins, 0, head.size);
        reader.newest = Some((head, place));
        reader
    }

    fn of(walker: Walker, (streams, newest): (Streams, Option<Newest>), region: Verifier) -> Self {
        let registry = Registry {
            streams,
            heads: BTreeMap::new(),
            newest,
            begins: 0,
            walker,
            end: (0, 0),
            unsigned: Vec::new(),
            last_file: 0,
        };
        let (waiting, torn, gaps) = (Vec::new(), Vec::new(), Vec::new());
        Self { region, registry, waiting, newest: None, noted: None, torn, gaps }
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
        let mut flaw = None;
        let end = walk_file(&mut walker, (first, bytes), &mut |before, step| {
            let place = (first, step.offset, step.head.seq);
            match self.record(before, step, place) {
                _ if flaw.is_some() => {}
                Ok(true) => signed = Some((before.clone(), step.offset, step.end)),
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
        if let Some((before, offset, end)) = signed {
            let newest = Newest::of(before, framed(bytes, (offset, end)));
            // It was let through a moment ago.
            if let Some(walker) = newest.behind() {
                self.registry.walker = walker;
            }
            (self.registry.newest, self.registry.end) = (Some(newest), (first, end));
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
            let bytes = match self.registry.streams.keeps() {
                Keeps::Newest => step.record.to_vec(),
                Keeps::All => Vec::new(),
            };
            self.waiting.push((step.head.seq, bytes, entry));
            return Ok(false);
        };
        let known = before.head();
        if (head.size, head.root) != (known.size, known.root) {
            return Err(RegistryFlaw::Root);
        }
        self.supersede();
        self.registry.heads.insert(head.size, (head.root, step.head.ts));
        self.newest = Some((head, place));
        for (seq, record, entry) in std::mem::take(&mut self.waiting) {
            if let Entry::Gap(tail) = entry {
                self.gaps.push(tail);
                continue;
            }
            self.registry.streams.apply(&known.origin, (seq, &record), entry)?;
        }
        Ok(true)
    }

    /// Lets the newest head go where the next one is enough.
    fn supersede(&mut self) {
        let Some((head, _)) = &self.newest else { return };
        if self.registry.streams.keeps() == Keeps::Newest && self.noted != Some(head.size) {
            self.registry.heads.remove(&head.size);
        }
    }
}
