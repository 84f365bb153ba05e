//! Objects that unpack to far more than they say: a mebibyte of zeros takes a kilobyte, packed.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly, also in its fixtures")]

use std::io::Write as _;

use aegis_audit_chain::Hash;
use aegis_audit_chain::tree::Frontier;
use aegis_audit_index::{Index, OBJECT_BYTES_MAX, unpack, unpack_member};
use flate2::Compression;
use flate2::write::GzEncoder;

/// What the segment's manifest says that there is.
const SAID: u64 = 1_000;
/// The decoder's own tables and window, and a buffer that grew to what was said.
const ROOM: u64 = 128 * 1024;

fn bomb() -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..OBJECT_BYTES_MAX / (1024 * 1024) {
        encoder.write_all(&[0; 1024 * 1024]).unwrap();
    }
    encoder.finish().unwrap()
}

type Way<'w> = dyn Fn() -> Option<Vec<u8>> + 'w;

#[test]
fn what_is_packed_tighter_than_it_says_takes_no_memory() {
    let stored = bomb();
    assert!(stored.len() < 80 * 1024);
    let index = Index { before: Frontier::new(), members: vec![0], leaves: vec![Hash::leaf(b"")] };
    let ways: [(&str, &Way<'_>); 3] = [
        ("whole", &|| unpack(&stored, SAID)),
        ("one member", &|| unpack_member(&stored, SAID)),
        ("by its index", &|| index.unpack(&stored, SAID)),
    ];
    for (name, way) in ways {
        let mut made = None;
        let counted = allocation_counter::measure(|| made = way());
        assert_eq!(made, None, "{name}");
        assert!(counted.bytes_max < ROOM, "{name}: {} bytes at once", counted.bytes_max);
    }
    // A member holds no more than a group of records, whatever is said.
    let counted = allocation_counter::measure(|| {
        assert_eq!(unpack_member(&stored, u64::MAX), None);
    });
    assert!(counted.bytes_max < OBJECT_BYTES_MAX / 4, "{} bytes at once", counted.bytes_max);
}
