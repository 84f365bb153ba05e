//! Proof that one record is in the log, in a file of its own (<https://c2sp.org/tlog-proof>): made from a log, checked
//! without one.
//!
//! Pure: files come through `LogSource`. Not here: the whole log's verification (`audit/chain`). Invariant: a proof is believed
//! only along one chain: trusted region key, birth note, stream key, checkpoint, path, the record's exact bytes. Of a stream whose
//! process died the region key signs the last checkpoint itself, or a head of the registry that tells of its end.

mod disclosed;
mod ended;
mod narrow;

use aegis_audit_chain::link::{Pruned, Walker};
use aegis_audit_chain::note::{NoteError, Verifier};
use aegis_audit_chain::record::{Kind, Record, RecordError};
use aegis_audit_chain::source::{LogSource, SourceError};
use aegis_audit_chain::tree::Blocks;
use aegis_audit_chain::walk::walk_file;
use aegis_audit_chain::{Hash, Head, Origin, born_stream, layout, record, tree};
use aegis_audit_registry::{RegistryError, RegistryReader, Stream};
use aegis_audit_trust::Trust;
use aegis_domain::DecisionId;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub use disclosed::{Disclosed, digests};
pub use ended::End;

use ended::Cover;
use narrow::{Narrow, REACHES};

const TITLE: &str = "c2sp.org/tlog-proof@v1";
/// A tree of 64-bit size has no longer path.
const PATH_MAX: usize = 64;

/// Why a proof is not believed, or cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    #[error("the file is not a proof of this kind")]
    Malformed,
    #[error("no trusted registry's key signed the stream's birth note")]
    Birth,
    #[error("the checkpoint does not hold")]
    Checkpoint(#[source] NoteError),
    #[error("the path does not lead from the record to the checkpoint's root")]
    Path,
    #[error("the record is not one of this version")]
    Record(#[from] RecordError),
    #[error("the record stands at another place than the proof says")]
    Misplaced,
    #[error("no trusted registry tells there how far the stream was when it ended")]
    End,
    #[error(
        "the stream's key was revoked: only proofs under its head of {size} records are believed, as `aegisctl audit prove --trust` makes them with this trust file"
    )]
    Revoked { size: u64 },
    #[error("a value is disclosed whose digest is not in the record")]
    Undisclosed,
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("{0} is missing")]
    Missing(String),
    #[error("the registry does not hold")]
    Registry(#[from] RegistryError),
    #[error("{origin} is not what was signed; `aegisctl audit verify` says where")]
    Changed { origin: Origin },
    #[error("no signed head covers record {seq} of {origin} yet")]
    Uncovered { origin: Origin, seq: u64 },
}

/// One record, and why it must be believed to be in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    pub index: u64,
    /// Siblings from the leaf to the root.
    pub path: Vec<Hash>,
    /// The stream's head, under the stream's key; under the region's for what only the end of a crashed stream covers. With an
    /// `end` that of the registry.
    pub checkpoint: String,
    /// The stream's key, under the region's; empty with an `end`.
    pub birth: String,
    /// The record as it is stored.
    pub record: Vec<u8>,
    /// What the registry says of the stream's end, where no signature over the stream itself covers the record.
    pub end: Option<End>,
}

/// What a proof proves.
#[derive(Clone, Debug, PartialEq)]
pub struct Proven {
    /// The log it is in, how far that reached, and its root.
    pub head: Head,
    /// The registry whose key all of it hangs on.
    pub registry: Origin,
    pub record: Record,
}

impl Proof {
    /// The proof as a file. Its `extra` holds the birth note and, behind it, the record.
    pub fn to_text(&self) -> String {
        let (extra, index, path) = match &self.end {
            Some(end) => ended::write(self, end),
            None => {
                let extra = [self.birth.as_bytes(), &self.record].concat();
                (STANDARD.encode(extra), self.index, self.path.clone())
            }
        };
        let lines = lines_of(&path);
        format!("{TITLE}\nextra {extra}\nindex {index}\n{lines}\n{}", self.checkpoint)
    }

    pub fn parse(text: &str) -> Result<Self, ProofError> {
        Self::read(text).filter(|proof| proof.to_text() == text).ok_or(ProofError::Malformed)
    }

    fn read(text: &str) -> Option<Self> {
        let (head, checkpoint) = text.split_once("\n\n")?;
        let mut lines = head.split('\n');
        let title = lines.next()?;
        let extra = STANDARD.decode(lines.next()?.strip_prefix("extra ")?).ok()?;
        let index = lines.next()?.strip_prefix("index ")?.parse().ok()?;
        let path = lines.map(Hash::parse_standard).collect::<Option<Vec<_>>>()?;
        if title != TITLE || path.len() > PATH_MAX {
            return None;
        }
        if let Some(proof) = ended::parse(&extra, (index, path.clone(), checkpoint)) {
            return (proof.path.len() <= PATH_MAX).then_some(proof);
        }
        // A record has no newline, and a note ends in one.
        let end = memchr::memrchr(b'\n', &extra)?.checked_add(1)?;
        let (birth, record) = extra.split_at_checked(end)?;
        let birth = String::from_utf8(birth.to_vec()).ok()?;
        let (checkpoint, record) = (checkpoint.to_owned(), record.to_vec());
        Some(Self { index, path, checkpoint, birth, record, end: None })
    }

    /// What the record tells, as it says itself; `None` for a kind of a later version.
    pub fn kind(&self) -> Option<Kind> {
        record::kind_and_tenant(&self.record).and_then(|(kind, _)| Kind::parse(kind))
    }

    /// Checks it with nothing but a trust file.
    pub fn check(&self, trust: &Trust) -> Result<Proven, ProofError> {
        if let Some(end) = &self.end {
            return ended::check(self, end, trust);
        }
        let born = trust.registries().find_map(|(registry, region)| {
            let stream = born_stream(region.open(&self.birth).ok()?)?;
            let origin = Origin::parse(stream.name()).ok()?;
            registry.vouches_for(&origin).then(|| (registry.clone(), region, (origin, stream)))
        });
        let (registry, region, (origin, stream)) = born.ok_or(ProofError::Birth)?;
        let head = Head::open(&self.checkpoint, &stream)
            .or_else(|error| Head::open_of(&origin, &self.checkpoint, region).map_err(|_| error))
            .map_err(ProofError::Checkpoint)?;
        believed(trust, &head)?;
        let leaf = (self.index, Hash::leaf(&self.record));
        if !tree::includes(head.size, head.root, leaf, &self.path) {
            return Err(ProofError::Path);
        }
        let record = Record::parse(&self.record)?;
        if record.head.seq != self.index {
            return Err(ProofError::Misplaced);
        }
        Ok(Proven { head, registry, record })
    }
}

/// Refuses any head but the one that stands, of a stream whose key was revoked.
pub(crate) fn believed(trust: &Trust, head: &Head) -> Result<(), ProofError> {
    match trust.revoked(&head.origin) {
        Some(revoked) if !revoked.believes(head) => {
            Err(ProofError::Revoked { size: revoked.head().size })
        }
        Some(_) | None => Ok(()),
    }
}

/// A record for which a head is looked for that proves it.
#[derive(Clone, Copy)]
pub(crate) struct Within<'w> {
    pub(crate) trust: &'w Trust,
    pub(crate) origin: &'w Origin,
    pub(crate) seq: u64,
}

impl Within<'_> {
    pub(crate) fn is_covered_by(&self, head: &Head) -> bool {
        head.origin == *self.origin && head.size > self.seq && believed(self.trust, head).is_ok()
    }

    /// Why there is none.
    pub(crate) fn uncovered(&self) -> ProofError {
        match self.trust.revoked(self.origin) {
            Some(revoked) => ProofError::Revoked { size: revoked.head().size },
            None => ProofError::Uncovered { origin: self.origin.clone(), seq: self.seq },
        }
    }
}

/// Proves each record that `wanted` picks, from all streams of the trusted registries that are here.
pub fn prove(
    source: &dyn LogSource,
    trust: &Trust,
    wanted: &mut dyn FnMut(&Origin, &Record) -> bool,
) -> Result<Vec<Proof>, ProofError> {
    let mut proofs = Vec::new();
    for (origin, region) in trust.registries() {
        for stream in streams(source, (origin, region))? {
            proofs.extend(stream_proofs(source, &stream, (trust, origin, region), wanted)?);
        }
    }
    Ok(proofs)
}

/// Proves one record by its place in a stream. Where the log lies in pieces, none is read but those about the record.
pub fn prove_at(
    source: &dyn LogSource,
    trust: &Trust,
    (origin, seq): (&Origin, u64),
) -> Result<Option<Proof>, ProofError> {
    for (registry, region) in trust.registries().filter(|(it, _)| it.vouches_for(origin)) {
        let narrow = Narrow::of(source, (trust, registry));
        if let Some(narrow) = narrow {
            if let Some(proof) = narrow.at(origin, seq)? {
                return Ok(Some(proof));
            }
            // No manifest names it, so no record is read.
            if !narrow.holds(origin, seq) {
                continue;
            }
        }
        let mut all = streams(source, (registry, region))?.into_iter();
        let Some(stream) = all.find(|stream| stream.born.origin == *origin) else { continue };
        let is_it = &mut |_: &Origin, record: &Record| record.head.seq == seq;
        return Ok(stream_proofs(source, &stream, (trust, registry, region), is_it)?.pop());
    }
    Ok(None)
}

/// Where a decision is looked for in a log that lies in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// In what was written up to five minutes after the time that its id names. What is read does not grow with the log.
    AboutItsTime,
    /// There, and then in every record: a gateway whose clock was set writes elsewhere.
    Everywhere,
}

/// Proves a decision and its outcome; none where they are not found. A log that lies in whole files is read from end to end.
pub fn prove_call(
    source: &dyn LogSource,
    trust: &Trust,
    (id, search): (DecisionId, Search),
) -> Result<Vec<Proof>, ProofError> {
    let narrow = |(registry, _)| Narrow::of(source, (trust, registry));
    let narrows: Vec<Narrow<'_>> = trust.registries().filter_map(narrow).collect();
    for reach in REACHES {
        for narrow in &narrows {
            let proofs = narrow.call(id, reach)?;
            if !proofs.is_empty() {
                return Ok(proofs);
            }
        }
    }
    if source.pieces().is_some() && search == Search::AboutItsTime {
        return Ok(Vec::new());
    }
    prove(source, trust, &mut |_, record| narrow::is_of(record, id))
}

/// The streams that a registry names; none where it is not here.
fn streams(
    source: &dyn LogSource,
    (origin, region): (&Origin, &Verifier),
) -> Result<Vec<Stream>, ProofError> {
    let firsts = firsts(source, origin)?;
    if firsts.is_empty() {
        return Ok(Vec::new());
    }
    let mut reader = RegistryReader::new(origin.clone(), region.clone());
    for first in firsts {
        let path = layout::wal_file(origin, first);
        reader.file(first, &read(source, &path)?)?;
    }
    Ok(reader.finish()?.streams().to_vec())
}

/// A record's proof under a head that covers it, if the path leads there.
fn assemble(
    source: &dyn LogSource,
    cover: Cover,
    (seq, record): (u64, Vec<u8>),
    path: Option<Vec<Hash>>,
) -> Result<Proof, ProofError> {
    let head = cover.head();
    let changed = || ProofError::Changed { origin: head.origin.clone() };
    let leaf = (seq, Hash::leaf(&record));
    let leads = |path: &Vec<Hash>| tree::includes(head.size, head.root, leaf, path);
    let path = path.filter(leads).ok_or_else(changed)?;
    match cover {
        Cover::Ended(ended) => Ok(ended.proof((seq, record), path)),
        Cover::Anchor(anchor) => {
            let birth = read(source, &layout::genesis_note(&head.origin))?;
            let birth = String::from_utf8_lossy(&birth).into_owned();
            let checkpoint = head.note_with(&anchor.sig);
            Ok(Proof { index: seq, path, checkpoint, birth, record, end: None })
        }
    }
}

/// Hashes as lines of a proof.
fn lines_of(path: &[Hash]) -> String {
    path.iter().map(|hash| format!("{}\n", hash.standard())).collect()
}

fn stream_proofs(
    source: &dyn LogSource,
    stream: &Stream,
    (trust, registry, region): (&Trust, &Origin, &Verifier),
    wanted: &mut dyn FnMut(&Origin, &Record) -> bool,
) -> Result<Vec<Proof>, ProofError> {
    let origin = &stream.born.origin;
    let mut walker = beginning(source, origin, region)?;
    let (begins, mut blocks) = (walker.size(), Blocks::after(walker.tree().clone()));
    let (mut leaves, mut found) = (Vec::new(), Vec::new());
    for first in firsts(source, origin)?.into_iter().filter(|first| *first >= begins) {
        let bytes = read(source, &layout::wal_file(origin, first))?;
        walk_file(&mut walker, (first, &bytes), &mut |_, step| {
            let leaf = Hash::leaf(step.record);
            leaves.push(leaf);
            blocks.push(leaf);
            if Record::parse(step.record).is_ok_and(|record| wanted(origin, &record)) {
                found.push((step.head.seq, step.record.to_vec()));
            }
        });
    }
    let mut proofs = Vec::new();
    for (seq, record) in found {
        let within = Within { trust, origin, seq };
        let mut anchors = stream.anchors.iter().cloned().map(Cover::Anchor);
        let cover = match anchors.find(|cover| within.is_covered_by(&cover.head())) {
            Some(anchor) => Some(anchor),
            None => ended::in_files(source, (registry, region), &within)?
                .map(|ended| Cover::Ended(Box::new(ended))),
        };
        let cover = cover.ok_or_else(|| within.uncovered())?;
        let size = cover.head().size;
        let of = |seq: u64| {
            let nth = usize::try_from(seq.checked_sub(begins)?).ok()?;
            Some((seq, *leaves.get(nth)?))
        };
        let needed = blocks.needed(seq, size).into_iter().flat_map(|(from, end)| from..end);
        let path = blocks.path(seq, size, &needed.filter_map(of).collect());
        proofs.push(assemble(source, cover, (seq, record), path)?);
    }
    Ok(proofs)
}

/// Where a walk begins: behind what was shipped and deleted, where the region's key says so.
fn beginning(
    source: &dyn LogSource,
    origin: &Origin,
    region: &Verifier,
) -> Result<Walker, ProofError> {
    let Some(note) = source.read(&layout::pruned_note(origin))? else {
        return Ok(Walker::new(origin.clone()));
    };
    let pruned = Pruned::open(&String::from_utf8_lossy(&note), region);
    let pruned = pruned.ok().filter(|pruned| pruned.walker.origin() == origin);
    let changed = || ProofError::Changed { origin: origin.clone() };
    pruned.map(|pruned| pruned.walker).ok_or_else(changed)
}

fn firsts(source: &dyn LogSource, origin: &Origin) -> Result<Vec<u64>, ProofError> {
    let names = source.list(&layout::wal_dir(origin))?;
    let mut firsts: Vec<u64> =
        names.iter().filter_map(|name| layout::parse_wal_name(name)).collect();
    firsts.sort_unstable();
    Ok(firsts)
}

fn read<'s>(
    source: &'s dyn LogSource,
    path: &str,
) -> Result<std::borrow::Cow<'s, [u8]>, ProofError> {
    source.read(path)?.ok_or_else(|| ProofError::Missing(path.to_owned()))
}
