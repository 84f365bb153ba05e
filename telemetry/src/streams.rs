//! The records of all streams below an audit directory, in order, while one of them is still growing.
//!
//! Not here: the chain over the records (`aegisctl audit verify` walks it). Invariant: a stream's records come in
//! order and each once; a stream or file is left only after a later one was seen and nothing more came.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use aegis_audit_chain::frame::{FRAME_OVERHEAD, Frames};
use aegis_audit_chain::record::{MAX_BYTES, Record};
use aegis_audit_chain::{Origin, layout};
use tracing::warn;

use crate::cursor::{Place, Places};
use crate::follow::{Durable, Event};

/// Read at a time; a frame always fits.
const CHUNK_BYTES: usize = 64 * 1024;
const _: () = assert!(CHUNK_BYTES > MAX_BYTES + FRAME_OVERHEAD);
/// A log header, with the longest origin, is shorter.
const HEADER_BYTES_MAX: usize = 512;
const WAL_DIR: &str = "wal";

/// Every stream below one directory.
pub(crate) struct Streams {
    root: PathBuf,
    durable: Option<Durable>,
    readers: Vec<Reader>,
}

impl Streams {
    /// Stands at the given places; writers without one are read from their first record.
    pub(crate) fn at(root: PathBuf, durable: Option<Durable>, places: &Places) -> Self {
        let dir = root.join(layout::STREAMS_DIR);
        let readers = places.iter().map(|(writer, place)| Reader::at(&dir, writer, *place));
        let readers = readers.collect();
        Self { root, durable, readers }
    }

    /// Reads on until there is nothing more, or `batch` holds at least `max`.
    pub(crate) fn read(&mut self, batch: &mut Vec<Event>, max: usize) -> io::Result<()> {
        self.discover()?;
        for reader in &mut self.readers {
            reader.read(self.durable.as_ref(), batch, max)?;
        }
        Ok(())
    }

    pub(crate) fn places(&self) -> Places {
        self.readers.iter().map(|reader| (reader.writer.clone(), reader.place)).collect()
    }

    /// Finds writers not met before.
    fn discover(&mut self) -> io::Result<()> {
        let dir = self.root.join(layout::STREAMS_DIR);
        for writer in names(&dir)? {
            if self.readers.iter().any(|reader| reader.writer == writer) {
                continue;
            }
            if let Some(incarnation) = incarnations(&dir.join(&writer))?.first() {
                let place = Place { incarnation: *incarnation, next: 0 };
                self.readers.push(Reader::at(&dir, &writer, place));
            }
        }
        Ok(())
    }
}

/// The streams of one writer, one life after the other.
struct Reader {
    dir: PathBuf,
    writer: String,
    place: Place,
    open: Option<OpenFile>,
    /// What comes after the open file, once seen: nothing is added to the file any more.
    successor: Option<Successor>,
    buffer: Vec<u8>,
}

struct OpenFile {
    file: File,
    origin: Origin,
    first: u64,
    /// Number of the record at `offset`.
    seq: u64,
    offset: u64,
}

/// What a look into the open file brought.
enum Chunk {
    Records,
    /// There may be more, but it may not be told yet.
    NotDurable,
    Nothing,
}

#[derive(Clone, Copy, Debug)]
enum Successor {
    File(u64),
    Life(u64),
}

impl Reader {
    fn at(streams: &Path, writer: &str, place: Place) -> Self {
        Self {
            dir: streams.join(writer),
            writer: writer.to_owned(),
            place,
            open: None,
            successor: None,
            buffer: Vec::new(),
        }
    }

    fn read(
        &mut self,
        durable: Option<&Durable>,
        batch: &mut Vec<Event>,
        max: usize,
    ) -> io::Result<()> {
        while batch.len() < max {
            match self.read_chunk(durable, batch)? {
                Chunk::Records => continue,
                Chunk::NotDurable => return Ok(()),
                Chunk::Nothing => {}
            }
            let moved = match self.successor.take() {
                Some(successor) => self.turn_to(successor)?,
                None => {
                    self.successor = self.find_successor()?;
                    self.successor.is_some()
                }
            };
            if !moved {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes what the open file has more.
    fn read_chunk(
        &mut self,
        durable: Option<&Durable>,
        batch: &mut Vec<Event>,
    ) -> io::Result<Chunk> {
        let Some(open) = &mut self.open else { return Ok(Chunk::Nothing) };
        let end = durable.and_then(|durable| durable.of(&open.origin)).unwrap_or(u64::MAX);
        self.buffer.resize(CHUNK_BYTES, 0);
        let filled = fill(&open.file, &mut self.buffer, open.offset)?;
        let mut frames = Frames::resume(self.buffer.get(..filled).unwrap_or_default(), 0);
        let mut used = 0;
        while open.seq < end {
            let Some(Ok(frame)) = frames.next() else { break };
            if open.seq >= self.place.next {
                match Record::parse(frame.record) {
                    Ok(record) => batch.push(Event { origin: open.origin.clone(), record }),
                    Err(cause) => {
                        warn!(%cause, origin = %open.origin, seq = open.seq, "a record is passed over");
                    }
                }
            }
            open.seq = open.seq.saturating_add(1);
            used = frames.offset();
        }
        self.place.next = self.place.next.max(open.seq);
        open.offset = open.offset.saturating_add(u64::try_from(used).unwrap_or(0));
        Ok(match (used, open.seq < end) {
            (0, true) => Chunk::Nothing,
            (0, false) => Chunk::NotDurable,
            _ => Chunk::Records,
        })
    }

    /// The file after the open one, or the first one needed, or the writer's next life.
    fn find_successor(&self) -> io::Result<Option<Successor>> {
        let files = wal_firsts(&self.life(self.place.incarnation))?;
        let file = match &self.open {
            Some(open) => files.into_iter().find(|first| *first > open.first),
            None => {
                let holding = files.range(..=self.place.next).next_back();
                holding.or(files.first()).copied()
            }
        };
        match file {
            Some(first) => Ok(Some(Successor::File(first))),
            None => Ok(self.next_life()?.map(Successor::Life)),
        }
    }

    /// The writer's next life. One without a log file has not begun, so the one before may not be over.
    fn next_life(&self) -> io::Result<Option<u64>> {
        let later = self.place.incarnation.saturating_add(1)..;
        let life = incarnations(&self.dir)?.range(later).next().copied();
        Ok(match life {
            Some(life) if !wal_firsts(&self.life(life))?.is_empty() => Some(life),
            Some(_) | None => None,
        })
    }

    /// Goes on in the file or life; false when that is not possible yet.
    fn turn_to(&mut self, successor: Successor) -> io::Result<bool> {
        let life = match successor {
            Successor::File(first) if self.open_file(first)? => return Ok(true),
            // The header is still to be written, or its writer died before it was.
            Successor::File(_) => self.next_life()?,
            Successor::Life(life) => Some(life),
        };
        if let Some(incarnation) = life {
            (self.place, self.open) = (Place { incarnation, next: 0 }, None);
        }
        Ok(life.is_some())
    }

    fn open_file(&mut self, first: u64) -> io::Result<bool> {
        let path = self.life(self.place.incarnation).join(format!("{first:020}.wal"));
        let file = File::open(path)?;
        let mut head = [0; HEADER_BYTES_MAX];
        let filled = fill(&file, &mut head, 0)?;
        let opened = Frames::open(head.get(..filled).unwrap_or_default());
        let Ok((header, frames)) = opened else { return Ok(false) };
        if first > self.place.next {
            let missing = first.saturating_sub(self.place.next);
            warn!(origin = %header.origin, missing, "records are gone or damaged; going on after them");
        }
        let offset = u64::try_from(frames.offset()).unwrap_or(0);
        self.open = Some(OpenFile { file, origin: header.origin, first, seq: first, offset });
        Ok(true)
    }

    fn life(&self, incarnation: u64) -> PathBuf {
        self.dir.join(format!("{incarnation:020}")).join(WAL_DIR)
    }
}

fn fill(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset.saturating_add(u64::try_from(filled).unwrap_or(0)))? {
            0 => break,
            count => filled = filled.saturating_add(count),
        }
    }
    Ok(filled)
}

fn wal_firsts(dir: &Path) -> io::Result<BTreeSet<u64>> {
    Ok(names(dir)?.iter().filter_map(|name| layout::parse_wal_name(name)).collect())
}

fn incarnations(dir: &Path) -> io::Result<BTreeSet<u64>> {
    Ok(names(dir)?.iter().filter_map(|name| layout::parse_incarnation_name(name)).collect())
}

/// The names in a directory; none when it is missing.
fn names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect()
}
