//! Undoes gzip and deflate, up to a limit.
//!
//! Not here: which coding a body has (`content`). Invariant: never holds more than the limit and one byte.

use std::io::Read;

use bytes::Bytes;
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};

use crate::{ContentCoding, DlpError};

/// Undoes a content coding; more than `limit` bytes, damage or bytes left over are an error.
pub fn decode_body(body: &Bytes, coding: ContentCoding, limit: usize) -> Result<Bytes, DlpError> {
    let mut decoded = Vec::new();
    match coding {
        ContentCoding::Identity if body.len() > limit => return Err(DlpError::TooLarge { limit }),
        ContentCoding::Identity => return Ok(body.clone()),
        ContentCoding::Gzip => gunzip(body, limit, &mut decoded)?,
        ContentCoding::Deflate => unzlib(body, limit, &mut decoded)?,
    }
    Ok(Bytes::from(decoded))
}

/// Undoes every gzip member of `bytes` (RFC 1952 §2.2); bytes after the last one are damage. What could be
/// undone before an error is in `decoded`.
pub(crate) fn gunzip(bytes: &[u8], limit: usize, decoded: &mut Vec<u8>) -> Result<(), DlpError> {
    read_bounded(MultiGzDecoder::new(bytes), limit, decoded)
}

/// Undoes one zlib stream (RFC 1950) that fills `bytes`.
pub(crate) fn unzlib(bytes: &[u8], limit: usize, decoded: &mut Vec<u8>) -> Result<(), DlpError> {
    let mut decoder = ZlibDecoder::new(bytes);
    read_bounded(&mut decoder, limit, decoded)?;
    if decoder.into_inner().is_empty() { Ok(()) } else { Err(DlpError::Damaged) }
}

fn read_bounded(decoder: impl Read, limit: usize, decoded: &mut Vec<u8>) -> Result<(), DlpError> {
    let ceiling = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    decoder.take(ceiling).read_to_end(decoded).map_err(|_| DlpError::Damaged)?;
    if decoded.len() > limit { Err(DlpError::TooLarge { limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_decompression_bomb_is_refused() {
        let bomb = Bytes::from(gzip(&vec![0; 1 << 20]));
        let refused = decode_body(&bomb, ContentCoding::Gzip, 1 << 16);
        assert_eq!(refused, Err(DlpError::TooLarge { limit: 1 << 16 }));
        assert_eq!(decode_body(&bomb, ContentCoding::Gzip, 1 << 20).unwrap().len(), 1 << 20);
    }

    #[test]
    fn bytes_after_the_compressed_stream_are_refused() {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(b"hello").unwrap();
        let mut zlib = encoder.finish().unwrap();
        let decoded = decode_body(&Bytes::from(zlib.clone()), ContentCoding::Deflate, 99);
        assert_eq!(decoded.unwrap(), "hello");
        zlib.push(0);
        let refused = decode_body(&Bytes::from(zlib), ContentCoding::Deflate, 99);
        assert_eq!(refused, Err(DlpError::Damaged));
        let mut members = gzip(b"a");
        members.extend(gzip(b"b"));
        let undo =
            |members: &[u8]| decode_body(&Bytes::copy_from_slice(members), ContentCoding::Gzip, 9);
        assert_eq!(undo(&members).unwrap(), "ab");
        members.extend(b"smuggled");
        assert_eq!(undo(&members), Err(DlpError::Damaged));
    }

    #[test]
    fn a_truncated_stream_is_damage() {
        let mut short = gzip(b"hello hello hello");
        short.truncate(short.len() - 6);
        let mut decoded = Vec::new();
        assert_eq!(gunzip(&short, 99, &mut decoded), Err(DlpError::Damaged));
        assert!(b"hello hello hello".starts_with(&decoded));
    }
}
