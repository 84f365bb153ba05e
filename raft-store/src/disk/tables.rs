//! What stands in the file, and the transactions over it.
//!
//! Not here: when to write (`writer`). Invariant: the log has no holes and begins right after what was purged, and nothing
//! was purged that the snapshot does not hold.

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use redb::{Database, Durability, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::writer::Change;
use super::{DiskError, Identity};
use crate::types::{Entry, Image, LogId, Snapshot, SnapshotMeta, Vote};

/// Rises when an older version could not read the file.
pub(super) const FORMAT: u32 = 1;

/// Entries by index, as JSON.
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
/// Single values by name, as JSON.
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// The snapshot in pieces by offset.
const IMAGE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("image");
/// A snapshot that is still being written, in the same form. A version before this one passes it over.
const DRAFT: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("draft");
/// What was the snapshot before, or was to become one; its room is given back piece by piece.
const OLD: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("old");
/// With its key and the page's head, a piece fits the page of a mebibyte that redb makes for it.
const PIECE_BYTES: usize = 1_020 * 1_024;
/// How many pieces are given back at a time: each is read for it.
const SWEPT: usize = 8;

const IDENTITY: &str = "identity";
const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";
const SNAPSHOT: &str = "snapshot";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: u32,
    identity: Identity,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Held {
    meta: SnapshotMeta,
    sha256: [u8; 32],
}

/// What a file says when it is opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) purged: Option<LogId>,
    pub(crate) last: Option<LogId>,
    pub(crate) committed: Option<LogId>,
    /// The last entry of the snapshot.
    pub(crate) snapshot: Option<LogId>,
    pub(crate) used: Used,
    /// Whether nothing is left of what no longer counts.
    pub(crate) is_swept: bool,
}

/// What the file holds, in bytes. The file itself is longer: redb doubles it when it has no room, and keeps what became free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    log: u64,
    image: u64,
    draft: u64,
}

impl Used {
    /// For `retain`: an entry goes.
    fn gives_up(&mut self, entry: &[u8]) -> bool {
        self.log = self.log.saturating_sub(length(entry));
        false
    }

    pub(crate) fn bytes(self) -> u64 {
        // A draft takes the place of what it is drafted beside.
        self.log.saturating_add(self.image.max(self.draft))
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// What the values of a table take.
fn held_in(table: &impl redb::ReadableTable<u64, &'static [u8]>) -> Result<u64, DiskError> {
    let mut held = 0_u64;
    for row in table.iter().map_err(DiskError::redb)? {
        held = held.saturating_add(length(row.map_err(DiskError::redb)?.1.value()));
    }
    Ok(held)
}

type Table<'t, K> = redb::Table<'t, K, &'static [u8]>;

/// Checks whose file it is and that it is whole; claims one that is new.
pub(super) fn found(database: &Database, identity: &Identity) -> Result<Found, DiskError> {
    let transaction = database.begin_write().map_err(DiskError::redb)?;
    {
        transaction.open_table(LOG).map_err(DiskError::redb)?;
        transaction.open_table(IMAGE).map_err(DiskError::redb)?;
        let mut meta = transaction.open_table(META).map_err(DiskError::redb)?;
        match get::<Head>(&meta, IDENTITY)? {
            None => put(&mut meta, IDENTITY, &Head { format: FORMAT, identity: identity.clone() })?,
            Some(head) if head.format != FORMAT => {
                return Err(DiskError::Format { found: head.format });
            }
            Some(head) if head.identity != *identity => {
                let Identity { cluster, node: found } = head.identity;
                return Err(DiskError::Stranger { cluster, found });
            }
            Some(_) => {}
        }
    }
    transaction.commit().map_err(DiskError::redb)?;

    let transaction = database.begin_read().map_err(DiskError::redb)?;
    let meta = transaction.open_table(META).map_err(DiskError::redb)?;
    let log = transaction.open_table(LOG).map_err(DiskError::redb)?;
    let purged: Option<LogId> = get(&meta, PURGED)?;
    let snapshot = get::<Held>(&meta, SNAPSHOT)?.and_then(|held| held.meta.last_log_id);
    let next = purged.map_or(0, |purged| purged.index.saturating_add(1));
    let first = log.range(next..).map_err(DiskError::redb)?.next().transpose();
    let first = first.map_err(DiskError::redb)?.map(|(index, _)| index.value());
    let last = log.last().map_err(DiskError::redb)?;
    let last = last.map(|(_, entry)| read::<Entry>(entry.value())).transpose()?;
    let last = last.map(|entry| entry.log_id);
    // A node without a snapshot begins with entry 0, or with the first it was sent.
    if purged.is_some() && first.is_some_and(|first| first != next) {
        return Err(DiskError::Damaged("entries are missing after those that were purged"));
    }
    if purged.map(|id| id.index) > snapshot.map(|id| id.index) {
        return Err(DiskError::Damaged("the log was purged beyond the snapshot"));
    }
    let image = held_in(&transaction.open_table(IMAGE).map_err(DiskError::redb)?)?;
    let used = Used { log: held_in(&log)?, image, draft: 0 };
    let (last, committed) = (last.max(purged), get(&meta, COMMITTED)?);
    let is_swept = left_over(database)?.is_none();
    Ok(Found { purged, last, committed, snapshot, used, is_swept })
}

/// Whose file it is, if it is not new.
pub(super) fn owner(database: &Database) -> Result<Option<Identity>, DiskError> {
    let transaction = database.begin_read().map_err(DiskError::redb)?;
    let meta = match transaction.open_table(META) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        opened => opened.map_err(DiskError::redb)?,
    };
    match get::<Head>(&meta, IDENTITY)? {
        Some(head) if head.format != FORMAT => Err(DiskError::Format { found: head.format }),
        head => Ok(head.map(|head| head.identity)),
    }
}

/// Gives the file to another owner: its state is the snapshot, and its log begins after it.
pub(super) fn take_over(
    database: &Database,
    owner: &Identity,
    (about, image): (&SnapshotMeta, &[u8]),
    vote: &Vote,
) -> Result<(), DiskError> {
    let mut transaction = database.begin_write().map_err(DiskError::redb)?;
    transaction.set_durability(Durability::Immediate).map_err(DiskError::redb)?;
    {
        let mut log = transaction.open_table(LOG).map_err(DiskError::redb)?;
        let mut meta = transaction.open_table(META).map_err(DiskError::redb)?;
        let mut pieces = transaction.open_table(IMAGE).map_err(DiskError::redb)?;
        log.retain(|_, _| false).map_err(DiskError::redb)?;
        put_snapshot(&mut meta, &mut pieces, about, image)?;
        put(&mut meta, IDENTITY, &Head { format: FORMAT, identity: owner.clone() })?;
        put(&mut meta, PURGED, &about.last_log_id)?;
        put(&mut meta, COMMITTED, &about.last_log_id)?;
        put(&mut meta, VOTE, vote)?;
    }
    transaction.commit().map_err(DiskError::redb)
}

/// Makes all the changes or none; returns when they are on disk, with what the file holds then.
pub(super) fn write(
    database: &Database,
    mut used: Used,
    (changes, committed): (&[Change], Option<LogId>),
) -> Result<Used, DiskError> {
    let mut transaction = database.begin_write().map_err(DiskError::redb)?;
    transaction.set_durability(Durability::Immediate).map_err(DiskError::redb)?;
    {
        let mut log = transaction.open_table(LOG).map_err(DiskError::redb)?;
        let mut meta = transaction.open_table(META).map_err(DiskError::redb)?;
        for change in changes {
            match change {
                Change::Vote(vote) => put(&mut meta, VOTE, vote)?,
                Change::Append(entries) => {
                    for (index, entry) in entries {
                        let before =
                            log.insert(index, entry.as_slice()).map_err(DiskError::redb)?;
                        let before = before.map_or(0, |before| length(before.value()));
                        used.log = used.log.saturating_add(length(entry)).saturating_sub(before);
                    }
                }
                Change::Truncate(since) => {
                    log.retain_in::<u64, _>(since.., |_, entry| used.gives_up(entry))
                        .map_err(DiskError::redb)?;
                }
                Change::Purge(upto) => {
                    log.retain_in::<u64, _>(..=upto.index, |_, entry| used.gives_up(entry))
                        .map_err(DiskError::redb)?;
                    put(&mut meta, PURGED, upto)?;
                }
                Change::Adopt(about, sha256) => {
                    // Names alone: to delete a table, redb reads all of it. What has the name was swept.
                    transaction.delete_table(OLD).map_err(DiskError::redb)?;
                    transaction.rename_table(IMAGE, OLD).map_err(DiskError::redb)?;
                    transaction.rename_table(DRAFT, IMAGE).map_err(DiskError::redb)?;
                    let held = Held { meta: (**about).clone(), sha256: *sha256 };
                    put(&mut meta, SNAPSHOT, &held)?;
                    (used.image, used.draft) = (used.draft, 0);
                }
                Change::Snapshot(about, image) => {
                    let mut pieces = transaction.open_table(IMAGE).map_err(DiskError::redb)?;
                    put_snapshot(&mut meta, &mut pieces, about, image)?;
                    used.image = length(image);
                }
            }
        }
        if let Some(committed) = committed {
            put(&mut meta, COMMITTED, &committed)?;
        }
    }
    transaction.commit().map_err(DiskError::redb)?;
    Ok(used)
}

/// A table with something in it that no longer counts.
fn left_over(
    database: &Database,
) -> Result<Option<TableDefinition<'_, u64, &'static [u8]>>, DiskError> {
    let transaction = database.begin_read().map_err(DiskError::redb)?;
    for table in [OLD, DRAFT] {
        match transaction.open_table(table) {
            Err(redb::TableError::TableDoesNotExist(_)) => {}
            opened => {
                if opened.map_err(DiskError::redb)?.first().map_err(DiskError::redb)?.is_some() {
                    return Ok(Some(table));
                }
            }
        }
    }
    Ok(None)
}

/// Gives back some of what no longer counts; says whether there is more.
pub(super) fn sweep(database: &Database, mut used: Used) -> Result<(Used, bool), DiskError> {
    let Some(table) = left_over(database)? else {
        used.draft = 0;
        return Ok((used, false));
    };
    let mut transaction = database.begin_write().map_err(DiskError::redb)?;
    transaction.set_durability(Durability::Immediate).map_err(DiskError::redb)?;
    {
        let mut pieces = transaction.open_table(table).map_err(DiskError::redb)?;
        for _ in 0..SWEPT {
            if pieces.pop_first().map_err(DiskError::redb)?.is_none() {
                break;
            }
        }
    }
    transaction.commit().map_err(DiskError::redb)?;
    Ok((used, true))
}

/// Writes bytes of a snapshot beside the one that counts; before those at 0 all was swept.
pub(super) fn draft(
    database: &Database,
    mut used: Used,
    (from, bytes): (usize, &[u8]),
) -> Result<Used, DiskError> {
    let mut transaction = database.begin_write().map_err(DiskError::redb)?;
    transaction.set_durability(Durability::Immediate).map_err(DiskError::redb)?;
    {
        let mut pieces = transaction.open_table(DRAFT).map_err(DiskError::redb)?;
        let mut number = u64::try_from(from).unwrap_or(u64::MAX);
        for piece in bytes.chunks(PIECE_BYTES) {
            pieces.insert(number, piece).map_err(DiskError::redb)?;
            number = number.saturating_add(length(piece));
        }
        used.draft = number;
    }
    transaction.commit().map_err(DiskError::redb)?;
    Ok(used)
}

fn put_snapshot(
    meta: &mut Table<'_, &'static str>,
    pieces: &mut Table<'_, u64>,
    about: &SnapshotMeta,
    image: &[u8],
) -> Result<(), DiskError> {
    pieces.retain(|_, _| false).map_err(DiskError::redb)?;
    for (number, piece) in (0_u64..).zip(image.chunks(PIECE_BYTES)) {
        pieces.insert(number, piece).map_err(DiskError::redb)?;
    }
    let sha256 = Sha256::digest(image).into();
    put(meta, SNAPSHOT, &Held { meta: about.clone(), sha256 })
}

pub(super) fn vote(database: &Database) -> Result<Option<Vote>, DiskError> {
    let transaction = database.begin_read().map_err(DiskError::redb)?;
    get(&transaction.open_table(META).map_err(DiskError::redb)?, VOTE)
}

pub(super) fn entries(
    database: &Database,
    range: impl RangeBounds<u64>,
    from: u64,
    bytes_max: usize,
) -> Result<Vec<Entry>, DiskError> {
    let begin = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let range = (Bound::Included(begin.max(from)), range.end_bound().cloned());
    if is_empty(&range) {
        return Ok(Vec::new());
    }
    let transaction = database.begin_read().map_err(DiskError::redb)?;
    let log = transaction.open_table(LOG).map_err(DiskError::redb)?;
    let (mut entries, mut bytes) = (Vec::new(), 0_usize);
    for row in log.range(range).map_err(DiskError::redb)? {
        let (_, entry) = row.map_err(DiskError::redb)?;
        bytes = bytes.saturating_add(entry.value().len());
        if bytes > bytes_max && !entries.is_empty() {
            break;
        }
        entries.push(read(entry.value())?);
    }
    Ok(entries)
}

/// The tables of redb do not take a range that ends before it begins.
fn is_empty(range: &(Bound<u64>, Bound<u64>)) -> bool {
    match range {
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (Bound::Included(start), Bound::Excluded(end)) => start >= end,
        _ => false,
    }
}

pub(super) fn snapshot(database: &Database) -> Result<Option<Snapshot>, DiskError> {
    let transaction = database.begin_read().map_err(DiskError::redb)?;
    let meta = transaction.open_table(META).map_err(DiskError::redb)?;
    let Some(Held { meta, sha256 }) = get(&meta, SNAPSHOT)? else { return Ok(None) };
    let pieces = transaction.open_table(IMAGE).map_err(DiskError::redb)?;
    let mut image = Vec::new();
    for piece in pieces.iter().map_err(DiskError::redb)? {
        image.extend_from_slice(piece.map_err(DiskError::redb)?.1.value());
    }
    if sha256 != *Sha256::digest(&image) {
        return Err(DiskError::Damaged("the snapshot is not the one that was written"));
    }
    Ok(Some(Snapshot { meta, snapshot: Box::new(Image(Arc::new(image))) }))
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DiskError> {
    Ok(serde_json::from_slice(bytes)?)
}

fn get<T: DeserializeOwned>(
    meta: &impl redb::ReadableTable<&'static str, &'static [u8]>,
    name: &'static str,
) -> Result<Option<T>, DiskError> {
    let value = meta.get(name).map_err(DiskError::redb)?;
    value.map(|value| read(value.value())).transpose()
}

fn put(
    meta: &mut Table<'_, &'static str>,
    name: &'static str,
    value: &impl Serialize,
) -> Result<(), DiskError> {
    let bytes = serde_json::to_vec(value)?;
    meta.insert(name, bytes.as_slice()).map_err(DiskError::redb)?;
    Ok(())
}
