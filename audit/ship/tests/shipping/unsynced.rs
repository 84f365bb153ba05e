//! A registry that is written and not synced yet: a power cut can take it back, and nobody can take back what is in a bucket.
//!
//! Not here: power cuts under the journal itself (`journal/cuts.rs`). Invariant: no object speaks of what the disk may still lose.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aegis_audit_ship::{Disk, DiskFile, Journal, JournalConfig, RealDisk, start};
use aegis_audit_verify::Verdict;

use crate::support::{Place, wait_for, write_calls};

/// A disk that does not come back from syncing the registry while it is held.
#[derive(Clone, Default)]
struct Slow {
    is_held: Arc<AtomicBool>,
    /// Somebody waits for such a sync.
    is_met: Arc<AtomicBool>,
}

struct SlowFile(Box<dyn DiskFile>, Slow);

impl Disk for Slow {
    fn create(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn DiskFile>> {
        let file = RealDisk.create(path, bytes)?;
        let is_registry = path.to_string_lossy().contains("registry.gw-1/1/wal/");
        Ok(if is_registry { Box::new(SlowFile(file, self.clone())) } else { file })
    }

    fn reopen(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        RealDisk.reopen(path)
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.make_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.sync_dir(path)
    }
}

impl DiskFile for SlowFile {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        while self.1.is_held.load(Ordering::SeqCst) {
            self.1.is_met.store(true, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(5));
        }
        self.0.sync()
    }

    fn trim(&mut self, bytes: u64) -> io::Result<()> {
        self.0.trim(bytes)
    }
}

/// How far the objects in the bucket say that the registry goes.
fn shipped(place: &Place) -> u64 {
    place.verify().registries[0].size
}

#[test]
fn a_registry_is_shipped_only_as_far_as_it_is_on_disk() {
    let (place, disk) = (Place::new(), Slow::default());
    let settings = JournalConfig { disk: Arc::new(disk.clone()), ..place.journal() };
    let (journal, _) = Journal::open(settings).unwrap();
    let shipper = start(place.shipping(), &journal).unwrap();
    wait_for(&shipper, |standing| standing.segments >= 2);
    let before = shipped(&place);

    disk.is_held.store(true, Ordering::SeqCst);
    write_calls(&journal, 3);
    let begun = Instant::now();
    while !disk.is_met.load(Ordering::SeqCst) {
        assert!(begun.elapsed() < Duration::from_secs(30), "no anchor was written");
        std::thread::sleep(Duration::from_millis(5));
    }
    // Ten rounds and more; the head is in the file, where everybody can read it.
    std::thread::sleep(Duration::from_millis(700));
    let held = shipped(&place);
    // Before anything is asserted: a journal that is dropped waits for its disk.
    disk.is_held.store(false, Ordering::SeqCst);
    assert_eq!(held, before);

    journal.close().unwrap();
    let standing = shipper.stop(Duration::from_secs(30));
    assert_eq!((standing.trouble, standing.backlog_bytes), (None, 0));
    let report = place.verify();
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
    assert!(report.registries[0].size > before);
}
