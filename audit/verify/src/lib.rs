//! The verifier: reads a region's log with nothing but a trust file, and says who broke what, and where.
//!
//! Pure: files come through `LogSource`. Not here: the format (`audit/chain`), printing (`aegisctl`). Invariant: nothing is valid by default; an
//! empty log, an unreadable file and an unsigned tail are never a pass.

mod attested;
mod beside;
mod carried;
mod kept;
mod report;
mod revoked;
mod schema;
mod stream;
mod survey;
mod witnessed;

use std::borrow::Cow;
use std::collections::BTreeSet;

use aegis_audit_chain::note::Verifier;
use aegis_audit_chain::record::AnchorRefEntry;
use aegis_audit_chain::source::{LogSource, SourceError};
use aegis_audit_chain::{Head, Origin, birth_text, layout};
use aegis_audit_registry::{Registry, RegistryReader, Resume};
use aegis_audit_trust::Trust;
use aegis_domain::Timestamp;

pub use attested::{Attested, Due};
pub use kept::{KeptReport, check_kept};
pub use report::{
    Finding, Flaw, Gap, Place, Report, Severity, StreamReport, UNSETTLED_LISTED, Unsettled,
    Verdict, WitnessedHead,
};

pub use revoked::stands;
pub use survey::{Alone, Crew, Lead};

use schema::Pairs;
use stream::StreamCheck;
use survey::Surveys;

/// Whether records are read beyond their place in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Frames, chains, trees, heads, signatures.
    Chain,
    /// All of that, every field, outcomes paired with decisions, sums of seals.
    Schema,
}

/// What a run is to do.
#[derive(Clone, Debug)]
pub struct Options {
    pub depth: Depth,
    /// The registry heads an earlier run ended with: each log must extend its own.
    pub remembered: Vec<Head>,
    /// Witnesses must have seen each registry then or later, where the trust file asks for any.
    pub witnessed_since: Option<Timestamp>,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub files: u64,
    pub bytes: u64,
    pub records: u64,
}

/// Verifies everything below a directory, file by file. `progress` is called after every file.
pub fn verify_region(
    source: &dyn LogSource,
    trust: &Trust,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Report {
    verify_region_with(&Alone, source, trust, options, progress)
}

/// The same with a crew that reads files ahead of their turn. The report is the same, whoever helps.
pub fn verify_region_with(
    crew: &dyn Crew,
    source: &dyn LogSource,
    trust: &Trust,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Report {
    let mut run = Run {
        crew,
        source,
        trust,
        options,
        progress,
        done: Progress::default(),
        report: Report::default(),
        pairs: Pairs::default(),
        known: BTreeSet::new(),
        references: Vec::new(),
        registries: Vec::new(),
    };
    run.beside_all();
    // A log grows while it is read. A stream is named before it has a file, and a head is signed before it has a note: so both are
    // looked for before the registry is read that must know them.
    let lives = run.lives();
    for (origin, region) in trust.registries() {
        run.region(origin, region);
    }
    run.strangers(lives);
    run.revoked_are_named();
    run.registries_reach();
    run.pairs.finish(&mut run.report);
    let mut report = run.report;
    report.name_places(|path| source.place(path));
    for (file, why) in source.found() {
        report.fail(Place { file: Some(file), ..Place::default() }, Flaw::Segment(why));
    }
    report
}

/// Sizes of heads of a registry that are kept in notes.
struct Noted {
    heads: Vec<u64>,
    points: Vec<u64>,
    witnessed: Vec<u64>,
}

struct Run<'r> {
    crew: &'r dyn Crew,
    source: &'r dyn LogSource,
    trust: &'r Trust,
    options: &'r Options,
    progress: &'r mut dyn FnMut(Progress),
    done: Progress,
    report: Report,
    pairs: Pairs,
    /// Directories of the streams that a registry names.
    known: BTreeSet<String>,
    /// Registry heads that streams vouch for, and that the registry did not have when it was read.
    references: Vec<(Place, AnchorRefEntry)>,
    /// What was read of each registry.
    registries: Vec<Registry>,
}

impl<'r> Run<'r> {
    fn region(&mut self, origin: &Origin, region: &Verifier) {
        self.beside(origin);
        let noted = self.noted(origin);
        let Some(registry) = self.registry(origin, region) else { return };
        self.registry_heads(&registry, &noted, (origin, region));
        self.witnessed(&registry, &noted.witnessed, (origin, region));
        let (source, depth) = (self.source, self.options.depth);
        let surveys = Surveys::of(source, &registry);
        let errand = |turn: usize| surveys.make(source, turn, depth);
        self.crew.run(surveys.count(), &errand, &mut |wait| {
            for stream in registry.streams() {
                self.known.insert(layout::stream_dir(&stream.born.origin));
                let check = StreamCheck::new(stream, (&registry, region));
                check.run(self, (&surveys, wait));
            }
        });
        if self.source.carried(origin).is_some() {
            self.ahead(&registry);
        } else {
            self.late_references(origin, region);
        }
        self.report.registries.extend(registry.signed_head());
        self.registries.push(registry);
    }

    /// Reads the registry; `None` when nothing in it can be believed.
    fn registry(&mut self, origin: &Origin, region: &Verifier) -> Option<Registry> {
        let place = Place::of(origin);
        let firsts = self.files(&layout::wal_dir(origin), origin, layout::parse_wal_name)?;
        if firsts.is_empty() {
            self.report.fail(place, Flaw::Empty);
            return None;
        }
        let mut reader = RegistryReader::new(origin.clone(), region.clone());
        for first in firsts {
            let bytes = self.read(&layout::wal_file(origin, first), origin)?;
            if let Err(error) = reader.file(first, &bytes) {
                self.report.registry_flaw(origin, &error);
                return None;
            }
        }
        match reader.finish() {
            Ok(registry) => {
                self.report.records = self.report.records.saturating_add(registry.walker().size());
                for tail in registry.unsigned() {
                    let from = registry.walker().size();
                    let bytes = tail.bytes;
                    self.report.gaps.push(Gap::Tail { origin: origin.clone(), from, bytes });
                }
                Some(registry)
            }
            Err(error) => {
                self.report.registry_flaw(origin, &error);
                None
            }
        }
    }

    /// Which heads of the registry are kept beside it.
    fn noted(&mut self, origin: &Origin) -> Noted {
        let mut sizes =
            |dir: String| self.files(&dir, origin, layout::parse_head_name).unwrap_or_default();
        Noted {
            heads: sizes(layout::heads_dir(origin)),
            points: sizes(layout::resume_dir(origin)),
            witnessed: sizes(layout::witnessed_dir(origin)),
        }
    }

    /// Compares the registry with heads of it that are kept elsewhere.
    fn registry_heads(
        &mut self,
        registry: &Registry,
        noted: &Noted,
        (origin, region): (&Origin, &Verifier),
    ) {
        self.birth_note(origin, (region, region));
        let mut heads = Vec::new();
        for size in noted.heads.iter().copied() {
            let path = layout::head_file(origin, size);
            heads.extend(self.head_note(&path, size, (origin, region)));
        }
        heads.extend(self.resume_points(&noted.points, (origin, region)));
        let remembered = self.options.remembered.iter().filter(|head| head.origin == *origin);
        heads.extend(remembered.cloned());
        for head in heads {
            self.reached(registry, &head);
        }
    }

    /// The heads in the registry's resume points. Nothing here is believed because of them, and a wrong one is a finding.
    fn resume_points(
        &mut self,
        sizes: &[u64],
        (origin, region): (&Origin, &Verifier),
    ) -> Vec<Head> {
        let mut heads = Vec::new();
        for size in sizes.iter().copied() {
            let path = layout::resume_file(origin, size);
            let Some(bytes) = self.read_unless(&path, origin, |_| true) else { continue };
            match Resume::open(std::str::from_utf8(&bytes).unwrap_or_default(), region) {
                Ok(point) if point.size() == size => heads.push(point.head()),
                Ok(_) => self.report.fail(Place::file(origin, &path), Flaw::Misplaced),
                Err(why) => self.report.fail(Place::file(origin, &path), Flaw::Note(why)),
            }
        }
        heads
    }

    /// Whether the registry still has a head that was seen elsewhere.
    fn reached(&mut self, registry: &Registry, head: &Head) {
        let place = Place { seq: Some(head.size), ..Place::of(&head.origin) };
        match registry.root_at(head.size) {
            Some(root) if root == head.root => {}
            Some(_) => self.report.fail(place, Flaw::Root { size: head.size, agreed: 0 }),
            None => {
                let found = registry.walker().size();
                self.report.fail(place, Flaw::Truncated { found, signed: head.size });
            }
        }
    }

    /// Reads a signed head that was there when it was listed; a flaw in it is a finding. Some go once they were shipped.
    fn head_note(
        &mut self,
        path: &str,
        size: u64,
        (origin, verifier): (&Origin, &Verifier),
    ) -> Option<Head> {
        let bytes = self.read_unless(path, origin, |_| true)?;
        let note = std::str::from_utf8(&bytes).unwrap_or_default();
        match Head::open(note, verifier) {
            Ok(head) if head.size == size => Some(head),
            Ok(_) => {
                self.report.fail(Place::file(origin, path), Flaw::Misplaced);
                None
            }
            Err(why) => {
                self.report.fail(Place::file(origin, path), Flaw::Note(why));
                None
            }
        }
    }

    /// Checks that the region key signed a stream's key.
    fn birth_note(&mut self, origin: &Origin, (stream, region): (&Verifier, &Verifier)) {
        let path = layout::genesis_note(origin);
        let Some(bytes) = self.read(&path, origin) else { return };
        let note = std::str::from_utf8(&bytes).unwrap_or_default();
        match region.open(note) {
            Ok(text) if text == birth_text(stream) => {}
            Ok(_) => self.report.fail(Place::file(origin, &path), Flaw::Birth),
            Err(why) => self.report.fail(Place::file(origin, &path), Flaw::Note(why)),
        }
    }

    /// Heads that the registry reached only while the streams were being read.
    fn late_references(&mut self, origin: &Origin, region: &Verifier) {
        if self.references.is_empty() {
            return;
        }
        let records = self.report.records;
        let Some(registry) = self.registry(origin, region) else { return };
        self.report.records = records;
        self.report.gaps.dedup();
        for (place, reference) in std::mem::take(&mut self.references) {
            let (found, signed) = (registry.walker().size(), reference.size);
            match registry.root_at(signed) {
                Some(root) if root == reference.root => {}
                Some(_) => self.report.fail(place, Flaw::Reference),
                None => self.report.fail(place, Flaw::Truncated { found, signed }),
            }
        }
    }

    /// The numbers in a directory's file names, in order; other names are findings.
    fn files(
        &mut self,
        dir: &str,
        origin: &Origin,
        parse: fn(&str) -> Option<u64>,
    ) -> Option<Vec<u64>> {
        let mut numbers = Vec::new();
        for name in self.list(dir)? {
            match parse(&name) {
                Some(number) => numbers.push(number),
                // Set aside by recovery: nothing in it was ever signed.
                None if origin.is_registry() && name.ends_with(".torn") => {}
                // A note that a crash kept from getting its name.
                None if name.ends_with(".tmp") => {}
                None => {
                    let place = Place::file(origin, &format!("{dir}/{name}"));
                    self.report.fail(place, Flaw::Stray);
                }
            }
        }
        Some(numbers)
    }

    fn list(&mut self, dir: &str) -> Option<Vec<String>> {
        match self.source.list(dir) {
            Ok(mut names) => {
                names.sort_unstable();
                Some(names)
            }
            Err(error) => {
                self.report.gaps.push(Gap::Unreadable(error));
                None
            }
        }
    }

    /// Reads a file that must be there.
    fn read(&mut self, path: &str, origin: &Origin) -> Option<Cow<'r, [u8]>> {
        self.read_unless(path, origin, |_| false)
    }

    /// The same, where something may excuse that it is not there.
    fn read_unless(
        &mut self,
        path: &str,
        origin: &Origin,
        is_excused: impl FnOnce(&mut Self) -> bool,
    ) -> Option<Cow<'r, [u8]>> {
        match self.source.read(path) {
            Ok(Some(bytes)) => {
                let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                self.done.files = self.done.files.saturating_add(1);
                self.done.bytes = self.done.bytes.saturating_add(length);
                (self.progress)(self.done);
                Some(bytes)
            }
            Ok(None) => {
                if !is_excused(self) {
                    self.report.fail(Place::file(origin, path), Flaw::Missing);
                }
                None
            }
            Err(SourceError::Broken { path, why }) => {
                self.report.fail(Place::file(origin, &path), Flaw::Segment(why));
                None
            }
            Err(error @ SourceError::Unreadable { .. }) => {
                self.report.gaps.push(Gap::Unreadable(error));
                None
            }
        }
    }

    /// Counts a file that somebody else has read.
    fn surveyed(&mut self, bytes: u64) {
        self.done.files = self.done.files.saturating_add(1);
        self.done.bytes = self.done.bytes.saturating_add(bytes);
    }

    /// Tells the caller how far the run is; `here` are records of the stream being read.
    fn walked(&mut self, here: u64) {
        self.done.records = self.report.records.saturating_add(here);
        (self.progress)(self.done);
    }
}
