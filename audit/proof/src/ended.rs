//! Records that only the end of a stream covers: its process died, its key is gone, and its registry tells how far it was.
//!
//! Not here: where a registry's records lie in pieces (`narrow`). Invariant: an end counts only where a head of the registry, signed
//! by the region key, has it in its tree; of a stream that was found rolled back or forked nothing is proved by its end.

use aegis_audit_chain::link::Walker;
use aegis_audit_chain::note::Verifier;
use aegis_audit_chain::record::{AnchorEntry, Entry, HeadEntry, Record};
use aegis_audit_chain::source::LogSource;
use aegis_audit_chain::walk::walk_file;
use aegis_audit_chain::{Hash, Head, Origin, layout, tree};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::{Proof, ProofError, Proven, Within, firsts, lines_of, read};

/// How a proof's `extra` begins where it holds the registry's word in place of a birth note.
const TITLE: &str = "aegis.dev/audit/stream-end@v1\n";

/// What the registry says of a stream's end, and where it stands in the registry's tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The registry's record, as it is stored.
    pub record: Vec<u8>,
    pub index: u64,
    /// Siblings from its leaf to the root of the registry's head.
    pub path: Vec<Hash>,
}

/// A signed head over a stream's records.
#[derive(Clone, Debug)]
pub(crate) enum Cover {
    /// The stream's key signed it.
    Anchor(AnchorEntry),
    Ended(Box<Ended>),
}

/// The end of a stream, under a head of its registry.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) head: Head,
    end: End,
    /// The registry's head as a note.
    checkpoint: String,
}

impl Cover {
    pub(crate) fn head(&self) -> Head {
        match self {
            Self::Anchor(AnchorEntry { origin, size, root, .. }) => {
                Head { origin: origin.clone(), size: *size, root: *root }
            }
            Self::Ended(ended) => ended.head.clone(),
        }
    }
}

impl Ended {
    /// A record of the registry that tells of an end, as soon as a head covers it.
    pub(crate) fn under(
        registry: &Origin,
        (index, record): (u64, Vec<u8>),
        (signed, path): (&HeadEntry, Vec<Hash>),
    ) -> Option<Self> {
        let head = told(&Record::parse(&record).ok()?.entry)?;
        let HeadEntry { size, root, sig } = signed;
        let over = Head { origin: registry.clone(), size: *size, root: *root };
        let (end, checkpoint) = (End { record, index, path }, over.note_with(sig));
        Some(Self { head, end, checkpoint })
    }

    pub(crate) fn proof(self, (index, record): (u64, Vec<u8>), path: Vec<Hash>) -> Proof {
        let Self { end, checkpoint, .. } = self;
        Proof { index, path, checkpoint, birth: String::new(), record, end: Some(end) }
    }
}

/// How far a stream was when it ended, if a record of the registry tells that.
pub(crate) fn told(entry: &Entry) -> Option<Head> {
    match entry {
        Entry::Closed(closed) if !closed.how.is_broken() => {
            Some(Head { origin: closed.origin.clone(), size: closed.size, root: closed.root })
        }
        Entry::Failed(failed) => {
            Some(Head { origin: failed.origin.clone(), size: failed.size, root: failed.root })
        }
        _ => None,
    }
}

/// The end of a stream that covers a record of it, out of a registry in whole files.
pub(crate) fn in_files(
    source: &dyn LogSource,
    (registry, region): (&Origin, &Verifier),
    within: &Within<'_>,
) -> Result<Option<Ended>, ProofError> {
    let (mut signed, mut leaves) = (Walker::new(registry.clone()), Vec::new());
    for first in firsts(source, registry)? {
        let bytes = read(source, &layout::wal_file(registry, first))?;
        // What no head covers is not gone on with: the next file begins in its place.
        let (mut walker, mut is_signed) = (signed.clone(), false);
        let (mut end, mut over) = (None, None);
        walk_file(&mut walker, (first, &bytes), &mut |before, step| {
            if std::mem::take(&mut is_signed) {
                signed = before.clone();
            }
            leaves.push(Hash::leaf(step.record));
            match Entry::parse(step.record) {
                Ok(Entry::Head(head)) => {
                    is_signed = true;
                    if end.is_some() {
                        over.get_or_insert(head);
                    }
                }
                Ok(entry) => {
                    let covers = |head: &Head| within.is_covered_by(head);
                    if end.is_none() && told(&entry).as_ref().is_some_and(covers) {
                        end = Some((step.head.seq, step.record.to_vec()));
                    }
                }
                Err(_) => {}
            }
        });
        if is_signed {
            signed = walker;
        }
        if let (Some(end), Some(head)) = (end, over) {
            let size = usize::try_from(head.size).unwrap_or(usize::MAX);
            let at = usize::try_from(end.0).unwrap_or(usize::MAX);
            let path = leaves.get(..size).and_then(|leaves| tree::inclusion_proof(leaves, at));
            let ended = path.and_then(|path| Ended::under(registry, end, (&head, path)));
            let holds = |ended: &Ended| Head::open(&ended.checkpoint, region).is_ok();
            let changed = || ProofError::Changed { origin: registry.clone() };
            return ended.filter(holds).ok_or_else(changed).map(Some);
        }
        leaves.truncate(usize::try_from(signed.size()).unwrap_or(usize::MAX));
    }
    Ok(None)
}

/// The proof as a file: as one of the registry's record, whose `extra` holds that and what it is told for.
pub(crate) fn write(proof: &Proof, end: &End) -> (String, u64, Vec<Hash>) {
    let mut extra = TITLE.as_bytes().to_vec();
    extra.extend_from_slice(&end.record);
    extra.extend_from_slice(format!("\nindex {}\n", proof.index).as_bytes());
    extra.extend_from_slice(lines_of(&proof.path).as_bytes());
    extra.push(b'\n');
    extra.extend_from_slice(&proof.record);
    (STANDARD.encode(extra), end.index, end.path.clone())
}

/// Reads what `write` wrote; `None` where it is a birth note and a record.
pub(crate) fn parse(
    extra: &[u8],
    (index, path, checkpoint): (u64, Vec<Hash>, &str),
) -> Option<Proof> {
    let rest = extra.strip_prefix(TITLE.as_bytes())?;
    let (said, rest) = rest.split_at_checked(memchr::memchr(b'\n', rest)?)?;
    let at = memchr::memmem::find(rest, b"\n\n")?;
    let (lines, record) = rest.split_at_checked(at)?;
    let mut lines = std::str::from_utf8(lines).ok()?.strip_prefix('\n')?.split('\n');
    let own = lines.next()?.strip_prefix("index ")?.parse().ok()?;
    let own_path = lines.map(Hash::parse_standard).collect::<Option<Vec<_>>>()?;
    let record = record.strip_prefix(b"\n\n")?.to_vec();
    let (checkpoint, birth) = (checkpoint.to_owned(), String::new());
    let end = Some(End { record: said.to_vec(), index, path });
    Some(Proof { index: own, path: own_path, checkpoint, birth, record, end })
}

/// Checks a proof that hangs on the registry's word for the stream's end.
pub(crate) fn check(
    proof: &Proof,
    end: &End,
    trust: &aegis_audit_trust::Trust,
) -> Result<Proven, ProofError> {
    let mut why = None;
    let opened = trust.registries().find_map(|(registry, region)| {
        let head = Head::open(&proof.checkpoint, region).map_err(|error| why = Some(error)).ok()?;
        Some((registry.clone(), head))
    });
    let (registry, over) =
        opened.ok_or_else(|| why.map_or(ProofError::End, ProofError::Checkpoint))?;
    if !tree::includes(over.size, over.root, (end.index, Hash::leaf(&end.record)), &end.path) {
        return Err(ProofError::Path);
    }
    let said = Record::parse(&end.record)?;
    if said.head.seq != end.index {
        return Err(ProofError::Misplaced);
    }
    let head = told(&said.entry).filter(|head| registry.vouches_for(&head.origin));
    let head = head.ok_or(ProofError::End)?;
    crate::believed(trust, &head)?;
    if !tree::includes(head.size, head.root, (proof.index, Hash::leaf(&proof.record)), &proof.path)
    {
        return Err(ProofError::Path);
    }
    let record = Record::parse(&proof.record)?;
    if record.head.seq != proof.index {
        return Err(ProofError::Misplaced);
    }
    Ok(Proven { head, registry, record })
}
