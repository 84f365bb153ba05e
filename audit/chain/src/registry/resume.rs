//! A resume point: all that a registry says up to a signed head, without the records that later ones supersede.
//!
//! Pure. Not here: where points lie and when they are written (`audit/ship`). Invariant: a point that opens leads to the head in it:
//! the subtrees give the root that the region key signed, and the head's record stands at its place behind them.

use super::{Keeps, Streams};
use crate::link::Walker;
use crate::note::{NoteError, Signer, Verifier};
use crate::record::{Entry, HeadEntry, Record};
use crate::{Head, Origin};

const TITLE: &str = "aegis.dev/audit/resume@v1";

/// The record of the newest signed head, and where the registry stood before it.
#[derive(Clone, Debug)]
pub struct Newest {
    before: Walker,
    record: Vec<u8>,
}

impl Newest {
    pub fn of(before: &Walker, record: &[u8]) -> Self {
        Self { before: before.clone(), record: record.to_vec() }
    }

    /// Where the registry stands behind the record; `None` where it does not stand at its place.
    pub(super) fn behind(&self) -> Option<Walker> {
        let mut walker = self.before.clone();
        let checked = walker.check(&self.record).ok()?;
        walker.accept(&self.record, &checked);
        Some(walker)
    }
}

/// A registry behind one of its signed heads.
#[derive(Clone, Debug)]
pub struct Resume {
    pub(super) newest: Newest,
    pub(super) head: HeadEntry,
    pub(super) behind: Walker,
    pub(super) streams: Streams,
}

impl Resume {
    /// `None` unless the newest record is a head over all before it. The streams must keep their records (`Keeps::Newest`).
    pub fn new(newest: Newest, streams: Streams) -> Option<Self> {
        let Ok(Entry::Head(head)) = Entry::parse(&newest.record) else { return None };
        let (behind, known) = (newest.behind()?, newest.before.head());
        let holds = (head.size, head.root) == (known.size, known.root);
        holds.then_some(Self { newest, head, behind, streams })
    }

    pub fn origin(&self) -> &Origin {
        self.behind.origin()
    }

    /// How many records it stands for, which is also the number of the first one behind it.
    pub fn size(&self) -> u64 {
        self.behind.size()
    }

    /// Stands behind the head's record.
    pub fn walker(&self) -> &Walker {
        &self.behind
    }

    /// The signed head that is the last record.
    pub fn head(&self) -> Head {
        self.newest.before.head()
    }

    /// That head as a note of its own.
    pub fn head_note(&self) -> String {
        self.head().note_with(&self.head.sig)
    }

    /// How many streams it knows.
    pub fn streams(&self) -> usize {
        self.streams.list().len()
    }

    pub fn note(&self, region: &Signer) -> String {
        region.note(&self.text())
    }

    /// Reads a point that the region key signed; the key must be named after the registry.
    pub fn open(note: &str, region: &Verifier) -> Result<Self, NoteError> {
        let point = Self::parse(region.open_table(note)?).ok_or(NoteError::Malformed)?;
        if point.origin().as_str() != region.name() {
            return Err(NoteError::Malformed);
        }
        region.check(&point.head().checkpoint(), &point.head.sig)?;
        Ok(point)
    }

    fn text(&self) -> String {
        let mut text = format!("{TITLE}\n{}", self.newest.before.stands());
        for record in self.streams.records().chain([self.newest.record.as_slice()]) {
            // Whatever is a record is text.
            text.push_str(&String::from_utf8_lossy(record));
            text.push('\n');
        }
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        if lines.next()? != TITLE {
            return None;
        }
        let before = Walker::standing(&mut lines)?;
        let mut records: Vec<&str> = lines.collect();
        let newest = Newest { record: records.pop()?.as_bytes().to_vec(), before };
        let mut streams = Streams::new(Keeps::Newest);
        for record in records {
            let Record { head, entry } = Record::parse(record.as_bytes()).ok()?;
            let said = (head.seq, record.as_bytes());
            streams.apply(newest.before.origin(), said, entry).ok()?;
        }
        let point = Self::new(newest, streams)?;
        // One meaning has one text.
        (point.text() == text).then_some(point)
    }
}
