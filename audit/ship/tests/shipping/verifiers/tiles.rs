//! A stream as a folder of C2SP tiles (<https://c2sp.org/tlog-tiles>), which is how others' tools want it.

use std::fs;
use std::path::Path;

use aegis_audit_chain::segment::push_entry;
use aegis_audit_chain::{Hash, tree};

/// Hashes of a full tile.
const WIDTH: usize = 256;

/// Writes the checkpoint, the entry bundles and every level of tiles.
pub(super) fn project(records: &[Vec<u8>], checkpoint: &str, dir: &Path) {
    fs::write(dir.join("checkpoint"), checkpoint).unwrap();
    for (n, bundle) in records.chunks(WIDTH).enumerate() {
        let mut bytes = Vec::new();
        bundle.iter().for_each(|record| push_entry(&mut bytes, record));
        write(dir, &path("entries", n, bundle.len()), &bytes);
    }
    let mut hashes: Vec<Hash> = records.iter().map(|record| Hash::leaf(record)).collect();
    let mut level = 0;
    while !hashes.is_empty() {
        for (n, tile) in hashes.chunks(WIDTH).enumerate() {
            let bytes: Vec<u8> = tile.iter().flat_map(|hash| *hash.as_bytes()).collect();
            write(dir, &path(&level.to_string(), n, tile.len()), &bytes);
        }
        hashes = hashes.chunks_exact(WIDTH).map(tree::root).collect();
        level += 1;
    }
}

/// The path of a tile below the log's folder; a thousand of them are more than a test writes.
pub(super) fn path(level: &str, n: usize, width: usize) -> String {
    let partial = if width == WIDTH { String::new() } else { format!(".p/{width}") };
    format!("tile/{level}/{n:03}{partial}")
}

fn write(dir: &Path, path: &str, bytes: &[u8]) {
    let path = dir.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}
