//! A record that was promised to be in the log: is it?
//!
//! Not here: the promise's signature (an attestation is a JWS of the region). Invariant: a promise that is due and not kept is
//! a finding at its place; one that was kept and whose record was deleted here stays open.

use aegis_audit_chain::frame::Frames;
use aegis_audit_chain::source::LogSource;
use aegis_audit_chain::{Hash, Origin, layout};
use aegis_audit_trust::Trust;

use crate::{Finding, Flaw, Gap, Place, Report};

/// What an attestation promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attested {
    pub origin: Origin,
    pub seq: u64,
    pub leaf: Hash,
    pub due: Due,
}

/// Whether the time is over in which the record may still be on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Now,
    Later,
}

impl Attested {
    /// Whether a trusted registry is that of the record's stream.
    pub fn is_of(&self, trust: &Trust) -> bool {
        trust.registries().any(|(registry, _)| registry.vouches_for(&self.origin))
    }

    /// Adds to the report of the same log what became of the promise.
    pub fn check(&self, source: &dyn LogSource, report: &mut Report) {
        let Self { origin, seq, leaf, due } = self;
        let is_pruned = report
            .gaps
            .iter()
            .any(|gap| matches!(gap, Gap::Pruned { origin: of, to } if of == origin && seq < to));
        if is_pruned {
            return;
        }
        let (file, found) = self.look(source);
        if found == Some(*leaf) {
            return;
        }
        match (found, due) {
            (None, Due::Later) => {
                let (from, to) = (*seq, seq.saturating_add(1));
                report.gaps.push(Gap::Unanchored { origin: origin.clone(), from, to });
            }
            (Some(_), _) | (None, Due::Now) => {
                let file = file.map(|file| source.place(&file));
                let place = Place { seq: Some(*seq), file, ..Place::of(origin) };
                report.findings.push(Finding { place, flaw: Flaw::Unkept });
            }
        }
    }

    /// The file the record should be in, and what stands in its place.
    fn look(&self, source: &dyn LogSource) -> (Option<String>, Option<Hash>) {
        let names = source.list(&layout::wal_dir(&self.origin)).unwrap_or_default();
        let firsts = names.iter().filter_map(|name| layout::parse_wal_name(name));
        let Some(first) = firsts.filter(|first| *first <= self.seq).max() else {
            return (None, None);
        };
        let path = layout::wal_file(&self.origin, first);
        let nth = usize::try_from(self.seq.saturating_sub(first)).unwrap_or(usize::MAX);
        let found = source.read(&path).ok().flatten().and_then(|bytes| {
            let (_, frames) = Frames::open(&bytes).ok()?;
            let frame = frames.map_while(Result::ok).nth(nth)?;
            Some(Hash::leaf(frame.record))
        });
        (Some(path), found)
    }
}
