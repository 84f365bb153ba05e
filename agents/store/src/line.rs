//! One line of the log or the snapshot: CRC-32 of the rest in eight hex digits, a space, JSON, a line feed.
//!
//! Not here: files. Invariant: JSON holds no line feed, so after damage the next line can be found and the damage told
//! from a tail that a crash tore.

use serde::Serialize;
use serde::de::DeserializeOwned;

const HEAD_BYTES: usize = 9;

/// Writes one; what the registry holds always has a JSON form.
pub(crate) fn write(thing: &impl Serialize) -> std::io::Result<Vec<u8>> {
    let json = serde_json::to_vec(thing)?;
    let mut line = format!("{:08x} ", crc32fast::hash(&json)).into_bytes();
    line.extend(json);
    line.push(b'\n');
    Ok(line)
}

/// Reads one without its line feed; `None` is a line that is not whole.
pub(crate) fn read<T: DeserializeOwned>(line: &[u8]) -> Option<T> {
    let (head, json) = line.split_at_checked(HEAD_BYTES)?;
    let head = std::str::from_utf8(head).ok()?.strip_suffix(' ')?;
    let crc = u32::from_str_radix(head, 16).ok()?;
    if crc != crc32fast::hash(json) {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// Whether a broken line ends in a whole one: then the line feed between them was damaged, and nothing was torn.
pub(crate) fn ends_in<T: DeserializeOwned>(piece: &[u8]) -> bool {
    let Some(piece) = piece.strip_suffix(b"\n") else { return false };
    (1..piece.len()).any(|start| piece.get(start..).is_some_and(|rest| read::<T>(rest).is_some()))
}
