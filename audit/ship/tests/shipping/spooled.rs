//! A disk that fails under the spool at a bad moment: what is in the bucket is not cut a second time.
//!
//! Not here: buckets that fail (`rounds`, `s3`). Invariant: the segments of a log stand one behind the other, whatever a round ended in.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aegis_audit_chain::record::Ending;
use aegis_audit_ship::{Disk as _, RealDisk, ShipConfig, start};
use aegis_audit_verify::Verdict;

use crate::support::{Place, REGISTRY, Renames, STREAM, copy_dir, wait_for, wals, write_calls};

/// Says no twice, of the registry's first segment: when it is in the spool all the same, and when it is sent and its cursor moves.
fn twice(said: &AtomicUsize, (from, to): (&Path, &Path)) -> io::Result<()> {
    let note = fs::read_to_string(from).unwrap_or_default();
    let is_registry = note.lines().nth(1) == Some(REGISTRY);
    let is_cursor = to.ends_with("cursor.man");
    if !is_registry || said.load(Ordering::SeqCst) != usize::from(is_cursor) {
        return RealDisk.rename(from, to);
    }
    match is_cursor {
        // Until the registry has grown, so that another segment would be cut in its place.
        true => std::thread::sleep(Duration::from_millis(1_500)),
        false => RealDisk.rename(from, to)?,
    }
    said.fetch_add(1, Ordering::SeqCst);
    Err(io::ErrorKind::StorageFull.into())
}

#[test]
fn a_segment_that_was_sent_while_the_disk_failed_is_not_cut_again() {
    let (place, said) = (Place::new(), Arc::new(AtomicUsize::new(0)));
    let journal = place.open();
    let counted = Arc::clone(&said);
    let disk = Renames(move |from: &Path, to: &Path| twice(&counted, (from, to)));
    let shipping = ShipConfig { disk: Arc::new(disk), ..place.shipping() };
    let shipper = start(shipping, &journal).unwrap();
    wait_for(&shipper, |_| said.load(Ordering::SeqCst) == 1);
    write_calls(&journal, 2);
    wait_for(&shipper, |_| said.load(Ordering::SeqCst) == 2);
    journal.close().unwrap();
    let standing = shipper.stop(Duration::from_secs(30));
    assert_eq!(standing.trouble, None);
    let report = place.verify();
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
}

/// A store was down, the machine died, and a sector of the log went with it: what is in the spool is the last copy of it.
#[test]
fn a_segment_of_a_stream_that_was_lost_here_is_sent_and_holds_up_nothing() {
    let (place, after) = (Place::new(), Place::new());
    let journal = place.open();
    let shipper = start(place.shipping(), &journal).unwrap();
    write_calls(&journal, 20);
    wait_for(&shipper, |standing| standing.segments >= 2 && standing.backlog_bytes == 0);
    shipper.stop(Duration::from_secs(30));
    let records = fs::metadata(&wals(place.dir.path(), STREAM)[0]).unwrap().len();
    write_calls(&journal, 20);
    std::thread::sleep(Duration::from_millis(1_500));
    // A file where the folder of segments was: nothing can be written there.
    let (segments, away) = (place.object("seg"), place.object("away"));
    fs::rename(&segments, &away).unwrap();
    fs::write(&segments, b"").unwrap();
    let shipper = start(place.shipping(), &journal).unwrap();
    wait_for(&shipper, |standing| standing.trouble.is_some());
    assert!(place.dir.path().join("ship/next.man").exists() && records > 0);
    copy_dir(place.dir.path(), after.dir.path());
    journal.close().unwrap();
    shipper.stop(Duration::from_secs(5));
    fs::remove_file(&segments).unwrap();
    fs::rename(&away, &segments).unwrap();
    copy_dir(place.bucket.path(), after.bucket.path());

    let wal = &wals(after.dir.path(), STREAM)[0];
    let mut bytes = fs::read(wal).unwrap();
    bytes[6_000..6_512].iter_mut().for_each(|byte| *byte ^= 0x5a);
    fs::write(wal, bytes).unwrap();
    let journal = after.open();
    let shipper = start(after.shipping(), &journal).unwrap();
    write_calls(&journal, 5);
    journal.close().unwrap();
    let standing = shipper.stop(Duration::from_secs(30));
    assert_eq!(standing.trouble, None);
    assert!(!after.dir.path().join("ship/next.man").exists());
    let report = after.verify();
    let (lost, size) = (&report.streams[0], report.streams[0].records);
    assert!(size > 60, "the segment of the spool is there: {lost:?}");
    assert_eq!(lost.ended, Some(Ending::RolledBack), "{report:#?}");
    assert_eq!(report.streams[1].ended, Some(Ending::Closed), "{report:#?}");
}
