//! One stream against what the registry says of it.
//!
//! Not here: the registry itself (`registry`). Invariant: every record is compared with a root that a key from the
//! registry signed, or it is reported as not covered.

use std::collections::BTreeMap;

use aegis_audit_chain::frame::FrameError;
use aegis_audit_chain::link::{LinkError, Pruned, Walker};
use aegis_audit_chain::note::Verifier;
use aegis_audit_chain::record::{AnchorRefEntry, Ending, Entry, Kind, TornTail};
use aegis_audit_chain::roster::Roster;
use aegis_audit_chain::walk::{FileEnd, Follow as _, Step, walk_file};
use aegis_audit_chain::{Hash, Head, Origin, layout};
use aegis_audit_registry::{Registry, Stream};

use crate::report::{Flaw, Gap, Place, StreamReport};
use crate::revoked;
use crate::schema::Schema;
use crate::survey::{Survey, Surveys, is_birth};
use crate::{Depth, Run};

/// What was read ahead of its turn, and how to wait for it.
pub(crate) type Ahead<'a> = (&'a Surveys<'a>, &'a dyn Fn(usize));

/// Findings of the schema pass that are listed of one stream; a broken writer would repeat one for ever.
const SUSPECT_MAX: usize = 100;

pub(crate) struct StreamCheck<'s> {
    stream: &'s Stream,
    registry: &'s Registry,
    region: &'s Verifier,
    /// Roots that were signed, by size.
    expected: BTreeMap<u64, Hash>,
    /// What the registry says of the tenants, by size.
    rosters: BTreeMap<u64, Option<Roster>>,
    /// The largest size whose root agreed.
    agreed: u64,
    walker: Walker,
    findings: Vec<(Place, Flaw)>,
    references: Vec<(Place, AnchorRefEntry)>,
    last_is_close: bool,
    /// The first record that was not deleted here.
    begins: u64,
    /// Where the stream's key was revoked, the head up to which it is believed.
    stands: Option<Head>,
    /// The largest head that the stream's key signed.
    signed: u64,
}

impl<'s> StreamCheck<'s> {
    pub(crate) fn new(
        stream: &'s Stream,
        (registry, region): (&'s Registry, &'s Verifier),
    ) -> Self {
        let expected = stream.signed_roots();
        let rosters = stream.signed_rosters();
        Self {
            stream,
            registry,
            region,
            expected,
            rosters,
            agreed: 0,
            walker: Walker::new(stream.born.origin.clone()),
            findings: Vec::new(),
            references: Vec::new(),
            last_is_close: false,
            begins: 0,
            stands: None,
            signed: stream.anchors.last().map_or(0, |anchor| anchor.size),
        }
    }

    fn origin(&self) -> &'s Origin {
        &self.stream.born.origin
    }

    pub(crate) fn run(mut self, run: &mut Run<'_>, ahead: Ahead<'_>) {
        run.beside(self.origin());
        self.anchor_signature(run);
        for head in revoked::stands(self.stream, run.trust) {
            let other = revoked::expect(&head, &mut self.expected);
            other.into_iter().for_each(|(place, flaw)| run.report.fail(place, flaw));
            self.stands.get_or_insert(head);
        }
        let dir = layout::wal_dir(self.origin());
        let Some(firsts) = run.files(&dir, self.origin(), layout::parse_wal_name) else { return };
        // After that, because a file is deleted after its note was written.
        self.pruned(run);
        let Some(firsts) = self.present(run, firsts) else { return };
        self.signed_heads(run);
        self.expected = self.expected.split_off(&self.begins);
        let mut schema = run.pairs.begin(self.origin(), self.begins);
        let whole = self.files((run, ahead), &mut schema, &firsts);
        run.pairs.end(schema);
        // The note is durable before the first record; a life that ended between the two may lack it.
        if self.walker.size() > 0 {
            run.birth_note(self.origin(), (&self.stream.verifier, self.region));
        }
        if whole {
            self.ends(run);
        }
        let (records, ended) = (self.walker.size(), self.stream.closed.as_ref().map(|end| end.how));
        let here = records.saturating_sub(self.begins);
        run.report.records = run.report.records.saturating_add(here);
        if let Some(stands) = &self.stands {
            self.findings.extend(revoked::behind(stands, (self.signed, records)));
        }
        let anchored = self.agreed;
        let origin = self.origin().clone();
        run.report.streams.push(StreamReport { origin, records, anchored, ended });
        for (place, flaw) in self.findings {
            run.report.fail(place, flaw);
        }
        run.references.extend(self.references);
    }

    /// The newest anchor stands for all before it, because the walk ties them together.
    fn anchor_signature(&mut self, run: &mut Run<'_>) {
        let Some(last) = self.stream.anchors.last() else { return };
        let head = Head { origin: last.origin.clone(), size: last.size, root: last.root };
        if let Err(why) = self.stream.verifier.check(&head.checkpoint(), &last.sig) {
            let place = Place { seq: Some(last.size), ..Place::of(self.origin()) };
            run.report.fail(place, Flaw::Anchor(why));
        }
        if let Some(closed) = &self.stream.closed
            && closed.how.is_broken()
        {
            let place = Place { seq: Some(closed.size), ..Place::of(self.origin()) };
            run.report.fail(place, Flaw::FoundBroken(closed.how));
        }
    }

    /// Begins behind records that were deleted here, where the region key says so.
    fn pruned(&mut self, run: &mut Run<'_>) {
        let (path, origin) = (layout::pruned_note(self.origin()), self.origin().clone());
        // Its absence is no flaw: whole streams have none.
        if matches!(run.source.read(&path), Ok(None)) {
            return;
        }
        let Some(note) = run.read(&path, &origin) else { return };
        let note = std::str::from_utf8(&note).unwrap_or_default();
        match Pruned::open(note, self.region) {
            Ok(pruned) if *pruned.walker.origin() == origin => {
                let to = pruned.size();
                if to <= self.walker.size() {
                    return;
                }
                let gaps = &mut run.report.gaps;
                gaps.retain(|gap| !matches!(gap, Gap::Pruned { origin: of, .. } if *of == origin));
                let is_vouched_for = self.expected.range(to..).next().is_some();
                self.agreed = if is_vouched_for { to } else { 0 };
                (self.begins, self.walker) = (to, pruned.walker);
                run.report.gaps.push(Gap::Pruned { origin, to });
            }
            Ok(_) => run.report.fail(Place::file(&origin, &path), Flaw::Misplaced),
            Err(why) => run.report.fail(Place::file(&origin, &path), Flaw::Note(why)),
        }
    }

    /// Goes on behind what was deleted since the note was read, as a gateway does that is still there.
    fn deleted_meanwhile(&mut self, run: &mut Run<'_>, schema: &mut Schema) -> bool {
        let (before, at) = (self.begins, self.walker.size());
        self.pruned(run);
        let is_ahead = self.begins > before.max(at);
        if is_ahead {
            self.expected = self.expected.split_off(&self.begins);
            *schema = run.pairs.begin(self.origin(), self.begins);
        }
        is_ahead
    }

    /// The stream's files; `None` when there are none, which is judged here.
    fn present(&mut self, run: &mut Run<'_>, mut firsts: Vec<u64>) -> Option<Vec<u64>> {
        // A crash may have kept some of them from being deleted.
        firsts.retain(|first| *first >= self.begins);
        if !firsts.is_empty() || self.begins > 0 {
            return Some(firsts);
        }
        let signed = self.expected.last_key_value().map_or(0, |(size, _)| *size);
        let origin = self.origin().clone();
        if signed > 0 {
            run.report.fail(Place::of(&origin), Flaw::StreamGone { signed });
        } else if self.stream.closed.is_none() {
            run.report.gaps.push(Gap::Unwritten { origin });
        }
        None
    }

    fn signed_heads(&mut self, run: &mut Run<'_>) {
        let (dir, origin) = (layout::heads_dir(self.origin()), self.origin());
        let sizes = run.files(&dir, origin, layout::parse_head_name).unwrap_or_default();
        for size in sizes {
            let path = layout::head_file(origin, size);
            let Some(head) = run.head_note(&path, size, (origin, &self.stream.verifier)) else {
                continue;
            };
            self.signed = self.signed.max(size);
            if self.expected.insert(size, head.root).is_some_and(|known| known != head.root) {
                let agreed = self.agreed;
                run.report.fail(Place::file(origin, &path), Flaw::Root { size, agreed });
            }
        }
        let ended = self.stream.closed.as_ref().filter(|closed| closed.how == Ending::Closed);
        if let Some(closed) = ended {
            // Its absence is a finding of `read`; its content was compared above.
            let _note = run.read(&layout::head_file(origin, closed.size), origin).is_some();
        }
    }

    /// Walks the files in order; false when the walk had to stop.
    fn files(
        &mut self,
        (run, (surveys, wait)): (&mut Run<'_>, Ahead<'_>),
        schema: &mut Schema,
        firsts: &[u64],
    ) -> bool {
        let last = firsts.last().copied();
        for first in firsts.iter().copied() {
            if first < self.begins {
                continue;
            }
            let path = layout::wal_file(self.origin(), first);
            let survey = surveys.take(&path, wait);
            if survey.is_some_and(|survey| self.follow(run, (schema, &path), survey)) {
                run.walked(self.walker.size());
                continue;
            }
            let origin = self.origin().clone();
            let mut is_gone = false;
            let bytes = run.read_unless(&path, &origin, |run| {
                is_gone = self.deleted_meanwhile(run, schema);
                is_gone
            });
            if is_gone {
                continue;
            }
            let Some(bytes) = bytes else { return false };
            let mut walker = self.walker.clone();
            let depth = run.options.depth;
            let mut before_offset = None;
            let end = walk_file(&mut walker, (first, &bytes), &mut |before, step| {
                before_offset = Some(step.offset);
                self.record(before, &step, &path);
                if depth == Depth::Schema
                    && let Err(flaw) = schema.record(&mut run.pairs, &step)
                {
                    self.suspect(&path, &step, flaw);
                }
            });
            self.walker = walker;
            run.walked(self.walker.size());
            let at = Place { seq: Some(self.walker.size()), ..Place::file(self.origin(), &path) };
            match end {
                FileEnd::Clean => {}
                FileEnd::Torn { tail, why } => {
                    return self.torn(run, (at, last == Some(first)), (tail, why));
                }
                FileEnd::Broken { offset, why } => {
                    self.broken((at, offset), (before_offset, why));
                    return false;
                }
                FileEnd::Misplaced { .. } => {
                    self.findings.push((Place { offset: Some(0), ..at }, Flaw::Misplaced));
                    return false;
                }
            }
        }
        true
    }

    /// Goes past a file that was surveyed; false, and nothing changed, where anything in it is not as it must be.
    fn follow(
        &mut self,
        run: &mut Run<'_>,
        (schema, path): (&mut Schema, &str),
        survey: Survey,
    ) -> bool {
        let Survey { bytes, amid, schema: surveyed, references, ends_in_close } = survey;
        let (first, end) = (self.walker.size(), amid.size());
        let mut walker = self.walker.clone();
        // The root at the end is compared when the next record is there, or none.
        let mut stops = 0;
        let mut stop = |walker: &Walker| {
            let is_due = walker.size() < end && self.expected.contains_key(&walker.size());
            stops += usize::from(is_due);
            !is_due || self.agrees(walker)
        };
        let known = |(.., reference): &(u64, u64, AnchorRefEntry)| {
            let root = self.registry.root_at(reference.size);
            root.is_none_or(|root| root == reference.root)
        };
        let holds = first < end
            && self.agrees(&walker)
            && walker.follow(amid, &mut stop)
            // A head that is signed elsewhere than in the registry is no stop.
            && stops == self.expected.range(first.saturating_add(1)..end).count()
            && references.iter().all(known)
            && surveyed.is_none_or(|surveyed| schema.follow(&mut run.pairs, surveyed));
        if !holds {
            return false;
        }
        for (seq, offset, reference) in references {
            self.reference(reference, ((seq, offset), path));
        }
        if let Some((size, _)) = self.expected.range(..end).next_back() {
            self.agreed = *size;
        }
        self.expected = self.expected.split_off(&end);
        (self.walker, self.last_is_close) = (walker, ends_in_close);
        run.surveyed(bytes);
        true
    }

    /// Whether the registry says nothing of this size, or the same.
    fn agrees(&self, walker: &Walker) -> bool {
        let size = walker.size();
        let root = self.expected.get(&size);
        let roster = || self.rosters.get(&size).map(|said| (said, walker.roster_lines().roster()));
        root.is_none_or(|root| {
            *root == walker.head().root && roster().is_none_or(|(said, found)| *said == found)
        })
    }

    fn record(&mut self, before: &Walker, step: &Step<'_>, path: &str) {
        self.root_at(before, path);
        self.last_is_close = step.kind == Kind::Close.as_str();
        if let Some(step_ns) = step.unrecorded_step_ns {
            self.suspect(path, step, Flaw::Clock { step_ns });
        }
        if step.head.seq == 0 {
            self.genesis(step, path);
        }
        if step.kind == Kind::AnchorRef.as_str()
            && let Ok(Entry::AnchorRef(reference)) = Entry::parse(step.record)
        {
            self.reference(reference, ((step.head.seq, step.offset), path));
        }
    }

    /// Compares the root with the one signed at this size, if one was.
    fn root_at(&mut self, walker: &Walker, path: &str) {
        let size = walker.size();
        let due = self.expected.first_entry().filter(|entry| *entry.key() == size);
        let Some(root) = due.map(|entry| entry.remove()) else { return };
        let seq = Some(size.saturating_sub(1));
        let place = Place { seq, ..Place::file(self.origin(), path) };
        if walker.head().root == root {
            self.agreed = size;
            let said = self.rosters.remove(&size);
            if said.is_some_and(|said| said != walker.roster_lines().roster()) {
                self.findings.push((place, Flaw::Roster { size }));
            }
            return;
        }
        self.findings.push((place, Flaw::Root { size, agreed: self.agreed }));
        // Every later root differs for the same reason.
        self.expected.clear();
    }

    fn genesis(&mut self, step: &Step<'_>, path: &str) {
        if !is_birth(&self.stream.born, step) {
            let place = Place {
                seq: Some(0),
                offset: Some(step.offset),
                ..Place::file(self.origin(), path)
            };
            self.findings.push((place, Flaw::Birth));
        }
    }

    fn reference(&mut self, reference: AnchorRefEntry, ((seq, offset), path): ((u64, u64), &str)) {
        let (seq, offset) = (Some(seq), Some(offset));
        let place = Place { seq, offset, ..Place::file(self.origin(), path) };
        match self.registry.root_at(reference.size) {
            Some(root) if root == reference.root => {}
            Some(_) => self.findings.push((place, Flaw::Reference)),
            None => self.references.push((place, reference)),
        }
    }

    fn suspect(&mut self, path: &str, step: &Step<'_>, flaw: Flaw) {
        if self.findings.len() < SUSPECT_MAX {
            let seq = Some(step.head.seq);
            let place =
                Place { seq, offset: Some(step.offset), ..Place::file(self.origin(), path) };
            self.findings.push((place, flaw));
        }
    }

    /// A file that ends in bytes that are no record; true when that is accounted for.
    fn torn(
        &mut self,
        run: &mut Run<'_>,
        (at, is_last): (Place, bool),
        (tail, why): (TornTail, FrameError),
    ) -> bool {
        let size = self.walker.size();
        let signed = self.expected.last_key_value().map_or(0, |(size, _)| *size);
        let explained = match &self.stream.closed {
            Some(closed) => closed.size == size && closed.torn.as_ref() == Some(&tail),
            None => signed <= size,
        };
        if !explained || !is_last {
            self.findings.push((Place { offset: Some(tail.offset), ..at }, Flaw::Frame(why)));
            return false;
        }
        if self.stream.closed.is_none() {
            let (origin, bytes) = (self.origin().clone(), tail.bytes);
            run.report.gaps.push(Gap::Tail { origin, from: size, bytes });
        }
        true
    }

    /// A record that is not where it belongs. A link that does not fit speaks against the record before it.
    fn broken(
        &mut self,
        (at, offset): (Place, u64),
        (before_offset, why): (Option<u64>, LinkError),
    ) {
        let here = Place { offset: Some(offset), ..at };
        let changed = matches!(why, LinkError::Prev) && here.seq != Some(0);
        if changed {
            let seq = here.seq.map(|seq| seq.saturating_sub(1));
            self.findings.push((Place { seq, offset: before_offset, ..here }, Flaw::Changed));
        } else {
            self.findings.push((here, Flaw::Link(why)));
        }
    }

    /// The walk came to the end: is it the end that was signed?
    fn ends(&mut self, run: &mut Run<'_>) {
        let path = layout::wal_dir(self.origin());
        let walker = self.walker.clone();
        let (found, origin) = (walker.size(), self.origin().clone());
        self.root_at(&walker, &path);
        let here = Place { seq: Some(found), ..Place::of(&origin) };
        if let Some((signed, _)) = self.expected.last_key_value() {
            self.findings.push((here, Flaw::Truncated { found, signed: *signed }));
            return;
        }
        match &self.stream.closed {
            Some(closed) if found > closed.size => {
                let place = Place { seq: Some(closed.size), ..here };
                self.findings.push((place, Flaw::Extra { size: closed.size }));
            }
            Some(closed)
                if closed.how == Ending::Closed && !self.last_is_close && found > self.begins =>
            {
                self.findings.push((here, Flaw::Unclosed));
            }
            Some(_) => {}
            None if self.agreed < found => {
                let gap = Gap::Unanchored { origin, from: self.agreed, to: found };
                run.report.gaps.push(gap);
            }
            None => {}
        }
    }
}
