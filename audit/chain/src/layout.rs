//! Where the files of a region's log lie below its directory.
//!
//! Pure path arithmetic; opening files is the business of `audit/ship` and of `aegisctl`. Invariant: names
//! sort in the order of what they hold, so a listing is a reading order.

use crate::Origin;

/// Held by the one process that may write below the directory.
pub const LOCK_FILE: &str = "lock";
pub const STREAMS_DIR: &str = "streams";
pub const REGISTRY_DIR: &str = "registry";

/// The directory of one stream.
pub fn stream_dir(origin: &Origin) -> String {
    let number = origin.incarnation();
    if origin.is_registry() {
        format!("{REGISTRY_DIR}/{number}")
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
        let registry = Origin::registry("d", "r", 1).unwrap();
        assert_eq!(head_file(&registry, 9), "registry/1/heads/00000000000000000009.note");
    }
}
