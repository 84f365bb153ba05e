//! Which bytes a field may have: the alphabets of `domain::ids` and of hashes, for readers that keep nothing.
//!
//! Not here: values (`domain::ids`, `Hash`), which build as they check. Invariant: each test accepts exactly what its type's
//! `parse` accepts; a property of `skim` holds the two together.

use crate::tree::TEXT_BYTES;

/// Some alphabets, one a bit.
type Alphabets = u16;

const LABEL: Alphabets = 1;
const NAME: Alphabets = 1 << 1;
const TOKEN: Alphabets = 1 << 2;
const METHOD: Alphabets = 1 << 3;
const VISIBLE: Alphabets = 1 << 4;
const HEX: Alphabets = 1 << 5;
const BASE64URL: Alphabets = 1 << 6;
/// What a hash in base64url ends in: 43 characters hold 258 bits, and the last two are zero.
const HASH_END: Alphabets = 1 << 7;

/// The alphabets that each byte is in.
const OF: [Alphabets; 256] = {
    let mut of = [0; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        let (lower, upper) = (byte.is_ascii_lowercase(), byte.is_ascii_uppercase());
        let (digit, graphic) = (byte.is_ascii_digit(), byte.is_ascii_graphic());
        let label = lower || digit || byte == b'-';
        let name = label || matches!(byte, b'.' | b'_');
        let hex = digit || matches!(byte, b'a'..=b'f');
        let hash_end = matches!(byte, b'A' | b'E' | b'I' | b'M' | b'Q' | b'U' | b'Y' | b'c' | b'g')
            || matches!(byte, b'k' | b'o' | b's' | b'w' | b'0' | b'4' | b'8');
        let all = bit(label, LABEL)
            | bit(name, NAME)
            | bit(name || upper || matches!(byte, b':' | b'/' | b'@'), TOKEN)
            | bit(upper || digit || byte == b'-', METHOD)
            | bit(graphic, VISIBLE)
            | bit(hex, HEX)
            | bit(label || upper || byte == b'_', BASE64URL)
            | bit(hash_end, HASH_END);
        #[expect(clippy::indexing_slicing, reason = "a byte below 128, in a table of 256")]
        {
            of[byte as usize] = all;
        }
        byte += 1;
    }
    of
};

const fn bit(is_in: bool, alphabet: Alphabets) -> Alphabets {
    if is_in { alphabet } else { 0 }
}

/// Whether every byte is in an alphabet. Looks at all of them, which is faster than stopping early.
#[inline]
fn all(text: &[u8], alphabet: Alphabets) -> bool {
    let of = |byte: &u8| OF.get(usize::from(*byte)).copied().unwrap_or(0);
    text.iter().fold(alphabet, |kept, byte| kept & of(byte)) != 0
}

#[inline]
fn within(text: &str, max: usize, alphabet: Alphabets) -> Option<()> {
    let fits = !text.is_empty() && text.len() <= max;
    (fits && all(text.as_bytes(), alphabet)).then_some(())
}

pub(super) fn label(text: &str) -> Option<()> {
    within(text, 63, LABEL)
}

pub(super) fn name(text: &str) -> Option<()> {
    within(text, 128, NAME)
}

pub(super) fn token(text: &str) -> Option<()> {
    within(text, 128, TOKEN)
}

pub(super) fn method(text: &str) -> Option<()> {
    within(text, 32, METHOD)
}

pub(super) fn visible(text: &str) -> Option<()> {
    within(text, 128, VISIBLE)
}

/// A hash as `Hash::parse` reads it.
#[inline]
pub(super) fn hash(text: &str) -> Option<()> {
    text.as_bytes().try_into().is_ok_and(is_hash).then_some(())
}

#[inline]
pub(super) fn is_hash(text: &[u8; TEXT_BYTES]) -> bool {
    let [.., last] = text;
    all(text, BASE64URL) && all(&[*last], HASH_END)
}

/// A W3C trace context as `TraceContext::parse` reads it: `00-<32>-<16>-<2>` in lower-case hex, neither id zero.
pub(super) fn trace(text: &str) -> Option<()> {
    let rest = text.as_bytes().strip_prefix(b"00-")?;
    let (trace_id, rest) = rest.split_first_chunk::<32>()?;
    let (span_id, rest) = rest.strip_prefix(b"-")?.split_first_chunk::<16>()?;
    let flags: &[u8; 2] = rest.strip_prefix(b"-")?.try_into().ok()?;
    let hex = all(trace_id, HEX) && all(span_id, HEX) && all(flags, HEX);
    (hex && *trace_id != [b'0'; 32] && *span_id != [b'0'; 16]).then_some(())
}
