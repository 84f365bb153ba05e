//! What may become of a log's files between writing and verifying.
//!
//! Not here: what a verifier makes of it (`crews`). Invariant: a damage is a value, so one that is found can be shown again.

use aegis_audit_chain::frame::{Frames, push_frame};
use proptest::prelude::*;

use crate::region::Memory;

/// One thing that is done, to one file.
#[derive(Clone, Debug)]
pub(crate) struct Damage {
    /// Which file, and which record of it: as far through all of them as this is through the numbers.
    file: u16,
    record: u16,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    /// A bit, with the checksum as it was.
    Flip(u16),
    /// A bit of a record, with the checksum made good.
    Edit(u16),
    Swap,
    Drop,
    Repeat,
    /// All from this record on.
    Cut,
    /// Some bytes of the end.
    Tear(u8),
    Append(u8),
    Remove,
    RemoveFolder,
    /// Another file's bytes.
    Exchange(u16),
    Stray,
}

pub(crate) fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let what = prop_oneof![
        any::<u16>().prop_map(What::Flip),
        any::<u16>().prop_map(What::Edit),
        Just(What::Swap),
        Just(What::Drop),
        Just(What::Repeat),
        Just(What::Cut),
        any::<u8>().prop_map(What::Tear),
        any::<u8>().prop_map(What::Append),
        Just(What::Remove),
        Just(What::RemoveFolder),
        any::<u16>().prop_map(What::Exchange),
        Just(What::Stray),
    ];
    // The first and the last record of a file are where two surveys meet.
    let record = prop_oneof![Just(0), Just(u16::MAX), any::<u16>()];
    let damage = (any::<u16>(), record, what);
    let damage = damage.prop_map(|(file, record, what)| Damage { file, record, what });
    prop::collection::vec(damage, 0..3)
}

impl Damage {
    /// A bit of a record, with the checksum made good.
    pub(crate) fn edit(file: u16, record: u16, bit: u16) -> Self {
        Self { file, record, what: What::Edit(bit) }
    }

    pub(crate) fn apply(&self, log: &mut Memory) {
        let Some(path) = nth(log.0.keys(), self.file).cloned() else { return };
        let bytes = log.0[&path].clone();
        let changed = match self.what {
            What::Flip(at) => flip(bytes, at),
            What::Tear(count) => bytes[..bytes.len().saturating_sub(usize::from(count))].to_vec(),
            What::Append(byte) => [bytes, vec![byte; 3]].concat(),
            What::Exchange(other) => log.0[nth(log.0.keys(), other).unwrap()].clone(),
            What::Remove => return drop(log.0.remove(&path)),
            What::RemoveFolder => {
                let folder = path.rsplit_once('/').unwrap().0;
                return log.0.retain(|path, _| !path.starts_with(folder));
            }
            What::Stray => return drop(log.0.insert(format!("{path}.old"), bytes)),
            What::Edit(_) | What::Swap | What::Drop | What::Repeat | What::Cut => {
                self.rewritten(bytes)
            }
        };
        log.0.insert(path, changed);
    }

    /// The file with other records in good frames; as it was, where it has none.
    fn rewritten(&self, bytes: Vec<u8>) -> Vec<u8> {
        let Ok((header, frames)) = Frames::open(&bytes) else { return bytes };
        let mut records: Vec<Vec<u8>> =
            frames.map_while(Result::ok).map(|frame| frame.record.to_vec()).collect();
        if records.is_empty() {
            return bytes;
        }
        let at = usize::from(self.record) * (records.len() - 1) / usize::from(u16::MAX);
        let other = usize::from(self.file) % records.len();
        match self.what {
            What::Edit(bit) => records[at] = flip(std::mem::take(&mut records[at]), bit),
            What::Swap => records.swap(at, other),
            What::Drop => drop(records.remove(at)),
            What::Repeat => records.insert(at, records[at].clone()),
            _ => records.truncate(at),
        }
        let mut out = header.encode();
        records.iter().for_each(|record| push_frame(&mut out, record));
        out
    }
}

fn nth<'p>(mut paths: impl ExactSizeIterator<Item = &'p String>, at: u16) -> Option<&'p String> {
    let count = paths.len();
    paths.nth(usize::from(at) * count.saturating_sub(1) / usize::from(u16::MAX))
}

fn flip(mut bytes: Vec<u8>, at: u16) -> Vec<u8> {
    let bit = usize::from(at) * 8 * bytes.len() / (usize::from(u16::MAX) + 1);
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}
