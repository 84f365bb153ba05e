//! Segments as they are stored: manifests, indexes, bundles, log files, and notes of what was deleted.
//!
//! Not here: the records in them (`records`). Invariant: where a signature or checksum guards a reader, the attack also makes
//! it good, so that what stands behind it is reached.

use aegis_audit_chain::frame::{Frames, Header, push_frame};
use aegis_audit_chain::link::{Pruned, Walker};
use aegis_audit_chain::segment::{Digest, Entries, Manifest, push_entry};
use aegis_audit_chain::tree::Frontier;
use aegis_audit_chain::walk::{FileEnd, walk_file};
use aegis_audit_chain::{Hash, Origin, tree};
use aegis_audit_index::{Groups, Index, path, unpack, unpack_member};
use aegis_hostile::attack;

use super::{bytes, leaves, published, published_bytes, region, stream, text};

fn log_file() -> Vec<u8> {
    published_bytes("region/streams/gw-1/00000000000000000001/wal/00000000000000000000.wal")
}

fn manifest(first: u64, bundles: &[u8]) -> Manifest {
    Manifest {
        origin: stream(),
        first,
        size: first + 8,
        root: tree::root(&leaves(first + 8)),
        previous: Hash::leaf(b"before"),
        stored: Digest::of(b"stored"),
        records: Digest::of(bundles),
        index: Digest::of(b"index"),
        registry: 3,
        from_ts: 1_790_000_000_000_000_000,
        to_ts: u64::MAX,
    }
}

/// The text that a note is of.
fn unsigned(note: &str) -> String {
    note.split("\n\n").next().unwrap().to_owned() + "\n"
}

/// A stream of that many records, shipped as one segment behind the first ones.
fn shipped(first: u64, end: u64) -> (Vec<u8>, Vec<u8>) {
    let (mut before, mut groups) = (Frontier::new(), Groups::default());
    let all = leaves(end);
    (0..first).for_each(|n| before.push(all[n as usize]));
    (first..end).for_each(|n| groups.push(n, &n.to_be_bytes()));
    let (stored, members) = groups.pack().unwrap();
    // The form of `docs/spec/audit.md` §5, written by hand: the reader's own writer could share its mistakes.
    let mut index = b"AEGISIDX\0\0\0\x01".to_vec();
    index.extend([first, end - first].map(u64::to_be_bytes).concat());
    before.peaks().iter().for_each(|peak| index.extend(peak.as_bytes()));
    members.iter().for_each(|member| index.extend(member.to_be_bytes()));
    all[first as usize..].iter().for_each(|leaf| index.extend(leaf.as_bytes()));
    (index, stored)
}

#[test]
fn a_signed_manifest_has_one_text() {
    let region = region();
    let notes = [0, 7, u64::MAX - 8].map(|first| {
        let first = first.min(u64::MAX - 8);
        let end = Manifest { size: first + 8, ..manifest(0, b"") };
        Manifest { first, ..end }.note(&region)
    });
    let texts = notes.map(|note| unsigned(&note));
    attack(&bytes(texts), |input| {
        let Some(text) = text(input).filter(|text| text.ends_with('\n')) else { return };
        let note = region.note(text);
        if let Ok((manifest, hash)) = Manifest::open(&note, region.verifier()) {
            assert_eq!(manifest.note(&region), note);
            assert_eq!(hash, Hash::of(note.as_bytes()));
            assert!(manifest.first < manifest.size);
            assert!(!manifest.follows(Some(&(manifest.clone(), hash))));
        }
    });
}

#[test]
fn a_note_of_what_was_deleted_has_one_text() {
    let (region, file) = (region(), log_file());
    let mut walker = Walker::new(stream());
    let mut notes = Vec::new();
    let end = walk_file(&mut walker, (0, &file), &mut |walker, step| {
        if step.head.seq > 0 {
            let pruned = Pruned { walker: walker.clone(), last_ts: step.head.ts };
            notes.push(unsigned(&pruned.note(&region)).into_bytes());
        }
    });
    assert_eq!((end, notes.len()), (FileEnd::Clean, 7));
    attack(&notes, |input| {
        let Some(text) = text(input).filter(|text| text.ends_with('\n')) else { return };
        let note = region.note(text);
        if let Ok(mut pruned) = Pruned::open(&note, region.verifier()) {
            assert_eq!(pruned.note(&region), note);
            // What follows is held against it, whatever it says.
            let size = pruned.size();
            let _end = walk_file(&mut pruned.walker, (size, &file), &mut |_, _| {});
        }
        let _read = Pruned::read_unverified(&note);
    });
}

#[test]
fn an_index_has_one_form_and_leads_only_to_bytes_that_are_there() {
    let shipped = [(0, 1), (0, 300), (250, 700), (4_095, 4_097)].map(|(a, b)| shipped(a, b));
    let (indexes, objects): (Vec<_>, Vec<_>) = shipped.into_iter().unzip();
    for index in &indexes {
        assert!(Index::parse(index).is_ok());
    }
    attack(&indexes, |input| {
        let Ok(index) = Index::parse(input) else { return };
        assert_eq!(index.encode(), input);
        let _root = index.root();
        let _bundles = index.unpack(&objects[2], 1 << 20);
        for seq in [0, index.first(), index.size() - 1, index.size(), u64::MAX] {
            let _place = index.place(seq, 1_000);
            let _path = path(std::slice::from_ref(&&index), (seq, index.size()));
        }
    });
}

#[test]
fn a_stored_object_is_unpacked_only_where_all_of_it_is_members() {
    let objects = [shipped(0, 300).1, shipped(250, 700).1];
    attack(&objects, |input| {
        if let Some(one) = unpack_member(input, 1 << 22) {
            assert_eq!(unpack(input, one.len() as u64), Some(one));
        }
    });
}

#[test]
fn bundles_are_their_records_and_nothing_between_them() {
    let mut bundles = Vec::new();
    for record in published("records.jsonl").lines() {
        push_entry(&mut bundles, record.as_bytes());
    }
    attack(&[bundles], |input| {
        let read: Result<Vec<&[u8]>, _> = Entries(input).collect();
        let file = manifest(4, input).as_log_file(input);
        if let Ok(records) = &read {
            let mut again = Vec::new();
            records.iter().for_each(|record| push_entry(&mut again, record));
            assert_eq!(again, input);
        }
        assert_eq!(file.is_ok(), read.is_ok_and(|records| records.len() == 8));
    });
}

/// Walks a file, and holds each record that is shown against its place in it.
fn walk(input: &[u8]) {
    let mut walker = Walker::new(stream());
    let end = walk_file(&mut walker, (0, input), &mut |walker, step| {
        assert_eq!(step.head.seq, walker.size());
        let at = step.offset as usize + 8;
        assert_eq!(input.get(at..at + step.record.len()), Some(step.record));
    });
    if let FileEnd::Torn { tail, .. } = end {
        assert!(tail.offset + tail.bytes <= input.len() as u64);
    }
}

#[test]
fn a_log_file_is_its_header_and_its_frames() {
    let file = log_file();
    let registry = published_bytes("region/registry/1/wal/00000000000000000000.wal");
    attack(&[file, registry], |input| {
        walk(input);
        let Ok((header, mut frames)) = Frames::open(input) else { return };
        let mut again = header.encode();
        for frame in frames.by_ref().map_while(Result::ok) {
            assert_eq!(frame.offset, again.len());
            push_frame(&mut again, frame.record);
        }
        assert!(input.starts_with(&again));
        assert_eq!(frames.offset(), again.len());
    });
}

#[test]
fn a_record_whose_checksum_was_made_good_still_has_to_fit() {
    let published = published("records.jsonl");
    let records: Vec<&[u8]> = published.lines().map(str::as_bytes).collect();
    let all = published.clone().into_bytes();
    attack(&[all], |input| {
        let mut file = Header { origin: stream(), first: 0 }.encode();
        let changed: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
        changed.iter().for_each(|record| push_frame(&mut file, record));
        let (mut walker, mut shown) = (Walker::new(stream()), 0);
        let _end = walk_file(&mut walker, (0, &file), &mut |_, _| shown += 1);
        // A record that follows proves all before it, so only the last one shown can be another.
        let same = changed.iter().zip(&records).take_while(|(new, old)| new == old).count();
        assert!(shown <= same + 1, "{shown} were shown, {same} are as they were");
    });
}

#[test]
fn a_header_whose_checksum_was_made_good_names_an_origin() {
    let origin = Origin::parse("d/r/gw-1/18446744073709551615").unwrap();
    let headers = [Header { origin: stream(), first: 0 }, Header { origin, first: u64::MAX }];
    attack(&headers.map(|header| without_checksum(&header.encode())), |input| {
        let mut file = input.to_vec();
        file.extend(crc32c::crc32c(input).to_be_bytes());
        if let Ok((header, _)) = Frames::open(&file) {
            assert!(file.starts_with(&header.encode()));
        }
    });
}

fn without_checksum(header: &[u8]) -> Vec<u8> {
    header[..header.len() - 4].to_vec()
}
