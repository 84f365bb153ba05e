//! Where the files of a region's log lie below its directory, and its objects in a bucket.
//!
//! Pure path arithmetic; opening files is the business of `audit/ship` and of `aegisctl`. Invariant: names
//! sort in the order of what they hold, so a listing is a reading order.

use crate::Origin;

/// Held by the one process that may write below the directory.
pub const LOCK_FILE: &str = "lock";
pub const STREAMS_DIR: &str = "streams";

/// The directory of one stream.
pub fn stream_dir(origin: &Origin) -> String {
    let number = origin.incarnation();
    if origin.is_registry() {
        format!("{}/{number}", origin.writer())
    } else {
        format!("{STREAMS_DIR}/{}/{number:020}", origin.writer())
    }
}

pub fn wal_dir(origin: &Origin) -> String {
    format!("{}/wal", stream_dir(origin))
}

/// The log file whose first record is number `first`.
pub fn wal_file(origin: &Origin, first: u64) -> String {
    format!("{}/wal/{first:020}.wal", stream_dir(origin))
}

pub fn heads_dir(origin: &Origin) -> String {
    format!("{}/heads", stream_dir(origin))
}

/// The signed head of the first `size` records.
pub fn head_file(origin: &Origin, size: u64) -> String {
    format!("{}/heads/{size:020}.note", stream_dir(origin))
}

pub fn witnessed_dir(origin: &Origin) -> String {
    format!("{}/witnessed", stream_dir(origin))
}

/// The signed head of the first `size` records, with the cosignatures of witnesses.
pub fn witnessed_file(origin: &Origin, size: u64) -> String {
    format!("{}/witnessed/{size:020}.note", stream_dir(origin))
}

/// The stream's public key, signed by the region key.
pub fn genesis_note(origin: &Origin) -> String {
    format!("{}/genesis.note", stream_dir(origin))
}

/// The first record's number, from the name of a log file.
pub fn parse_wal_name(name: &str) -> Option<u64> {
    parse_twenty(name.strip_suffix(".wal")?)
}

/// The size, from the name of a signed head.
pub fn parse_head_name(name: &str) -> Option<u64> {
    parse_twenty(name.strip_suffix(".note")?)
}

/// The incarnation, from the name of a stream's directory.
pub fn parse_incarnation_name(name: &str) -> Option<u64> {
    parse_twenty(name)
}

/// Where the stream stood behind the records that were deleted here, signed by the region key.
pub fn pruned_note(origin: &Origin) -> String {
    format!("{}/pruned.note", stream_dir(origin))
}

/// Where a registry's resume points lie.
pub fn resume_dir(origin: &Origin) -> String {
    format!("{}/resume", stream_dir(origin))
}

/// What a registry says in its first `size` records, without those that later ones supersede.
pub fn resume_file(origin: &Origin, size: u64) -> String {
    format!("{}/resume/{size:020}.note", stream_dir(origin))
}

/// Whether a log's directory has something of that name. Files are deleted of streams only, and witnesses see registries only.
pub fn is_part(origin: &Origin, name: &str) -> bool {
    match name {
        "genesis.note" | "wal" | "heads" => true,
        "witnessed" | "resume" => origin.is_registry(),
        "pruned.note" => !origin.is_registry(),
        _ => false,
    }
}

/// What a shipper keeps beside the logs.
pub const SHIP_DIR: &str = "ship";

/// Whether something of that name may stand beside the logs: the gateway's own, registries, and what a file system keeps there.
pub fn is_top(name: &str) -> bool {
    matches!(name, LOCK_FILE | STREAMS_DIR | SHIP_DIR | "lost+found") || is_registry_dir(name)
}

/// Whether a directory of that name holds the epochs of a registry.
pub fn is_registry_dir(name: &str) -> bool {
    name == "registry" || name.strip_prefix("registry.").is_some_and(|writer| !writer.is_empty())
}

/// Whether a registry's directory may bear this name.
pub fn is_epoch(name: &str) -> bool {
    name.parse::<u64>().is_ok_and(|epoch| epoch.to_string() == name)
}

/// Everything in a bucket lies below this, so that a later layout can lie beside it.
pub const BUCKET_ROOT: &str = "v1";

/// Where the objects of one stream lie in a bucket.
pub fn bucket_dir(origin: &Origin) -> String {
    let (region, writer, number) = (origin.region(), origin.writer(), origin.incarnation());
    format!("{BUCKET_ROOT}/{region}/{writer}/{number:020}")
}

/// The signed head of the first `size` records, in a bucket.
pub fn bucket_head(origin: &Origin, size: u64) -> String {
    format!("{}/cp/{size:020}.note", bucket_dir(origin))
}

/// The same with the cosignatures of witnesses, in a bucket.
pub fn bucket_witnessed(origin: &Origin, size: u64) -> String {
    format!("{}/{size:020}.note", bucket_witnessed_dir(origin))
}

pub fn bucket_witnessed_dir(origin: &Origin) -> String {
    format!("{}/wit", bucket_dir(origin))
}

/// The records `first` to `size` (exclusive), compressed, in a bucket.
pub fn segment_records(origin: &Origin, (first, size): (u64, u64)) -> String {
    format!("{}.rec.gz", segment_name(origin, (first, size)))
}

/// Where each of these records lies in that object, and its leaf hash.
pub fn segment_index(origin: &Origin, (first, size): (u64, u64)) -> String {
    format!("{}.idx", segment_name(origin, (first, size)))
}

/// The manifest of that segment: once it is there, the segment counts.
pub fn segment_manifest(origin: &Origin, (first, size): (u64, u64)) -> String {
    format!("{}.man", segment_name(origin, (first, size)))
}

fn segment_name(origin: &Origin, (first, size): (u64, u64)) -> String {
    let last = size.saturating_sub(1);
    format!("{}/seg/{first:020}-{last:020}", bucket_dir(origin))
}

/// First record and size, from the name of a manifest.
pub fn parse_manifest_name(name: &str) -> Option<(u64, u64)> {
    let (first, last) = name.strip_suffix(".man")?.split_once('-')?;
    Some((parse_twenty(first)?, parse_twenty(last)?.checked_add(1)?))
}

fn parse_twenty(digits: &str) -> Option<u64> {
    let twenty = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    twenty.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_in_reading_order_and_read_back() {
        let origin = Origin::stream("d", "r", "gw-1", 12).unwrap();
        let file = wal_file(&origin, 34);
        assert_eq!(file, "streams/gw-1/00000000000000000012/wal/00000000000000000034.wal");
        assert_eq!(parse_wal_name("00000000000000000034.wal"), Some(34));
        assert_eq!(parse_wal_name("34.wal"), None);
        let registry = Origin::registry("d", "r", "gw-1", 1).unwrap();
        assert_eq!(head_file(&registry, 9), "registry.gw-1/1/heads/00000000000000000009.note");
        let seen = witnessed_file(&registry, 9);
        assert_eq!(seen, "registry.gw-1/1/witnessed/00000000000000000009.note");
        let manifest = segment_manifest(&origin, (34, 40));
        let name = "00000000000000000034-00000000000000000039.man";
        assert_eq!(manifest, format!("v1/r/gw-1/00000000000000000012/seg/{name}"));
        assert_eq!(parse_manifest_name(name), Some((34, 40)));
    }
}
