//! Reading one file of a stream ahead of its turn: all of its own work is done, and what depends on the files before is left.
//!
//! Pure: whoever has threads brings them as a `Crew`. Not here: verdicts. Invariant: a survey is of use only where nothing at
//! all is wrong; any other file is walked in its turn as if nobody had surveyed it, so findings do not depend on a crew.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aegis_audit_chain::layout;
use aegis_audit_chain::link::Amid;
use aegis_audit_chain::record::{AnchorRefEntry, BornEntry, Entry, Kind};
use aegis_audit_chain::source::{LogSource, log_files};
use aegis_audit_chain::walk::{FileEnd, Step, walk_file};
use aegis_audit_registry::{Registry, Stream};

use crate::Depth;
use crate::schema::{Pairs, Schema};

/// Goes on while errands are done; what it is given waits for one of them, and is called with rising numbers.
pub type Lead<'l> = dyn FnMut(&dyn Fn(usize)) + 'l;

/// Who can do several things at once.
pub trait Crew {
    /// Does `errand(0)`, `errand(1)` and so on to `errand(count - 1)` while `lead` goes on. An errand that is not waited for need
    /// not be done, nor one that is far ahead of those that are.
    fn run(&self, count: usize, errand: &(dyn Fn(usize) + Sync), lead: &mut Lead<'_>);
}

/// Nobody: whatever is to be done is done in its turn.
#[derive(Clone, Copy, Debug)]
pub struct Alone;

impl Crew for Alone {
    fn run(&self, _count: usize, _errand: &(dyn Fn(usize) + Sync), lead: &mut Lead<'_>) {
        lead(&|_| {});
    }
}

/// What a file of a stream holds.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) bytes: u64,
    pub(crate) amid: Amid,
    /// `None` where nobody asked.
    pub(crate) schema: Option<Schema>,
    /// Heads of the registry that it vouches for: record and offset of each.
    pub(crate) references: Vec<(u64, u64, AnchorRefEntry)>,
    pub(crate) ends_in_close: bool,
}

/// All files that can be surveyed, in the order of their turns.
#[derive(Debug)]
pub(crate) struct Surveys<'r> {
    files: Vec<File<'r>>,
    /// Where a file stands in that order, by its path.
    turns: HashMap<String, usize>,
    done: Vec<Mutex<Option<Survey>>>,
}

/// A file, by the number of its first record, and all sizes that are signed of its stream.
#[derive(Debug)]
struct File<'r> {
    stream: &'r Stream,
    first: u64,
    signed: Arc<[u64]>,
}

impl<'r> Surveys<'r> {
    /// A log of one file gives a crew nothing to do.
    pub(crate) fn of(source: &dyn LogSource, registry: &'r Registry) -> Self {
        let mut files = Vec::new();
        for stream in registry.streams() {
            // A folder that cannot be listed is found to be so in its turn.
            let firsts = log_files(source, &stream.born.origin).unwrap_or_default();
            let signed: Arc<[u64]> = stream.signed_roots().into_keys().collect();
            let file = |first| File { stream, first, signed: Arc::clone(&signed) };
            files.extend(firsts.into_iter().map(file));
        }
        if files.len() < 2 {
            files.clear();
        }
        let turns = files.iter().map(File::path).zip(0..).collect();
        let done = files.iter().map(|_| Mutex::new(None)).collect();
        Self { files, turns, done }
    }

    pub(crate) fn count(&self) -> usize {
        self.files.len()
    }

    /// Surveys a file; of one with anything wrong nothing is kept.
    pub(crate) fn make(&self, source: &dyn LogSource, turn: usize, depth: Depth) {
        if let (Some(file), Some(place)) = (self.files.get(turn), self.done.get(turn)) {
            let survey = file.survey(source, depth);
            *place.lock().unwrap_or_else(PoisonError::into_inner) = survey;
        }
    }

    /// The survey of a file, once, when its turn has come.
    pub(crate) fn take(&self, path: &str, wait: &dyn Fn(usize)) -> Option<Survey> {
        let turn = *self.turns.get(path)?;
        wait(turn);
        self.done.get(turn)?.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl File<'_> {
    fn path(&self) -> String {
        layout::wal_file(&self.stream.born.origin, self.first)
    }

    fn survey(&self, source: &dyn LogSource, depth: Depth) -> Option<Survey> {
        let (born, first) = (&self.stream.born, self.first);
        let bytes = source.read(&self.path()).ok()??;
        let mut amid = Amid::new(born.origin.clone(), first, &self.signed);
        let mut schema = (depth == Depth::Schema).then(|| Schema::amid(&born.origin, first));
        let (mut references, mut ends_in_close, mut is_whole) = (Vec::new(), false, true);
        // Outcomes of decisions that stand elsewhere are left to the one who knows all streams.
        let mut nobody = Pairs::default();
        let end = walk_file(&mut amid, (first, &bytes), &mut |_, step| {
            ends_in_close = step.kind == Kind::Close.as_str();
            is_whole &=
                step.unrecorded_step_ns.is_none() && (step.head.seq > 0 || is_birth(born, &step));
            is_whole &=
                schema.as_mut().is_none_or(|schema| schema.record(&mut nobody, &step).is_ok());
            if step.kind == Kind::AnchorRef.as_str()
                && let Ok(Entry::AnchorRef(reference)) = Entry::parse(step.record)
            {
                references.push((step.head.seq, step.offset, reference));
            }
        });
        let bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        (is_whole && end == FileEnd::Clean).then_some(Survey {
            bytes,
            amid,
            schema,
            references,
            ends_in_close,
        })
    }
}

/// Whether a stream's first record says what the registry says of its birth.
pub(crate) fn is_birth(born: &BornEntry, step: &Step<'_>) -> bool {
    matches!(Entry::parse(step.record), Ok(Entry::Genesis(genesis))
        if genesis.origin == born.origin && genesis.vkey == born.vkey)
}
