//! Reads the audit journal from disk, record by record, while a gateway may be writing it.
//!
//! Not here: what records mean. Invariant: nothing is written or locked, and a record is
//! handed out only when its checksum holds.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use aegis_audit_chain::frame::{FrameError, Frames};
use aegis_audit_chain::link::Pruned;
use aegis_audit_chain::{Origin, layout};
use aegis_audit_plain::Links;
use aegis_domain::Timestamp;

use crate::JournalError;

/// Enough for many records at once; a record and its frame are far smaller.
const CHUNK: usize = 1 << 20;

/// What was deleted here is told in a few lines, and one for each tenant.
const NOTE_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// Takes a record's stream and its bytes.
type Each<'a, E> = dyn FnMut(&Origin, &[u8]) -> Result<(), E> + 'a;

/// Where a reader stands in one stream.
#[derive(Debug)]
pub struct Cursor {
    wal: PathBuf,
    /// First records of the stream's files, which name them.
    files: Vec<u64>,
    /// Index into `files`.
    at: usize,
    offset: u64,
    origin: Option<Origin>,
}

/// One cursor at the beginning of each stream, the streams in the order of their births.
pub fn open(audit_dir: &Path) -> Result<Vec<Cursor>, JournalError> {
    let streams = audit_dir.join(layout::STREAMS_DIR);
    let mut found = Vec::new();
    for writer in names(&streams)? {
        for life in names(&streams.join(&writer))? {
            let number = layout::parse_incarnation_name(&life);
            found.extend(number.map(|number| (number, streams.join(&writer).join(&life))));
        }
    }
    found.sort();
    let cursors = found.into_iter().map(|(_, stream)| Cursor::new(stream.join("wal")));
    cursors.collect()
}

/// The names in a folder; a writer may be making it just now.
fn names(folder: &Path) -> Result<Vec<String>, JournalError> {
    let failure = |source| JournalError::File { path: folder.to_owned(), source };
    fs::read_dir(folder)
        .map_err(failure)?
        .map(|entry| Ok(entry.map_err(failure)?.file_name().to_string_lossy().into_owned()))
        .collect()
}

impl Cursor {
    fn new(wal: PathBuf) -> Result<Self, JournalError> {
        let mut cursor = Self { wal, files: Vec::new(), at: 0, offset: 0, origin: None };
        cursor.refresh()?;
        Ok(cursor)
    }

    /// Looks for files that were begun since. Where the one under way was shipped and deleted, the next one is read.
    fn refresh(&mut self) -> Result<(), JournalError> {
        let current = self.files.get(self.at).copied();
        let names = match names(&self.wal) {
            Err(JournalError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Vec::new()
            }
            names => names?,
        };
        self.files = names.iter().filter_map(|name| layout::parse_wal_name(name)).collect();
        self.files.sort_unstable();
        if let Some(current) = current {
            self.at = self.files.partition_point(|first| *first < current);
            if self.files.get(self.at) != Some(&current) {
                self.offset = 0;
            }
        }
        Ok(())
    }

    /// When the last record was written that was shipped and deleted here; `None` where none was.
    pub fn begins_after(&self) -> Option<Timestamp> {
        let path = self.wal.with_file_name("pruned.note");
        let note = aegis_audit_plain::read(&path, Links::Refused, NOTE_BYTES_MAX).ok()?;
        let note = String::from_utf8(note).ok()?;
        Pruned::read_unverified(&note).map(|pruned| Timestamp::from_unix_ns(pruned.last_ts))
    }

    /// The directory that tells this stream from others.
    pub fn folder(&self) -> &Path {
        &self.wal
    }

    /// Moves to the newest file, for those who want only the latest records.
    pub fn skip_to_newest_file(&mut self) {
        self.at = self.files.len().saturating_sub(1);
    }

    /// Bytes on disk from here on.
    pub fn bytes(&self) -> u64 {
        let files = self.files.iter().skip(self.at);
        files.filter_map(|first| fs::metadata(self.path(*first)).ok()).map(|meta| meta.len()).sum()
    }

    fn path(&self, first: u64) -> PathBuf {
        self.wal.join(format!("{first:020}.wal"))
    }

    /// Hands every whole record from here to the end to `each`, with the bytes it came from, and stands behind it.
    pub fn read<E: From<JournalError>>(&mut self, each: &mut Each<'_, E>) -> Result<(), E> {
        self.refresh()?;
        while let Some(first) = self.files.get(self.at).copied() {
            let path = self.path(first);
            let failure = |source| JournalError::File { path: path.clone(), source };
            let file = aegis_audit_plain::open(&path, Links::Refused).map_err(failure)?;
            let end = loop {
                match self.read_chunk(&file, each).map_err(|stop| stop.at(&path))? {
                    Chunk::Records => {}
                    Chunk::End(end) => break end,
                }
            };
            let next = self.at.saturating_add(1);
            if next >= self.files.len() {
                // More may be written here; a frame that is no frame yet may be on its way.
                return Ok(());
            }
            if let Some(why) = end {
                return Err(JournalError::Damaged { path, source: why }.into());
            }
            (self.at, self.offset) = (next, 0);
        }
        Ok(())
    }

    /// Hands out the whole records of the next chunk.
    fn read_chunk<E>(&mut self, file: &File, each: &mut Each<'_, E>) -> Result<Chunk, Stop<E>> {
        let mut chunk = vec![0; CHUNK];
        let length = read_at(file, &mut chunk, self.offset).map_err(Stop::Io)?;
        chunk.truncate(length);
        let mut frames = Frames::resume(&chunk, 0);
        if self.offset == 0 {
            match Frames::open(&chunk) {
                Ok((header, opened)) => (self.origin, frames) = (Some(header.origin), opened),
                // Begun a moment ago, or its writer died then.
                Err(why) => return Ok(Chunk::End(Some(why))),
            }
        }
        let Some(origin) = &self.origin else { return Ok(Chunk::End(None)) };
        let (began, mut why) = (frames.offset(), None);
        for item in frames.by_ref() {
            match item {
                Ok(frame) => each(origin, frame.record).map_err(Stop::Reader)?,
                Err(error) => why = Some(error),
            }
        }
        let end = frames.offset();
        self.offset = self.offset.saturating_add(u64::try_from(end).unwrap_or(u64::MAX));
        // The chunk's own end cuts a frame as well: that one is read again from its beginning.
        Ok(if end > began { Chunk::Records } else { Chunk::End(why) })
    }
}

/// What a chunk held.
enum Chunk {
    Records,
    /// No whole record: zeros, or bytes that are no frame.
    End(Option<FrameError>),
}

/// Why reading a file ended early.
enum Stop<E> {
    Io(io::Error),
    /// Whoever takes the records wants no more of them.
    Reader(E),
}

impl<E: From<JournalError>> Stop<E> {
    fn at(self, path: &Path) -> E {
        match self {
            Stop::Io(source) => JournalError::File { path: path.to_owned(), source }.into(),
            Stop::Reader(error) => error,
        }
    }
}

fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let place = offset.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
        match file.read_at(rest, place)? {
            0 => break,
            length => filled = filled.saturating_add(length),
        }
    }
    Ok(filled)
}
