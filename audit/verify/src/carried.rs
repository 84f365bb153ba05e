//! A log that is carried here piece by piece, streams before the registry that names them: what may be missing for a while.
//!
//! Not here: a journal's own directory, where a registry names a stream before the stream has a file. Invariant: each piece says
//! how far the registry was in place before it, and less than any of them says is FAIL; so what can pass for a log on its way is
//! a state that it once was in, and nothing newer stands beside it.

use aegis_audit_chain::link::Walker;
use aegis_audit_chain::note::Verifier;
use aegis_audit_chain::record::{AnchorRefEntry, Entry};
use aegis_audit_chain::source::SourceError;
use aegis_audit_chain::walk::{FileEnd, Step, walk_file};
use aegis_audit_chain::{Origin, born_stream, layout};
use aegis_audit_registry::Registry;

use crate::Run;
use crate::report::{Flaw, Gap, Place};

impl Run<'_> {
    /// What stands where streams do: writer, life, and where.
    pub(crate) fn lives(&mut self) -> Vec<(String, String, String)> {
        let mut lives = Vec::new();
        for writer in self.list(layout::STREAMS_DIR).unwrap_or_default() {
            let dir = format!("{}/{writer}", layout::STREAMS_DIR);
            for life in self.list(&dir).unwrap_or_default() {
                let path = format!("{dir}/{life}");
                lives.push((writer.clone(), life, path));
            }
        }
        lives
    }

    /// Streams that no registry names.
    pub(crate) fn strangers(&mut self, lives: Vec<(String, String, String)>) {
        for (writer, life, path) in lives {
            if !self.known.contains(&path) {
                match self.newborn(&writer, &life) {
                    Ok(Some((origin, records))) => {
                        self.report.records = self.report.records.saturating_add(records);
                        self.report.gaps.push(Gap::Unnamed { origin, records });
                    }
                    Ok(None) => {
                        let place = Place { file: Some(path), ..Place::default() };
                        self.report.fail(place, Flaw::Stranger);
                    }
                    Err(error) => self.report.gaps.push(Gap::Unreadable(error)),
                }
            }
        }
    }

    /// Registries that end before a point at which they were in place already.
    pub(crate) fn registries_reach(&mut self) {
        for registry in &self.registries {
            let (origin, found) = (registry.walker().origin(), registry.walker().size());
            let signed = self.source.carried(origin).unwrap_or(0);
            if found < signed {
                let place = Place { seq: Some(found), ..Place::of(origin) };
                self.report.fail(place, Flaw::Truncated { found, signed });
            }
        }
    }

    /// Heads that streams vouch for and that the registry does not have yet.
    pub(crate) fn ahead(&mut self, registry: &Registry) {
        let (found, mut to) = (registry.walker().size(), 0);
        for (place, AnchorRefEntry { size, root, .. }) in std::mem::take(&mut self.references) {
            match registry.root_at(size) {
                Some(known) if known == root => {}
                None if size > found => to = size.max(to),
                Some(_) | None => self.report.fail(place, Flaw::Reference),
            }
        }
        if to > found {
            let origin = registry.walker().origin().clone();
            self.report.gaps.push(Gap::Ahead { origin, from: found, to });
        }
    }

    /// The name and the records of a stream that was carried here ahead of its registry; `None` when it is no such stream.
    fn newborn(&self, writer: &str, life: &str) -> Result<Option<(Origin, u64)>, SourceError> {
        for registry in &self.registries {
            let of = registry.walker().origin();
            let Some(number) = layout::parse_incarnation_name(life) else { continue };
            let Ok(origin) = Origin::stream(of.domain(), of.region(), writer, number) else {
                continue;
            };
            // Births are in the order of their numbers: one behind this stream's would have named it.
            let is_next = of.vouches_for(&origin) && number > registry.last_incarnation();
            if !is_next || self.source.carried(of).is_none() {
                continue;
            }
            let note = self.source.read(&layout::genesis_note(&origin))?.unwrap_or_default();
            let Some(stream) = self.born(&String::from_utf8_lossy(&note), &origin) else {
                continue;
            };
            let newborn = Newborn { stream: &stream, registry, is_born: true };
            if let Some(records) = self.walk_newborn(&origin, newborn)? {
                return Ok(Some((origin, records)));
            }
        }
        Ok(None)
    }

    /// The stream's key, where a region key that may speak for it signed the note.
    fn born(&self, note: &str, origin: &Origin) -> Option<Verifier> {
        let mut regions = self.trust.regions_of(origin);
        let stream = regions.find_map(|region| born_stream(region.open(note).ok()?))?;
        (stream.name() == origin.as_str()).then_some(stream)
    }

    /// How many records of the stream are here; `None` when they do not hang together, or are not those of a stream whose birth
    /// the registry has still to tell.
    fn walk_newborn(
        &self,
        origin: &Origin,
        mut newborn: Newborn<'_>,
    ) -> Result<Option<u64>, SourceError> {
        let names = self.source.list(&layout::wal_dir(origin))?;
        let mut firsts: Vec<u64> =
            names.iter().filter_map(|name| layout::parse_wal_name(name)).collect();
        firsts.sort_unstable();
        let mut walker = Walker::new(origin.clone());
        for first in firsts {
            let bytes = match self.source.read(&layout::wal_file(origin, first)) {
                Ok(bytes) => bytes.unwrap_or_default(),
                Err(SourceError::Broken { .. }) => return Ok(None),
                Err(unreadable @ SourceError::Unreadable { .. }) => return Err(unreadable),
            };
            let end = walk_file(&mut walker, (first, &bytes), &mut |_, step| newborn.record(&step));
            if end != FileEnd::Clean || !newborn.is_born {
                return Ok(None);
            }
        }
        Ok(Some(walker.size()))
    }
}

/// A stream that is thought to be named in what its registry says next.
struct Newborn<'n> {
    stream: &'n Verifier,
    registry: &'n Registry,
    is_born: bool,
}

impl Newborn<'_> {
    /// Its first record bears its key; each head of the registry that it speaks of is one that is still to come. The first of
    /// these, in record 1, covers its birth.
    fn record(&mut self, step: &Step<'_>) {
        let is_reference = step.kind == aegis_audit_chain::record::Kind::AnchorRef.as_str();
        if step.head.seq > 1 && !is_reference {
            return;
        }
        let signed = self.registry.walker().size();
        self.is_born &= match Entry::parse(step.record) {
            Ok(Entry::Genesis(genesis)) => {
                step.head.seq == 0 && genesis.vkey == self.stream.to_string()
            }
            Ok(Entry::AnchorRef(reference)) => {
                step.head.seq > 0
                    && reference.registry == *self.registry.walker().origin()
                    && reference.size > signed
            }
            Ok(_) | Err(_) => false,
        };
    }
}
