//! A disk in memory that remembers what was synced and what was on its way, so that its power can fail.
//!
//! Not here: what is stored on it. Invariant: what a sync answered for is on the platter; of what came after, any part may be.

use std::io;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

use super::dice::Dice;

const SECTOR_BYTES: usize = 512;

pub(super) fn narrow(number: u64) -> usize {
    number.try_into().unwrap()
}

pub(super) fn wide(number: usize) -> u64 {
    number.try_into().unwrap()
}

/// A write that may be lost.
#[derive(Clone, Debug)]
pub(super) enum Unsynced {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Unsynced {
    fn reach(&self, bytes: &mut Vec<u8>) {
        match self {
            Unsynced::Length(len) => bytes.resize(*len, 0),
            Unsynced::Write(at, data) => {
                let end = at + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*at..end].copy_from_slice(data);
            }
        }
    }
}

/// What is on the platter, and what is on its way.
#[derive(Clone, Debug, Default)]
pub(super) struct Platter {
    pub(super) synced: Vec<u8>,
    pub(super) seen: Vec<u8>,
    pub(super) unsynced: Vec<Unsynced>,
    /// Before each sync: what had been synced, and what was on its way.
    pub(super) crashes: Vec<(Vec<u8>, Vec<Unsynced>)>,
    pub(super) bytes_max: Option<usize>,
    pub(super) syncs_left: Option<usize>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Ram(pub(super) Arc<Mutex<Platter>>);

impl Ram {
    pub(super) fn holding(bytes: Vec<u8>) -> Self {
        let platter = Platter { synced: bytes.clone(), seen: bytes, ..Platter::default() };
        Self(Arc::new(Mutex::new(platter)))
    }

    /// What is on its way, which from here on is somebody else's to bring there.
    pub(super) fn unsynced(&self) -> Vec<Unsynced> {
        std::mem::take(&mut self.0.lock().unwrap().unsynced)
    }

    pub(super) fn settle(&self, write: &Unsynced) {
        write.reach(&mut self.0.lock().unwrap().synced);
    }

    pub(super) fn syncs(&self) -> usize {
        self.0.lock().unwrap().crashes.len()
    }
}

impl StorageBackend for Ram {
    fn len(&self) -> io::Result<u64> {
        Ok(wide(self.0.lock().unwrap().seen.len()))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.0.lock().unwrap();
        let from = narrow(offset);
        let bytes = platter.seen.get(from..from + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut platter = self.0.lock().unwrap();
        if platter.bytes_max.is_some_and(|max| narrow(len) > max) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        platter.seen.resize(narrow(len), 0);
        platter.unsynced.push(Unsynced::Length(narrow(len)));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.0.lock().unwrap();
        if platter.syncs_left == Some(0) {
            return Err(io::Error::other("the disk is gone"));
        }
        platter.syncs_left = platter.syncs_left.map(|left| left - 1);
        let unsynced = std::mem::take(&mut platter.unsynced);
        let before = (platter.synced.clone(), unsynced);
        platter.crashes.push(before);
        platter.synced = platter.seen.clone();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = self.0.lock().unwrap();
        let write = Unsynced::Write(narrow(offset), data.to_vec());
        write.reach(&mut platter.seen);
        platter.unsynced.push(write);
        Ok(())
    }
}

/// What may be left of unsynced writes when the power goes: some, torn at sectors and in any order.
pub(super) fn torn(synced: &[u8], unsynced: &[Unsynced], dice: &mut Dice) -> Vec<u8> {
    // The length of a file is in its inode, and a file system journals it, so it is as before or as after.
    let mut bytes = synced.to_vec();
    if dice.roll(2) == 0 {
        bytes.resize(reached(synced, unsynced).len(), 0);
    }
    let mut left: Vec<_> = unsynced.iter().collect();
    while !left.is_empty() {
        let write = left.swap_remove(dice.roll(left.len()));
        let Unsynced::Write(at, data) = write else { continue };
        for (number, sector) in data.chunks(SECTOR_BYTES).enumerate() {
            let room = bytes.get_mut(at + number * SECTOR_BYTES..).unwrap_or_default();
            if let Some(room) = room.get_mut(..sector.len()).filter(|_| dice.roll(2) == 0) {
                room.copy_from_slice(sector);
            }
        }
    }
    bytes
}

/// All of it was written after all.
pub(super) fn reached(synced: &[u8], unsynced: &[Unsynced]) -> Vec<u8> {
    let mut bytes = synced.to_vec();
    unsynced.iter().for_each(|write| write.reach(&mut bytes));
    bytes
}
