//! A disk that fails: nobody is told yes after an error, whichever operation failed.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aegis_audit_chain::record::Ending;
use aegis_audit_ship::{Disk, DiskFile, Journal, JournalError, RealDisk};
use aegis_audit_verify::Verdict;

use crate::support::{config, decision, verify, wals};

/// Fails every operation of one sort on stream logs, from the `after`th on.
#[derive(Clone)]
struct FaultyDisk {
    what: Fault,
    left: Arc<AtomicU64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Write,
    /// Half of the batch gets to the file before the error.
    ShortWrite,
    Sync,
    Create,
}

struct FaultyFile {
    file: Box<dyn DiskFile>,
    disk: FaultyDisk,
    watched: bool,
}

impl FaultyDisk {
    fn new(what: Fault, after: u64) -> Self {
        Self { what, left: Arc::new(AtomicU64::new(after)) }
    }

    fn strike(&self, what: Fault) -> io::Result<()> {
        let strikes = self.what == what
            && self
                .left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
                .is_err();
        if strikes { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { Ok(()) }
    }
}

fn is_stream_log(path: &Path) -> bool {
    path.to_string_lossy().contains("streams/") && path.extension().is_some_and(|ext| ext == "wal")
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn DiskFile>> {
        let watched = is_stream_log(path);
        if watched {
            self.strike(Fault::Create)?;
        }
        let file = RealDisk.create(path, bytes)?;
        Ok(Box::new(FaultyFile { file, disk: self.clone(), watched }))
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

impl DiskFile for FaultyFile {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.watched {
            self.disk.strike(Fault::Write)?;
            if let Err(error) = self.disk.strike(Fault::ShortWrite) {
                self.file.write_at(&bytes[..bytes.len() / 2], offset)?;
                return Err(error);
            }
        }
        self.file.write_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.watched {
            self.disk.strike(Fault::Sync)?;
        }
        self.file.sync()
    }

    fn trim(&mut self, bytes: u64) -> io::Result<()> {
        self.file.trim(bytes)
    }
}

#[test]
fn after_any_disk_error_no_append_is_acknowledged_and_recovery_keeps_every_acknowledged_one() {
    for (what, after) in [
        (Fault::Write, 4),
        (Fault::ShortWrite, 4),
        (Fault::Sync, 4),
        (Fault::Write, 9),
        (Fault::Create, 1),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = config(dir.path());
        settings.disk = Arc::new(FaultyDisk::new(what, after));
        settings.file_bytes = 4 * 1024;
        let (journal, _) = Journal::open(settings).unwrap();
        let (mut acknowledged, mut refused) = (Vec::new(), 0);
        for n in 0..40 {
            let placed = journal.append_blocking(decision(n).draft().unwrap());
            match placed.and_then(|pending| pending.durable_blocking()) {
                Ok(sealed) => {
                    assert_eq!(refused, 0, "{what:?}: a yes after a no");
                    acknowledged.push(sealed.position().clone());
                }
                Err(error) => {
                    let full = matches!(error, JournalError::Failed(io::ErrorKind::StorageFull));
                    assert!(full, "{what:?}: {error}");
                    refused += 1;
                }
            }
        }
        assert!(!acknowledged.is_empty() && refused > 0, "{what:?} {after}");
        assert!(journal.close().is_err());
        drop(journal);

        let (next, recovered) = Journal::open(config(dir.path())).unwrap();
        assert_eq!(recovered.streams[0].how, Ending::IoError, "{what:?}");
        for place in &acknowledged {
            let kept = recovered.unsettled.iter().any(|one| one.seq == place.seq);
            assert!(kept, "{what:?}: record {} was acknowledged and is gone", place.seq);
        }
        next.close().unwrap();
        let report = verify(dir.path());
        assert_eq!(report.verdict(), Verdict::Pass, "{what:?} {after}: {report:#?}");
    }
}

#[test]
fn a_bit_that_flips_on_the_way_to_disk_is_never_signed_over() {
    struct Flipping(RealDisk);
    struct FlippingFile(Box<dyn DiskFile>, u32);
    impl Disk for Flipping {
        fn create(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn DiskFile>> {
            let file = self.0.create(path, bytes)?;
            let from = if is_stream_log(path) { 4 } else { u32::MAX };
            Ok(Box::new(FlippingFile(file, from)))
        }
        fn reopen(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
            self.0.reopen(path)
        }
        fn make_dir(&self, path: &Path) -> io::Result<()> {
            self.0.make_dir(path)
        }
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.0.rename(from, to)
        }
        fn remove(&self, path: &Path) -> io::Result<()> {
            self.0.remove(path)
        }
        fn sync_dir(&self, path: &Path) -> io::Result<()> {
            self.0.sync_dir(path)
        }
    }
    impl DiskFile for FlippingFile {
        fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
            let mut bytes = bytes.to_vec();
            self.1 = self.1.saturating_sub(1);
            if self.1 == 0 {
                bytes[100] ^= 4;
            }
            self.0.write_at(&bytes, offset)
        }
        fn sync(&mut self) -> io::Result<()> {
            self.0.sync()
        }
        fn trim(&mut self, bytes: u64) -> io::Result<()> {
            self.0.trim(bytes)
        }
    }

    let dir = tempfile::tempdir().unwrap();
    let mut settings = config(dir.path());
    settings.disk = Arc::new(Flipping(RealDisk));
    let (journal, _) = Journal::open(settings).unwrap();
    for n in 0..4 {
        let pending = journal.append_blocking(decision(n).draft().unwrap()).unwrap();
        let _acknowledged = pending.durable_blocking();
    }
    assert!(journal.close().is_err(), "the final head must not be signed");
    drop(journal);
    assert_eq!(wals(dir.path(), "streams/gw-1/00000000000000000001").len(), 1);
    assert_ne!(verify(dir.path()).verdict(), Verdict::Pass);
}
