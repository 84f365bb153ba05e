//! The disk of a simulated machine: it takes its time, and its power fails between two writes or in the middle of one.
//!
//! Not here: what is written (`crate::disk`). Invariant: after a crash it holds what was synced and any part of the rest.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redb::StorageBackend;

use super::host::Host;
use super::{Bug, planted};
use crate::tests::dice::Dice;
use crate::tests::ram::{Platter, Ram, Unsynced, reached, torn};

/// By how much a disk lies that answers before it has synced.
const LATE_SYNCS: usize = 8;

#[derive(Clone, Debug)]
pub(crate) struct Platters(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ram: Ram,
    host: Host,
    dice: Mutex<Dice>,
    sync_ms: Mutex<(u64, u64)>,
    /// How many syncs from now the power fails, and what is left then.
    trap: Mutex<Option<usize>>,
    left: Mutex<Option<Vec<u8>>>,
    /// What a disk that lies about its syncs has not written yet.
    late: Mutex<VecDeque<Vec<Unsynced>>>,
}

impl Platters {
    pub(crate) fn new(image: Vec<u8>, host: Host, dice: Dice) -> Self {
        Self(Arc::new(Inner {
            ram: Ram::holding(image),
            host,
            dice: Mutex::new(dice),
            sync_ms: Mutex::new((1, 4)),
            trap: Mutex::new(None),
            left: Mutex::new(None),
            late: Mutex::default(),
        }))
    }

    /// How many changes the next write takes at most, and how long it lasts.
    pub(crate) fn turn(&self) -> (usize, Duration) {
        let (least, most) = *self.0.sync_ms.lock();
        let mut dice = self.0.dice.lock();
        let jobs_max = if dice.chance(50) { 1 } else { 256 };
        (jobs_max, Duration::from_millis(dice.between(least, most)))
    }

    pub(crate) fn set_pace(&self, sync_ms: (u64, u64)) {
        *self.0.sync_ms.lock() = sync_ms;
    }

    /// Has the power fail in the middle of a write to come.
    pub(crate) fn set_trap(&self, syncs: usize) {
        *self.0.trap.lock() = Some(syncs);
    }

    pub(crate) fn is_trapped(&self) -> bool {
        self.0.trap.lock().is_some()
    }

    /// The power fails now, if it did not before. Gives what the next life finds.
    pub(crate) fn crash(&self) -> Vec<u8> {
        self.0.host.power_off();
        let mut left = self.0.left.lock();
        left.get_or_insert_with(|| self.remains()).clone()
    }

    fn remains(&self) -> Vec<u8> {
        let Platter { synced, unsynced, .. } = &*self.0.ram.0.lock().unwrap();
        if planted(Bug::AckBeforeSync) {
            return synced.clone();
        }
        let mut dice = self.0.dice.lock();
        match dice.roll(4) {
            0 => synced.clone(),
            1 => reached(synced, unsynced),
            _ => torn(synced, unsynced, &mut dice),
        }
    }
}

impl StorageBackend for Platters {
    fn len(&self) -> io::Result<u64> {
        self.0.ram.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.ram.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.ram.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut trap = self.0.trap.lock();
        if *trap == Some(0) {
            self.crash();
            return Err(io::Error::other("the power failed"));
        }
        *trap = trap.map(|syncs| syncs - 1);
        if planted(Bug::AckBeforeSync) {
            let mut late = self.0.late.lock();
            late.push_back(self.0.ram.unsynced());
            if late.len() > LATE_SYNCS {
                late.pop_front().iter().flatten().for_each(|write| self.0.ram.settle(write));
            }
            return Ok(());
        }
        self.0.ram.unsynced().iter().for_each(|write| self.0.ram.settle(write));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.ram.write(offset, data)
    }
}
