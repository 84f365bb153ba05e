//! Archives that no compiler of ours wrote are refused, each for its own reason; what was packed comes back.

use miniz_oxide::deflate::compress_to_vec;
use proptest::prelude::*;
use serde_json::json;

use super::archive::{pack, unpack};
use super::*;

const BLOCK: usize = 512;

fn file(name: &str, bytes: &[u8]) -> BundleFile {
    BundleFile { name: name.to_owned(), bytes: bytes.to_vec() }
}

fn manifest() -> BundleFile {
    let manifest = Manifest {
        revision: "acme/dev@1+0123.v2".to_owned(),
        tenant: "acme".parse().unwrap(),
        env: "dev".to_owned(),
        version: 1,
        source_digest: "00".repeat(32),
        compiler: "v2".to_owned(),
    };
    manifest.write()
}

fn files() -> Vec<BundleFile> {
    vec![
        manifest(),
        file("aegis/egress.rego", b"package aegis.egress\n"),
        file("d/data.json", b"{}"),
    ]
}

fn gzip(tar: &[u8]) -> Vec<u8> {
    let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255];
    let length = u32::try_from(tar.len()).unwrap();
    let checksum = crc32fast::hash(tar).to_le_bytes();
    [&header, compress_to_vec(tar, 9).as_slice(), &checksum, &length.to_le_bytes()].concat()
}

fn tar() -> Vec<u8> {
    let packed = pack(&files()).unwrap();
    let body = &packed[10..packed.len() - 8];
    miniz_oxide::inflate::decompress_to_vec(body).unwrap()
}

/// The archive with one header changed and its checksum made right again.
fn with_header(change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut tar = tar();
    let header = &mut tar[..BLOCK];
    change(header);
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    gzip(&tar)
}

fn refused(bytes: &[u8]) -> BundleError {
    Bundle::open(bytes).unwrap_err()
}

/// Does not depend on the compiler: a change here is a change of the format or of the deflater.
#[test]
fn these_files_have_this_digest_on_every_machine() {
    let text = "a line that deflate can shorten\n".repeat(2_000);
    let files = vec![manifest(), file("aegis/egress.rego", text.as_bytes())];
    let digest = "d3681687812c1dec23dd0fbb0d43f974f16abf2e851d842e5aba90812df9645a";
    assert_eq!(Bundle::new(files).unwrap().digest(), digest);
}

#[test]
fn what_was_packed_comes_back() {
    let bundle = Bundle::new(files()).unwrap();
    let archive = bundle.archive().unwrap();
    assert_eq!(archive.sha256, bundle.digest());
    assert_eq!(Bundle::open(&archive.bytes).unwrap(), bundle);
    let signed = bundle.clone().signed("a.b.c".to_owned());
    let archive = signed.archive().unwrap();
    assert_ne!(archive.sha256, signed.digest());
    let opened = Bundle::open(&archive.bytes).unwrap();
    assert_eq!(opened, signed);
    assert_eq!(opened.digest(), bundle.digest());
    assert_eq!(opened.files(), files());
}

#[test]
fn a_header_that_is_not_of_a_plain_file_is_refused() {
    let at = BundleError::Entry { at: 0 };
    let type_flags = b"1234567LKxgSVMA\0";
    for flag in type_flags {
        assert_eq!(refused(&with_header(|header| header[156] = *flag)), at, "{flag}");
    }
    assert_eq!(refused(&with_header(|header| header[106] = b'1')), at, "mode");
    assert_eq!(refused(&with_header(|header| header[114] = b'1')), at, "uid");
    assert_eq!(refused(&with_header(|header| header[146] = b'1')), at, "mtime");
    assert_eq!(refused(&with_header(|header| header[157] = b'x')), at, "link name");
    assert_eq!(refused(&with_header(|header| header[257] = b'U')), at, "magic");
    assert_eq!(refused(&with_header(|header| header[265] = b'r')), at, "owner");
    assert_eq!(refused(&with_header(|header| header[345] = b'.')), at, "prefix");
    assert_eq!(refused(&with_header(|header| header[50] = b'x')), at, "after the name");
    assert_eq!(refused(&with_header(|header| header[124] = b'7')), BundleError::End, "length");
}

#[test]
fn names_that_leave_the_bundle_or_come_twice_are_refused() {
    for name in [
        "../x", "/x", "./x", "a//b", "a/../b", "a/./b", "a/.b", "a\\b", "A", "", ".hidden", "a b",
        "é", "a/",
    ] {
        let mut files = files();
        files.push(file(name, b""));
        files.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(Bundle::new(files).unwrap_err(), BundleError::Name, "{name}");
    }
    let twice = [files(), vec![file("d/data.json", b"{}")]].concat();
    let order = BundleError::Order { name: "d/data.json".to_owned() };
    assert_eq!(refused(&pack(&twice).unwrap()), order);
    let unsorted = [files(), vec![file("a", b"")]].concat();
    assert_eq!(refused(&pack(&unsorted).unwrap()), BundleError::Order { name: "a".to_owned() });
    assert_eq!(pack(&[file(&"a".repeat(101), b"")]).unwrap_err(), BundleError::Name);
}

#[test]
fn a_json_file_has_one_spelling() {
    for text in [
        "{ }",
        "{\"b\":1,\"a\":1}",
        "{\"a\":1,\"a\":1}",
        "{}\n",
        "\"\u{2028}\"",
        "\"\\u0041\"",
        "{",
        "1e3",
    ] {
        let changed = vec![manifest(), file("d/data.json", text.as_bytes())];
        let expected = BundleError::Json { name: "d/data.json".to_owned() };
        assert_eq!(refused(&pack(&changed).unwrap()), expected, "{text}");
    }
}

#[test]
fn keys_are_sorted_as_opa_sorts_them_and_strings_written_as_go_writes_them() {
    // By UTF-8, U+FB33 comes before U+1F600; RFC 8785 would have it the other way.
    let value = json!({ "\u{1f600}": 1, "\u{fb33}": "<&>/\u{7f}\u{2028}\u{7}\u{8}\n\u{c}\"" });
    let expected = "{\"\u{fb33}\":\"<&>/\u{7f}\\u2028\\u0007\\b\\n\\f\\\"\",\"\u{1f600}\":1}";
    assert_eq!(json::compact(&value), expected);
}

#[test]
fn nothing_may_follow_or_be_missing() {
    let good = pack(&files()).unwrap();
    for cut in [0, 5, 10, 17, 18, good.len() - 1] {
        // What is read as the length then is any number.
        let error = refused(&good[..cut]);
        assert!(matches!(error, BundleError::Gzip | BundleError::TooLarge), "{cut}: {error}");
    }
    assert_eq!(refused(&[good.clone(), good.clone()].concat()), BundleError::Gzip, "two members");
    let mut early = good.clone();
    early.splice(good.len() - 8..good.len() - 8, [0; 4]);
    assert_eq!(refused(&early), BundleError::Gzip, "between the content and its checksum");
    let mut named = good.clone();
    named[3] = 8;
    assert_eq!(refused(&named), BundleError::Gzip, "a name in the header");
    let mut other = good.clone();
    let at = good.len() - 8;
    other[at] ^= 1;
    assert_eq!(refused(&other), BundleError::Checksum);

    let tar = tar();
    assert_eq!(refused(&gzip(&tar[..tar.len() - BLOCK])), BundleError::End, "one empty block");
    assert_eq!(refused(&gzip(&[tar.as_slice(), &[0; BLOCK]].concat())), BundleError::End, "three");
    let mut hidden = tar.clone();
    *hidden.last_mut().unwrap() = 1;
    assert_eq!(refused(&gzip(&hidden)), BundleError::End, "in the last block");
    let mut padded = tar;
    padded[2 * BLOCK - 1] = 1;
    assert_eq!(refused(&gzip(&padded)), BundleError::Entry { at: 0 }, "in the padding");
}

#[test]
fn what_unpacks_to_too_much_is_refused_before_memory_is_spent() {
    let mut bomb = gzip(&vec![0; 4 << 20]);
    let at = bomb.len() - 4;
    bomb[at..].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(refused(&bomb), BundleError::TooLarge);
    bomb[at..].copy_from_slice(&(1_u32 << 20).to_le_bytes());
    assert_eq!(refused(&bomb), BundleError::Gzip, "more content than the trailer says");
    assert_eq!(refused(&vec![0; BUNDLE_BYTES_MAX + 1]), BundleError::TooLong);
    assert_eq!(pack(&[file("a", &vec![0; BUNDLE_BYTES_MAX])]).unwrap_err(), BundleError::TooLarge);
    let many: Vec<_> = (0..=FILES_MAX).map(|n| file(&format!("{n:04}"), b"")).collect();
    assert_eq!(refused(&pack(&many).unwrap()), BundleError::TooManyFiles);
}

#[test]
fn a_bundle_without_its_manifest_or_with_another_is_refused() {
    let missing = BundleError::Missing { name: ".manifest" };
    assert_eq!(Bundle::new(vec![]).unwrap_err(), missing);
    let text = String::from_utf8(manifest().bytes).unwrap();
    for (from, to) in [
        ("[\"aegis\",\"aegis_data\"]", "[\"\"]"),
        ("\"rego_version\":1", "\"rego_version\":0"),
        ("\"tenant\":\"acme\"", "\"tenant\":\"Acme\""),
        ("\"version\":1", "\"version\":-1"),
        ("\"roots\"", "\"rooms\""),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text);
        let malformed = BundleError::Malformed { name: ".manifest" };
        let changed = vec![file(".manifest", changed.as_bytes())];
        assert_eq!(refused(&pack(&changed).unwrap()), malformed, "{to}");
    }
    let two = file(".signatures.json", br#"{"signatures":["a","b"]}"#);
    let malformed = BundleError::Malformed { name: ".signatures.json" };
    assert_eq!(refused(&pack(&[manifest(), two]).unwrap()), malformed);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_files_are_packed_and_unpacked_unchanged(
        contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..1_500), 0..6)
    ) {
        let numbered = contents.iter().enumerate();
        let files: Vec<_> = numbered.map(|(n, bytes)| file(&format!("f{n}"), bytes)).collect();
        prop_assert_eq!(unpack(&pack(&files).unwrap()).unwrap(), files);
    }

    #[test]
    fn a_changed_byte_never_passes_for_the_same_files(at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let good = pack(&files()).unwrap();
        let mut changed = good.clone();
        let at = at.index(good.len());
        changed[at] ^= flip;
        if let Ok(opened) = unpack(&changed) {
            prop_assert_eq!(opened, files());
        }
    }

    #[test]
    fn any_bytes_are_refused_or_are_files(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let _refused_or_not = unpack(&gzip(&bytes)).map(|files| pack(&files).unwrap());
    }
}
