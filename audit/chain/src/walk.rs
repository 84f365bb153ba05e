//! Walks the files of a stream: header, frames, links, and what stands after the last whole frame.
//!
//! Pure: the caller brings each file's bytes. Not here: what follows from an end (`verify`, and recovery in
//! `audit/ship`). Invariant: a record is shown to the caller only after its checksum and its links held.

use crate::frame::{FrameError, Frames, Header};
use crate::link::{Checked, LinkError, Walker};
use crate::record::{Head, TornTail};
use crate::{Hash, Origin};

/// Whoever follows a stream record by record: from its start (`Walker`) or from the middle (`Amid`).
pub trait Follow {
    fn origin(&self) -> &Origin;

    /// The number that the next record must bear.
    fn size(&self) -> u64;

    /// Checks that `record` is the next one.
    fn check<'a>(&self, record: &'a [u8]) -> Result<Checked<'a>, LinkError>;

    /// Goes past a record that `check` has let through.
    fn accept(&mut self, record: &[u8], checked: &Checked<'_>) -> Hash;
}

impl Follow for Walker {
    fn origin(&self) -> &Origin {
        self.origin()
    }

    fn size(&self) -> u64 {
        self.size()
    }

    fn check<'a>(&self, record: &'a [u8]) -> Result<Checked<'a>, LinkError> {
        self.check(record)
    }

    fn accept(&mut self, record: &[u8], checked: &Checked<'_>) -> Hash {
        self.accept(record, checked)
    }
}

/// One record in its place.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    pub head: Head,
    /// The text of `k`, which may be of a kind this version does not know.
    pub kind: &'a str,
    pub record: &'a [u8],
    /// Where its frame begins in the file.
    pub offset: u64,
    /// Where its frame ends.
    pub end: u64,
    /// A step of the wall clock that no `clock` record announces.
    pub unrecorded_step_ns: Option<i128>,
}

/// How a file ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileEnd {
    /// At its end, or in zeros.
    Clean,
    /// In bytes that are no frame: a crash, a writer at work, or a change.
    Torn { tail: TornTail, why: FrameError },
    /// In a record that does not stand at its place.
    Broken { offset: u64, why: LinkError },
    /// Before it began: it belongs to another stream or another place in this one.
    Misplaced { header: Header },
}

/// Walks one file, whose name says that its first record is number `first`; `each` sees the walker as it stands
/// before the record.
pub fn walk_file<F: Follow>(
    walker: &mut F,
    (first, bytes): (u64, &[u8]),
    each: &mut dyn FnMut(&F, Step<'_>),
) -> FileEnd {
    let (header, mut frames) = match Frames::open(bytes) {
        Ok(opened) => opened,
        Err(why) => {
            let frames = Frames::resume(bytes, 0);
            return torn(first, &frames).map_or(FileEnd::Clean, |tail| FileEnd::Torn { tail, why });
        }
    };
    if header.first != first || first != walker.size() || header.origin != *walker.origin() {
        return FileEnd::Misplaced { header };
    }
    while let Some(item) = frames.next() {
        let frame = match item {
            Ok(frame) => frame,
            Err(why) => {
                let tail = torn(first, &frames);
                return tail.map_or(FileEnd::Clean, |tail| FileEnd::Torn { tail, why });
            }
        };
        let (offset, end) = (wide(frame.offset), wide(frames.offset()));
        let checked = match walker.check(frame.record) {
            Ok(checked) => checked,
            Err(why) => return FileEnd::Broken { offset, why },
        };
        let step = Step {
            head: checked.head,
            kind: checked.kind,
            record: frame.record,
            offset,
            end,
            unrecorded_step_ns: checked.unrecorded_step_ns,
        };
        each(walker, step);
        walker.accept(frame.record, &checked);
    }
    FileEnd::Clean
}

/// What stands in a file from `offset` to the last byte that is not zero; `None` when nothing does.
pub fn leftover(first: u64, bytes: &[u8], offset: u64) -> Option<TornTail> {
    torn(first, &Frames::resume(bytes, usize::try_from(offset).unwrap_or(usize::MAX)))
}

fn torn(first: u64, frames: &Frames<'_>) -> Option<TornTail> {
    let leftover = frames.leftover();
    (!leftover.is_empty()).then(|| TornTail {
        file: first,
        offset: wide(frames.offset()),
        bytes: wide(leftover.len()),
        sha256: Hash::of(leftover),
    })
}

fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
