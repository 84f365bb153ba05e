//! The shipped segments of a stream, taken apart and put together again by somebody who holds the region key.
//!
//! So a change is not found by a digest or a signature of the region, but only by what the stream's own key signed for.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;

use aegis_audit_chain::note::Signer;
use aegis_audit_chain::segment::{Digest, Entries, Manifest, push_entry};
use aegis_audit_chain::tree::Frontier;
use aegis_audit_chain::{Hash, layout};
use aegis_audit_index::Index;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::support::{REGISTRY, SHIPPED, origin, region_key};

pub(super) struct Segment {
    manifest: Manifest,
    pub(super) records: Vec<Vec<u8>>,
    /// Bytes behind the last record.
    pub(super) rest: Vec<u8>,
}

/// Changes the stream's segments, and signs for the result as if nothing had happened.
pub(super) fn forge(bucket: &Path, change: impl FnOnce(&mut Vec<Segment>)) {
    let dir = bucket.join(SHIPPED).join("seg");
    let mut segments = read(&dir);
    change(&mut segments);
    fs::remove_dir_all(&dir).unwrap();
    fs::create_dir_all(&dir).unwrap();
    write(bucket, &segments);
}

fn read(dir: &Path) -> Vec<Segment> {
    let region = Signer::new(REGISTRY, region_key());
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut notes: Vec<_> = entries.filter(|path| path.extension().unwrap() == "man").collect();
    notes.sort();
    let segment = |path: &std::path::PathBuf| {
        let note = fs::read_to_string(path).unwrap();
        let (manifest, _) = Manifest::open(&note, region.verifier()).unwrap();
        let stored = fs::read(path.with_extension("rec.gz")).unwrap();
        let mut bundles = Vec::new();
        MultiGzDecoder::new(&stored[..]).read_to_end(&mut bundles).unwrap();
        let records = Entries(&bundles).map(|record| record.unwrap().to_vec()).collect();
        Segment { manifest, records, rest: Vec::new() }
    };
    notes.iter().map(segment).collect()
}

fn write(bucket: &Path, segments: &[Segment]) {
    let region = Signer::new(REGISTRY, region_key());
    let (mut tree, mut previous) = (Frontier::new(), Hash::ZERO);
    for Segment { manifest, records, rest } in segments {
        let (first, before, mut leaves) = (tree.size(), tree.clone(), Vec::new());
        let mut bundles = Vec::new();
        for record in records {
            push_entry(&mut bundles, record);
            leaves.push(Hash::leaf(record));
            tree.push(Hash::leaf(record));
        }
        bundles.extend_from_slice(rest);
        let mut packer = GzEncoder::new(Vec::new(), Compression::default());
        packer.write_all(&bundles).unwrap();
        let stored = packer.finish().unwrap();
        let index = Index { before, members: vec![0], leaves }.encode();
        let manifest = Manifest {
            first,
            size: tree.size(),
            root: tree.root(),
            previous,
            stored: Digest::of(&stored),
            records: Digest::of(&bundles),
            index: Digest::of(&index),
            ..manifest.clone()
        };
        let note = manifest.note(&region);
        previous = Hash::of(note.as_bytes());
        let at = (manifest.first, manifest.size);
        fs::write(bucket.join(layout::segment_records(&origin(), at)), stored).unwrap();
        fs::write(bucket.join(layout::segment_index(&origin(), at)), index).unwrap();
        fs::write(bucket.join(layout::segment_manifest(&origin(), at)), note).unwrap();
    }
}
