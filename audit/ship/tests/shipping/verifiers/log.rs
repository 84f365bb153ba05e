//! One log, written by the real journal and shipped: a stream of some 400 records in several segments, and its signed heads.

use std::fs;
use std::time::Duration;

use aegis_audit_chain::frame::Frames;
use aegis_audit_chain::record::{Entry, Record};
use aegis_audit_chain::{Head, layout};
use aegis_audit_ship::{Tail, start};

use crate::support::{Place, wait_for, wals, write_calls};

pub(super) struct Log {
    pub(super) place: Place,
    /// The stream's key.
    pub(super) vkey: String,
    /// The stream's records, as they are stored.
    pub(super) records: Vec<Vec<u8>>,
    /// The sizes that its key signed for, each with the note of that.
    pub(super) heads: Vec<(u64, String)>,
}

impl Log {
    pub(super) fn write() -> Self {
        let place = Place::new();
        let journal = place.open();
        let shipper = start(place.shipping(), &journal).unwrap();
        write_calls(&journal, 130);
        wait_for(&shipper, |standing| standing.segments >= 4);
        write_calls(&journal, 70);
        journal.close().unwrap();
        let standing = shipper.stop(Duration::from_secs(30));
        assert_eq!(standing.trouble, None);
        assert!(place.objects(".man").len() >= 3);

        let stored = Tail::new(place.dir.path(), None).read(usize::MAX).unwrap();
        let records: Vec<Vec<u8>> = stored.into_iter().map(|one| one.bytes).collect();
        assert!(records.len() > 256, "more than one tile");
        let (mut vkey, mut heads) = (String::new(), Vec::new());
        for entry in registry(&place) {
            match entry {
                Entry::Born(born) => vkey = born.vkey,
                Entry::Anchor(anchor) => {
                    let (origin, size, root) = (anchor.origin, anchor.size, anchor.root);
                    heads.push((size, Head { origin, size, root }.note_with(&anchor.sig)));
                }
                _ => {}
            }
        }
        Self { place, vkey, records, heads }
    }

    /// The note over the whole log.
    pub(super) fn newest(&self) -> &str {
        let (size, note) = self.heads.last().unwrap();
        assert_eq!(*size, self.records.len() as u64);
        note
    }

    /// A note over a part of it that is more than one tile.
    pub(super) fn older(&self) -> &str {
        let older = self.heads.iter().rev().nth(1).unwrap();
        assert!((257..self.records.len() as u64).contains(&older.0), "{:?}", self.heads);
        &older.1
    }

    /// Where the note over the whole log lies in the bucket.
    pub(super) fn final_head(&self) -> String {
        let name = layout::head_file(&crate::support::origin(), self.records.len() as u64);
        format!("cp/{}", name.rsplit('/').next().unwrap())
    }
}

fn registry(place: &Place) -> Vec<Entry> {
    let bytes = fs::read(&wals(place.dir.path(), "registry.gw-1/1")[0]).unwrap();
    let (_, frames) = Frames::open(&bytes).unwrap();
    let whole = frames.map_while(Result::ok);
    whole.map(|frame| Record::parse(frame.record).unwrap().entry).collect()
}
