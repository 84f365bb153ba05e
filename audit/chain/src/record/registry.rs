//! The records of the registry: which streams there are, how far each is known to reach, how each ended.
//!
//! Not here: the streams' own records (`stream`). Invariant: a stream is in the registry before its first
//! record is written, so a stream that vanishes leaves its name behind.

use super::json::{Reader, Writer};
use super::stream::{read_previous, write_previous};
use super::{Draft, Kind, Previous, RecordError};
use crate::roster::Roster;
use crate::{Hash, Origin};

/// The body of a `stream_born` record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BornEntry {
    pub origin: Origin,
    /// The key whose signature the stream's heads bear, in signed-note form.
    pub vkey: String,
    pub previous: Option<Previous>,
}

/// The body of an `anchor` record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnchorEntry {
    pub origin: Origin,
    pub size: u64,
    pub root: Hash,
    /// Whose records these are; `None` while no tenant has any.
    pub tenants: Option<Roster>,
    /// The stream key's signature over the checkpoint of (origin, size, root): base64 of key id and signature.
    pub sig: String,
}

/// The body of a `stream_failed` record: a disk error, after which the stream takes no more records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedEntry {
    pub origin: Origin,
    /// How far it was durable.
    pub size: u64,
    pub root: Hash,
    /// The kind of error, such as `StorageFull`.
    pub error: String,
}

/// The body of a `stream_revoked` record: the stream's key is not believed from here on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedEntry {
    pub origin: Origin,
    /// How far it is believed: its newest anchor, or nothing.
    pub size: u64,
    pub root: Hash,
    /// What somebody said of it.
    pub reason: String,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// In order: its last record is `close`.
    Closed,
    /// Its process died; every whole record was kept.
    Crashed,
    /// Its disk failed; every whole record was kept.
    IoError,
    /// It was found shorter than a head of it that was anchored.
    RolledBack,
    /// It was found with another history than the one anchored.
    Forked,
}

impl Ending {
    const ALL: [Ending; 5] =
        [Ending::Closed, Ending::Crashed, Ending::IoError, Ending::RolledBack, Ending::Forked];

    pub fn as_str(self) -> &'static str {
        match self {
            Ending::Closed => "closed",
            Ending::Crashed => "crashed",
            Ending::IoError => "io_error",
            Ending::RolledBack => "rolled_back",
            Ending::Forked => "forked",
        }
    }

    /// Whether what was found is not what was signed.
    pub fn is_broken(self) -> bool {
        match self {
            Ending::RolledBack | Ending::Forked => true,
            Ending::Closed | Ending::Crashed | Ending::IoError => false,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ending| ending.as_str() == text)
    }
}

/// Bytes after the last whole record of a file: what a crash left of records nobody was told are durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// Number of the first record of the file, which names it.
    pub file: u64,
    pub offset: u64,
    /// Length up to the last byte that is not zero.
    pub bytes: u64,
    pub sha256: Hash,
}

/// The body of a `stream_closed` record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedEntry {
    pub origin: Origin,
    pub how: Ending,
    pub size: u64,
    pub root: Hash,
    /// Whose records these are; `None` where no tenant has any.
    pub tenants: Option<Roster>,
    pub torn: Option<TornTail>,
}

/// The body of a `head` record: the region key's signature over the registry before this record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadEntry {
    pub size: u64,
    pub root: Hash,
    /// Base64 of key id and signature over the checkpoint.
    pub sig: String,
}

impl BornEntry {
    pub fn draft(&self) -> Result<Draft, RecordError> {
        let mut w = Writer::new(Kind::Born);
        w.text("origin", self.origin.as_str()).text("vkey", &self.vkey);
        write_previous(&mut w, self.previous.as_ref());
        w.finish(Draft::empty(Kind::Born))
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, RecordError> {
        Ok(Self {
            origin: read_origin(r)?,
            vkey: r.text("vkey")?.into_owned(),
            previous: read_previous(r)?,
        })
    }
}

impl AnchorEntry {
    pub fn draft(&self) -> Result<Draft, RecordError> {
        let mut w = Writer::new(Kind::Anchor);
        write_head(&mut w, &self.origin, (self.size, &self.root));
        write_roster(&mut w, self.tenants.as_ref()).text("sig", &self.sig);
        w.finish(Draft::empty(Kind::Anchor))
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, RecordError> {
        Ok(Self {
            origin: read_origin(r)?,
            size: r.wide("size")?,
            root: r.parsed("root", Hash::parse)?,
            tenants: read_roster(r)?,
            sig: r.text("sig")?.into_owned(),
        })
    }
}

impl FailedEntry {
    pub fn draft(&self) -> Result<Draft, RecordError> {
        let mut w = Writer::new(Kind::Failed);
        write_head(&mut w, &self.origin, (self.size, &self.root)).text("error", &self.error);
        w.finish(Draft::empty(Kind::Failed))
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, RecordError> {
        Ok(Self {
            origin: read_origin(r)?,
            size: r.wide("size")?,
            root: r.parsed("root", Hash::parse)?,
            error: r.text("error")?.into_owned(),
        })
    }
}

impl RevokedEntry {
    /// At the newest anchor of the stream, or before its first record.
    pub fn of((origin, newest): (Origin, Option<&AnchorEntry>), reason: String) -> Self {
        let (size, root) = newest.map_or((0, Hash::empty_root()), |it| (it.size, it.root));
        Self { origin, size, root, reason }
    }

    pub fn draft(&self) -> Result<Draft, RecordError> {
        let mut w = Writer::new(Kind::Revoked);
        write_head(&mut w, &self.origin, (self.size, &self.root)).text("reason", &self.reason);
        w.finish(Draft::empty(Kind::Revoked))
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, RecordError> {
        Ok(Self {
            origin: read_origin(r)?,
            size: r.wide("size")?,
            root: r.parsed("root", Hash::parse)?,
            reason: r.text("reason")?.into_owned(),
        })
    }
}

impl ClosedEntry {
    pub fn draft(&self) -> Result<Draft, RecordError> {
        let mut w = Writer::new(Kind::Closed);
        write_head(&mut w, &self.origin, (self.size, &self.root));
        write_roster(&mut w, self.tenants.as_ref()).text("how", self.how.as_str());
        if let Some(torn) = &self.torn {
            w.open("torn");
            torn.write(&mut w);
            w.close();
        }
        w.finish(Draft::empty(Kind::Closed))
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, RecordError> {
        Ok(Self {
            origin: read_origin(r)?,
            size: r.wide("size")?,
            root: r.parsed("root", Hash::parse)?,
            tenants: read_roster(r)?,
            how: r.parsed("how", Ending::parse)?,
            torn: r.object("torn", TornTail::read)?,
        })
    }
}

impl HeadEntry {
    pub fn draft(&self) -> Result<Draft, RecordError> {
        let mut w = Writer::new(Kind::Head);
        w.wide("size", self.size).hash("root", &self.root).text("sig", &self.sig);
        w.finish(Draft::empty(Kind::Head))
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, RecordError> {
        Ok(Self {
            size: r.wide("size")?,
            root: r.parsed("root", Hash::parse)?,
            sig: r.text("sig")?.into_owned(),
        })
    }
}

impl TornTail {
    pub fn draft(&self) -> Result<Draft, RecordError> {
        let mut w = Writer::new(Kind::Gap);
        self.write(&mut w);
        w.finish(Draft::empty(Kind::Gap))
    }

    fn write(&self, w: &mut Writer) {
        w.wide("file", self.file).wide("offset", self.offset).wide("bytes", self.bytes);
        w.hash("sha256", &self.sha256);
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, RecordError> {
        Ok(Self {
            file: r.wide("file")?,
            offset: r.wide("offset")?,
            bytes: r.wide("bytes")?,
            sha256: r.parsed("sha256", Hash::parse)?,
        })
    }
}

fn write_head<'w>(
    w: &'w mut Writer,
    origin: &Origin,
    (size, root): (u64, &Hash),
) -> &'w mut Writer {
    w.text("origin", origin.as_str()).wide("size", size).hash("root", root)
}

fn write_roster<'w>(w: &'w mut Writer, roster: Option<&Roster>) -> &'w mut Writer {
    if let Some(roster) = roster {
        w.open("tenants").wide("count", roster.count).hash("root", &roster.root).close();
    }
    w
}

fn read_roster(r: &mut Reader<'_>) -> Result<Option<Roster>, RecordError> {
    let roster = r.object("tenants", |r| {
        Ok(Roster { count: r.wide("count")?, root: r.parsed("root", Hash::parse)? })
    })?;
    if roster.is_some_and(|roster| roster.count == 0) { Err(r.bad("tenants")) } else { Ok(roster) }
}

fn read_origin(r: &mut Reader<'_>) -> Result<Origin, RecordError> {
    r.parsed("origin", |text| Origin::parse(text).ok())
}
