//! What the shipper keeps on disk: the segment that is on its way, and how far each stream was confirmed.
//!
//! Not here: the bucket. Invariant: a segment's bytes are on disk before the first is sent, so that every try sends the same;
//! the cursor of a stream is the last manifest that was read back from the bucket.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aegis_audit_chain::{Origin, layout};
use serde_json::json;

use super::sealer::Segment;
use crate::disk::Disk;
use aegis_audit_bucket::Receipt;

const NEXT_NOTE: &str = "next.man";
const NEXT_RECORDS: &str = "next.rec.gz";
const NEXT_INDEX: &str = "next.idx";
const WITNESSED: &str = "witnessed";

pub(crate) struct Spool {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
}

impl Spool {
    pub(crate) fn open(root: &Path, disk: Arc<dyn Disk>) -> io::Result<Self> {
        let dir = root.join(layout::SHIP_DIR);
        disk.create_dir(&dir)?;
        Ok(Self { dir, disk })
    }

    /// Keeps a segment until it is confirmed; the note last, because it makes the records count.
    pub(crate) fn keep(&self, segment: &Segment) -> io::Result<()> {
        self.disk.write_whole(&self.dir.join(NEXT_RECORDS), &segment.stored)?;
        self.disk.write_whole(&self.dir.join(NEXT_INDEX), &segment.index)?;
        self.disk.write_whole(&self.dir.join(NEXT_NOTE), segment.note.as_bytes())
    }

    /// The segment that was on its way when the process before ended: its note, its records and their index.
    pub(crate) fn next(&self) -> io::Result<Option<(String, [Vec<u8>; 2])>> {
        let Some(note) = read(&self.dir.join(NEXT_NOTE))? else { return Ok(None) };
        let records = read(&self.dir.join(NEXT_RECORDS))?.unwrap_or_default();
        let index = read(&self.dir.join(NEXT_INDEX))?.unwrap_or_default();
        Ok(Some((String::from_utf8_lossy(&note).into_owned(), [records, index])))
    }

    /// Moves the stream's cursor to the segment, writes down what the bucket said of it, and lets it go.
    pub(crate) fn confirm(
        &self,
        origin: &Origin,
        (note, receipts): (&str, &[Receipt]),
    ) -> io::Result<()> {
        self.note_receipts(origin, receipts)?;
        self.disk.write_whole(&self.cursor_path(origin), note.as_bytes())?;
        self.forget()
    }

    /// Lets go of the segment that was on its way.
    pub(crate) fn forget(&self) -> io::Result<()> {
        for name in [NEXT_NOTE, NEXT_RECORDS, NEXT_INDEX] {
            match fs::remove_file(self.dir.join(name)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Appends what the bucket said of objects: their versions, and how long it keeps them.
    pub(crate) fn note_receipts(&self, origin: &Origin, receipts: &[Receipt]) -> io::Result<()> {
        use std::io::Write as _;
        let path = self.path(origin, "receipts.jsonl");
        path.parent().map_or(Ok(()), |dir| self.disk.create_dir(dir))?;
        let mut lines = String::new();
        for Receipt { key, sha256, bytes, version, kept_until, written_s: _ } in receipts {
            let sha256 = sha256.to_string();
            let kept_until = kept_until.as_ref().map(ToString::to_string);
            let line = json!({
                "key": key, "sha256": sha256, "bytes": bytes,
                "version": version, "kept_until": kept_until,
            });
            lines.push_str(&format!("{line}\n"));
        }
        let mut file = fs::OpenOptions::new().append(true).create(true).open(path)?;
        file.write_all(lines.as_bytes())?;
        file.sync_data()
    }

    /// The last manifest of a stream that is in the bucket for sure.
    pub(crate) fn cursor(&self, origin: &Origin) -> io::Result<Option<String>> {
        let bytes = read(&self.cursor_path(origin))?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The largest witnessed head of a registry that is in the bucket for sure; 0 where that is not known.
    pub(crate) fn witnessed(&self, registry: &Origin) -> io::Result<u64> {
        let bytes = read(&self.path(registry, WITNESSED))?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&bytes).trim_end().parse().unwrap_or(0))
    }

    pub(crate) fn note_witnessed(&self, registry: &Origin, size: u64) -> io::Result<()> {
        let path = self.path(registry, WITNESSED);
        self.disk.write_whole(&path, format!("{size}\n").as_bytes())
    }

    /// Marks a stream of which nothing more is to come.
    pub(crate) fn finish(&self, origin: &Origin) -> io::Result<()> {
        let path = self.path(origin, "done");
        path.parent().map_or(Ok(()), |dir| self.disk.create_dir(dir))?;
        self.disk.write_whole(&path, b"")
    }

    pub(crate) fn is_finished(&self, origin: &Origin) -> bool {
        self.path(origin, "done").exists()
    }

    fn cursor_path(&self, origin: &Origin) -> PathBuf {
        self.path(origin, "cursor.man")
    }

    fn path(&self, origin: &Origin, name: &str) -> PathBuf {
        self.dir.join(origin.writer()).join(format!("{:020}", origin.incarnation())).join(name)
    }
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        bytes => bytes.map(Some),
    }
}
