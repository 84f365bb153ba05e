//! Undoes gzip and deflate, up to a limit.
//!
//! Not here: which coding a body has (`content`). Invariant: never holds more than the limit and one byte.

use std::io::Read;

use bytes::Bytes;
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};

use crate::{ContentCoding, DlpError};

/// Undoes a content coding; more than `limit` bytes, damage or bytes left over are an error.
pub fn decode_body(body: &Bytes, coding: ContentCoding, limit: usize) -> Result<Bytes, DlpError> {
    let decoded = match coding {
        ContentCoding::Identity if body.len() > limit => Err(DlpError::TooLarge { limit }),
        ContentCoding::Identity => return Ok(body.clone()),
        ContentCoding::Gzip => gunzip(body, limit),
        ContentCoding::Deflate => unzlib(body, limit),
    }?;
    Ok(Bytes::from(decoded))
}

/// Undoes every gzip member of `bytes` (RFC 1952 §2.2); bytes after the last one are damage.
pub(crate) fn gunzip(bytes: &[u8], limit: usize) -> Result<Vec<u8>, DlpError> {
    read_bounded(MultiGzDecoder::new(bytes), limit)
}

/// Undoes one zlib stream (RFC 1950) that fills `bytes`.
pub(crate) fn unzlib(bytes: &[u8], limit: usize) -> Result<Vec<u8>, DlpError> {
    let mut decoder = ZlibDecoder::new(bytes);
    let decoded = read_bounded(&mut decoder, limit)?;
    if decoder.into_inner().is_empty() { Ok(decoded) } else { Err(DlpError::Damaged) }
}

fn read_bounded(decoder: impl Read, limit: usize) -> Result<Vec<u8>, DlpError> {
    let ceiling = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut decoded = Vec::new();
    decoder.take(ceiling).read_to_end(&mut decoded).map_err(|_| DlpError::Damaged)?;
    if decoded.len() > limit { Err(DlpError::TooLarge { limit }) } else { Ok(decoded) }
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
        assert_eq!(gunzip(&members, 9).unwrap(), b"ab");
        members.extend(b"smuggled");
        assert_eq!(gunzip(&members, 9), Err(DlpError::Damaged));
    }

    #[test]
    fn a_truncated_stream_is_damage() {
        let mut short = gzip(b"hello hello hello");
        short.truncate(short.len() - 6);
        assert_eq!(gunzip(&short, 99), Err(DlpError::Damaged));
    }
}
