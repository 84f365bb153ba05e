//! Reads the records of one stream off its files, from any number on, while it may still be growing.
//!
//! Not here: checks beyond the frames' checksums (`audit/chain`). Invariant: records come in order, each once; a frame
//! that is not whole yet is left for later.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use aegis_audit_chain::frame::{FRAME_OVERHEAD, Frames, Header};
use aegis_audit_chain::record::MAX_BYTES;
use aegis_audit_chain::{Origin, layout};

/// Read at a time; a frame always fits.
const CHUNK_BYTES: usize = 256 * 1024;
const _: () = assert!(CHUNK_BYTES > MAX_BYTES + FRAME_OVERHEAD);

#[derive(Debug)]
pub struct StreamReader {
    root: PathBuf,
    origin: Origin,
    file: Option<(File, u64)>,
    /// Number of the next record in the files.
    seq: u64,
    /// Records before this one are passed over.
    from: u64,
    /// Where the next file begins, if there is one: whatever stands in this file from there on was never signed.
    next_file: u64,
    buffer: Vec<u8>,
}

impl StreamReader {
    pub fn new(root: &Path, origin: Origin, from: u64) -> Self {
        let (root, buffer) = (root.to_path_buf(), Vec::new());
        Self { root, origin, file: None, seq: 0, from, next_file: u64::MAX, buffer }
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Number of the record that the next read begins with.
    pub(crate) fn next_seq(&self) -> u64 {
        self.seq.max(self.from)
    }

    /// Shows records below `end`, until there are no more or `each` has had enough.
    pub fn read(&mut self, end: u64, each: &mut dyn FnMut(u64, &[u8]) -> Wants) -> io::Result<()> {
        while self.seq < end {
            if self.file.is_none() && !self.open_next()? {
                return Ok(());
            }
            match self.read_chunk(end, each)? {
                Chunk::Records => {}
                Chunk::Enough => return Ok(()),
                Chunk::Nothing => {
                    if !self.open_next()? {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    fn read_chunk(
        &mut self,
        end: u64,
        each: &mut dyn FnMut(u64, &[u8]) -> Wants,
    ) -> io::Result<Chunk> {
        let Some((file, offset)) = &mut self.file else { return Ok(Chunk::Nothing) };
        self.buffer.resize(CHUNK_BYTES, 0);
        let filled = fill(file, &mut self.buffer, *offset)?;
        let bytes = self.buffer.get(..filled).unwrap_or_default();
        let mut frames = Frames::resume(bytes, 0);
        let (mut chunk, mut used) = (Chunk::Nothing, 0);
        while self.seq < end.min(self.next_file) {
            let Some(Ok(frame)) = frames.next() else { break };
            let wants =
                if self.seq < self.from { Wants::More } else { each(self.seq, frame.record) };
            self.seq = self.seq.saturating_add(1);
            used = frames.offset();
            chunk = Chunk::Records;
            if matches!(wants, Wants::Enough) {
                chunk = Chunk::Enough;
                break;
            }
        }
        *offset = offset.saturating_add(u64::try_from(used).unwrap_or(0));
        Ok(chunk)
    }

    /// Opens the file that goes on where this one ended, or the first one needed; false when there is none (yet).
    fn open_next(&mut self) -> io::Result<bool> {
        let first = match self.file {
            Some(_) => self.seq,
            None => match first_file(&self.root, &self.origin, self.from)? {
                Some(first) => first,
                None => return Ok(false),
            },
        };
        let path = self.root.join(layout::wal_file(&self.origin, first));
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let Some((_, offset)) = read_header(&file)? else { return Ok(false) };
        // Going on in the very file that has just ended would never end.
        if self.file.is_some() && first == self.seq && self.reads_same(&file)? {
            return Ok(false);
        }
        (self.file, self.seq) = (Some((file, offset)), first);
        let firsts = wal_firsts(&self.root, &self.origin)?;
        self.next_file = firsts.into_iter().find(|other| *other > first).unwrap_or(u64::MAX);
        Ok(true)
    }

    fn reads_same(&self, other: &File) -> io::Result<bool> {
        use std::os::unix::fs::MetadataExt as _;
        let Some((file, _)) = &self.file else { return Ok(false) };
        Ok(file.metadata()?.ino() == other.metadata()?.ino())
    }
}

/// The header of a log file, if it has a whole one yet.
pub(crate) fn header_of(path: &Path) -> io::Result<Option<Header>> {
    Ok(read_header(&File::open(path)?)?.map(|(header, _)| header))
}

/// A file's header and where its first frame begins.
fn read_header(file: &File) -> io::Result<Option<(Header, u64)>> {
    // Fixed fields and an origin of at most 255 bytes.
    let mut head = [0; 512];
    let filled = fill(file, &mut head, 0)?;
    let opened = Frames::open(head.get(..filled).unwrap_or_default()).ok();
    Ok(opened.map(|(header, frames)| (header, u64::try_from(frames.offset()).unwrap_or(0))))
}

/// Whether a reader's caller goes on.
#[derive(Clone, Copy, Debug)]
pub enum Wants {
    More,
    Enough,
}

enum Chunk {
    Records,
    Enough,
    Nothing,
}

fn fill(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let at = offset.saturating_add(u64::try_from(filled).unwrap_or(0));
        match file.read_at(rest, at)? {
            0 => break,
            count => filled = filled.saturating_add(count),
        }
    }
    Ok(filled)
}

/// The file that record `from` is in: the last one that does not begin after it, or else the first that was not deleted.
fn first_file(root: &Path, origin: &Origin, from: u64) -> io::Result<Option<u64>> {
    let firsts = wal_firsts(root, origin)?;
    let holding = firsts.iter().take_while(|first| **first <= from).last();
    Ok(holding.or(firsts.first()).copied())
}

/// First records of all log files of a stream, in order; none when the directory is missing.
pub(crate) fn wal_firsts(root: &Path, origin: &Origin) -> io::Result<Vec<u64>> {
    let names = names(&root.join(layout::wal_dir(origin)))?;
    Ok(names.iter().filter_map(|name| layout::parse_wal_name(name)).collect())
}

/// The names in a directory, sorted; none when it is missing.
pub(crate) fn names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
