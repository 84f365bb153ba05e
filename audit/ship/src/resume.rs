//! The registry's resume points on disk: written where a file begins, read at every start, so that a start reads the files
//! behind one of them and not all there ever were.
//!
//! Not here: what a point says (`audit/chain`). Invariant: a point is written only once everything it stands for is signed and
//! synced, and one that the region key did not sign for this registry counts as none.

use std::fs;
use std::io;
use std::path::Path;

use aegis_audit_chain::note::{Signer, Verifier};
use aegis_audit_chain::tree::Frontier;
use aegis_audit_chain::{Origin, layout};
use aegis_audit_registry::Resume;

use crate::disk::Disk;
use crate::stream_reader::names;

/// How many are kept: at the pace of a busy gateway three days, for witnesses and shippers that are behind.
const POINTS_MAX: usize = 64;

/// The sizes that there are points of, rising.
fn sizes(root: &Path, origin: &Origin) -> io::Result<Vec<u64>> {
    let names = names(&root.join(layout::resume_dir(origin)))?;
    Ok(names.iter().filter_map(|name| layout::parse_head_name(name)).collect())
}

/// The newest sound point that stands for at most so many records.
pub(crate) fn newest(
    root: &Path,
    (origin, region): (&Origin, &Verifier),
    most: u64,
) -> io::Result<Option<Resume>> {
    let sizes = sizes(root, origin)?;
    for size in sizes.into_iter().rev().filter(|size| *size <= most) {
        let bytes = match fs::read(root.join(layout::resume_file(origin, size))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            bytes => bytes?,
        };
        let opened = String::from_utf8(bytes).ok();
        let opened = opened.and_then(|note| Resume::open(&note, region).ok());
        let own = opened.filter(|point| point.origin() == origin && point.size() == size);
        match own {
            Some(point) => return Ok(Some(point)),
            None => tracing::warn!(%origin, size, "a resume point is not sound and passed over"),
        }
    }
    Ok(None)
}

/// The registry's tree at the newest resume point of at most `most` records; the empty one where there is none.
pub fn resumed_tree(root: &Path, region: &Verifier, most: u64) -> io::Result<Frontier> {
    let Ok(origin) = Origin::parse(region.name()) else { return Ok(Frontier::new()) };
    let point = newest(root, (&origin, region), most)?;
    Ok(point.map_or_else(Frontier::new, |point| point.walker().tree().clone()))
}

/// Writes a point; its head first as a note of its own, so that no start finds the notes behind the point.
pub(crate) fn write(
    disk: &dyn Disk,
    root: &Path,
    (point, region): (&Resume, &Signer),
) -> io::Result<()> {
    let (origin, head) = (point.origin(), point.head());
    let note = root.join(layout::head_file(origin, head.size));
    disk.write_whole(&note, point.head_note().as_bytes())?;
    disk.create_dir(&root.join(layout::resume_dir(origin)))?;
    let path = root.join(layout::resume_file(origin, point.size()));
    disk.write_whole(&path, point.note(region).as_bytes())?;
    thin(disk, root, origin);
    Ok(())
}

/// Lets the oldest points go, and the notes of heads before all that are left. What stays for an error is in nobody's way.
fn thin(disk: &dyn Disk, root: &Path, origin: &Origin) {
    let sizes = sizes(root, origin).unwrap_or_default();
    let split = sizes.split_at_checked(sizes.len().saturating_sub(POINTS_MAX));
    let Some((gone @ [_, ..], [oldest, ..])) = split else { return };
    let heads = names(&root.join(layout::heads_dir(origin))).unwrap_or_default();
    let heads = heads.iter().filter_map(|name| layout::parse_head_name(name));
    let heads = heads.take_while(|head| head.saturating_add(1) < *oldest);
    let heads = heads.map(|head| layout::head_file(origin, head));
    for path in gone.iter().map(|size| layout::resume_file(origin, *size)).chain(heads) {
        if let Err(error) = disk.remove(&root.join(&path)) {
            tracing::warn!(path, %error, "an old note of the audit registry stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn the_oldest_points_go_and_the_notes_before_all_that_are_left() {
        let dir = tempfile::tempdir().unwrap();
        let origin = Origin::registry("d", "r", "gw", 1).unwrap();
        let (points, heads) = (layout::resume_dir(&origin), layout::heads_dir(&origin));
        for of in [&points, &heads] {
            fs::create_dir_all(dir.path().join(of)).unwrap();
        }
        let count = POINTS_MAX as u64 + 3;
        for n in 1..=count {
            let (point, head) = (n * 100, n * 100 - 1);
            fs::write(dir.path().join(layout::resume_file(&origin, point)), b"").unwrap();
            fs::write(dir.path().join(layout::head_file(&origin, head)), b"").unwrap();
            fs::write(dir.path().join(layout::head_file(&origin, head - 7)), b"").unwrap();
        }
        thin(&RealDisk, dir.path(), &origin);
        assert_eq!(
            sizes(dir.path(), &origin).unwrap(),
            (4..=count).map(|n| n * 100).collect::<Vec<_>>()
        );
        let left = names(&dir.path().join(heads)).unwrap();
        let left: Vec<u64> = left.iter().filter_map(|name| layout::parse_head_name(name)).collect();
        // The note of the oldest point's own head is left.
        assert_eq!((left[0], left.len()), (399, 2 * POINTS_MAX - 1));
        thin(&RealDisk, dir.path(), &origin);
        assert_eq!(sizes(dir.path(), &origin).unwrap().len(), POINTS_MAX);
    }
}
