//! Files to tar.gz and back, in exactly one spelling.
//!
//! Not here: what the files are (`bundle`). Invariant: `unpack` takes only what `pack` writes, header by header, so an
//! archive cannot hold a link, a device, a foreign owner, an extension record or a byte after its end.
//!
//! Deflate comes from `miniz_oxide` and not through `flate2`, whose bytes depend on the backend that some other crate of
//! the same build has switched on. A newer `miniz_oxide` may pack differently; then the compiler gets a new name.

use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use super::{BUNDLE_BYTES_MAX, BundleError, BundleFile, FILES_MAX};

/// RFC 1952 §2.3: deflate, no flags, no time, packed as well as can be, on no file system in particular.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255];
const LEVEL: u8 = 9;
const BLOCK: usize = 512;
const NAME_BYTES_MAX: usize = 100;

pub(super) fn pack(files: &[BundleFile]) -> Result<Vec<u8>, BundleError> {
    let mut tar = Vec::new();
    for file in files {
        tar.extend(header(&file.name, file.bytes.len()).ok_or(BundleError::Name)?);
        tar.extend(&file.bytes);
        tar.resize(tar.len().next_multiple_of(BLOCK), 0);
    }
    tar.resize(tar.len().saturating_add(BLOCK).saturating_add(BLOCK), 0);
    if tar.len() > BUNDLE_BYTES_MAX {
        return Err(BundleError::TooLarge);
    }
    let length = u32::try_from(tar.len()).map_err(|_| BundleError::TooLarge)?;
    let mut packed = GZIP_HEADER.to_vec();
    packed.extend(compress_to_vec(&tar, LEVEL));
    packed.extend(crc32fast::hash(&tar).to_le_bytes());
    packed.extend(length.to_le_bytes());
    Ok(packed)
}

pub(super) fn unpack(packed: &[u8]) -> Result<Vec<BundleFile>, BundleError> {
    let tar = gunzip(packed)?;
    let mut files = Vec::new();
    let mut rest = tar.as_slice();
    loop {
        let at = tar.len().saturating_sub(rest.len());
        let (block, after) = rest.split_first_chunk::<BLOCK>().ok_or(BundleError::End)?;
        if block.iter().all(|byte| *byte == 0) {
            let ends = after.len() == BLOCK && after.iter().all(|byte| *byte == 0);
            return if ends { Ok(files) } else { Err(BundleError::End) };
        }
        let (name, length) = read_header(block).ok_or(BundleError::Entry { at })?;
        if files.len() >= FILES_MAX {
            return Err(BundleError::TooManyFiles);
        }
        let padded = length.next_multiple_of(BLOCK);
        let (content, after) = after.split_at_checked(padded).ok_or(BundleError::End)?;
        let (bytes, padding) = content.split_at_checked(length).ok_or(BundleError::End)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(BundleError::Entry { at });
        }
        files.push(BundleFile { name, bytes: bytes.to_vec() });
        rest = after;
    }
}

/// Unpacks at most `BUNDLE_BYTES_MAX`: the length that the trailer gives is the memory that is spent, and it must be met.
fn gunzip(packed: &[u8]) -> Result<Vec<u8>, BundleError> {
    if packed.len() > BUNDLE_BYTES_MAX {
        return Err(BundleError::TooLong);
    }
    let body = packed.strip_prefix(&GZIP_HEADER).ok_or(BundleError::Gzip)?;
    let (body, length) = body.split_last_chunk::<4>().ok_or(BundleError::Gzip)?;
    let (body, checksum) = body.split_last_chunk::<4>().ok_or(BundleError::Gzip)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if length > BUNDLE_BYTES_MAX {
        return Err(BundleError::TooLarge);
    }
    let mut tar = vec![0; length];
    let mut inflater = Box::<DecompressorOxide>::default();
    let flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let answer = decompress(&mut inflater, body, &mut tar, 0, flags);
    if answer != (TINFLStatus::Done, body.len(), length) {
        return Err(BundleError::Gzip);
    }
    if crc32fast::hash(&tar).to_le_bytes() != *checksum {
        return Err(BundleError::Checksum);
    }
    Ok(tar)
}

/// A POSIX ustar header (IEEE Std 1003.1, pax): a plain file of nobody's that its owner may read and write, from 1970.
fn header(name: &str, length: usize) -> Option<[u8; BLOCK]> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return None;
    }
    let mut block = [0; BLOCK];
    let number = format!("{length:011o}\0");
    for (at, text) in [
        (0, name),
        (100, "0000600\0"),
        (108, "0000000\0"),
        (116, "0000000\0"),
        (124, &number),
        (136, "00000000000\0"),
        // The checksum counts itself as spaces.
        (148, "        "),
        (156, "0"),
        (257, "ustar\x0000"),
        (329, "0000000\0"),
        (337, "0000000\0"),
    ] {
        put(&mut block, at, text)?;
    }
    let sum = block.iter().fold(0_u32, |sum, byte| sum.saturating_add(u32::from(*byte)));
    put(&mut block, 148, &format!("{sum:06o}\0 "))?;
    Some(block)
}

fn put(block: &mut [u8; BLOCK], at: usize, text: &str) -> Option<()> {
    let field = block.get_mut(at..at.checked_add(text.len())?)?;
    field.copy_from_slice(text.as_bytes());
    Some(())
}

/// The name and length in a header, if it is the very header that we would write for them.
fn read_header(block: &[u8; BLOCK]) -> Option<(String, usize)> {
    let name = block.get(..NAME_BYTES_MAX)?.split(|byte| *byte == 0).next()?;
    let name = std::str::from_utf8(name).ok()?;
    let length = std::str::from_utf8(block.get(124..135)?).ok()?;
    let length = usize::from_str_radix(length, 8).ok()?;
    (header(name, length)? == *block).then(|| (name.to_owned(), length))
}
