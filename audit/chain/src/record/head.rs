//! The fixed-width head of a record: where it stands in the stream, and when it was put there.
//!
//! Not here: what comes after `k` (`decision`, `outcome`, `stream`, `registry`). Invariant: every field stands
//! at the same offset in every record, so it is patched and compared without parsing.

use crate::Hash;
use crate::tree::TEXT_BYTES;

/// Length of the head up to the first letter of the kind.
pub(crate) const BYTES: usize = 234;

const V: &str = "{\"v\":1,\"seq\":\"";
const PREV: &str = "\",\"prev\":\"";
const TSEQ: &str = "\",\"tseq\":\"";
const TPREV: &str = "\",\"tprev\":\"";
const TS: &str = "\",\"ts\":\"";
const MONO: &str = "\",\"mono\":\"";
const KIND: &str = "\",\"k\":\"";
const WIDE: usize = 20;
const TIME: usize = 19;
/// The latest instant that 19 digits hold: the year 2286.
const TIME_MAX: u64 = 9_999_999_999_999_999_999;

/// The head of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Index in the stream and in its Merkle tree.
    pub seq: u64,
    /// Leaf hash of the record before.
    pub prev: Hash,
    /// Index among the tenant's records in this stream; zero without a tenant.
    pub tseq: u64,
    /// Leaf hash of the tenant's record before; `Hash::ZERO` without a tenant.
    pub tprev: Hash,
    /// Wall clock, nanoseconds since the Unix epoch.
    pub ts: u64,
    /// Nanoseconds since the stream began; never decreases.
    pub mono: u64,
}

impl Head {
    /// The bytes of the head, from `{` to the quote before the kind.
    pub(crate) fn encode(&self) -> [u8; BYTES] {
        let mut out = [0; BYTES];
        let mut rest = out.as_mut_slice();
        let mut put = |bytes: &[u8]| {
            let (slot, left) = std::mem::take(&mut rest).split_at_mut(bytes.len());
            slot.copy_from_slice(bytes);
            rest = left;
        };
        put(V.as_bytes());
        put(&digits::<WIDE>(self.seq));
        put(PREV.as_bytes());
        put(&self.prev.text());
        put(TSEQ.as_bytes());
        put(&digits::<WIDE>(self.tseq));
        put(TPREV.as_bytes());
        put(&self.tprev.text());
        put(TS.as_bytes());
        put(&digits::<TIME>(self.ts.min(TIME_MAX)));
        put(MONO.as_bytes());
        put(&digits::<TIME>(self.mono.min(TIME_MAX)));
        put(KIND.as_bytes());
        out
    }

    /// Reads the head; `None` unless every byte of it is where it belongs.
    pub fn parse(record: &[u8]) -> Option<Self> {
        let Fields { seq, prev, tseq, tprev, ts, mono } = Fields::parse(record)?;
        Some(Self { seq, prev: hash(prev)?, tseq, tprev: hash(tprev)?, ts, mono })
    }

    /// The link alone of a record whose head is in the fixed form: what the leaf hash of the record before it must be.
    pub fn link(record: &[u8]) -> Option<Hash> {
        hash(Fields::parse(record)?.prev)
    }
}

/// A head whose hashes are still text: whoever knows what they must be compares, which costs less than decoding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    pub(crate) seq: u64,
    pub(crate) prev: &'a [u8; TEXT_BYTES],
    pub(crate) tseq: u64,
    pub(crate) tprev: &'a [u8; TEXT_BYTES],
    pub(crate) ts: u64,
    pub(crate) mono: u64,
}

impl<'a> Fields<'a> {
    /// Reads all of the head but whether its hashes are hashes.
    pub(crate) fn parse(record: &'a [u8]) -> Option<Self> {
        let mut rest = record;
        let seq = fixed(field::<WIDE>(&mut rest, V)?)?;
        let prev = field(&mut rest, PREV)?;
        let tseq = fixed(field::<WIDE>(&mut rest, TSEQ)?)?;
        let tprev = field(&mut rest, TPREV)?;
        let ts = fixed(field::<TIME>(&mut rest, TS)?)?;
        let mono = fixed(field::<TIME>(&mut rest, MONO)?)?;
        field::<0>(&mut rest, KIND)?;
        Some(Self { seq, prev, tseq, tprev, ts, mono })
    }
}

/// What stands behind a literal. Inlined, so that each literal is compared by the word.
#[inline(always)]
fn field<'a, const N: usize>(rest: &mut &'a [u8], literal: &str) -> Option<&'a [u8; N]> {
    let (value, left) = rest.strip_prefix(literal.as_bytes())?.split_first_chunk::<N>()?;
    *rest = left;
    Some(value)
}

/// `value` in exactly `N` digits.
pub(crate) fn digits<const N: usize>(value: u64) -> [u8; N] {
    let (mut out, mut rest) = ([b'0'; N], value);
    for slot in out.iter_mut().rev() {
        *slot = b'0'.saturating_add(u8::try_from(rest % 10).unwrap_or(0));
        rest /= 10;
    }
    out
}

/// The value of a field of at most 24 digits, eight at a time.
pub(crate) fn fixed<const N: usize>(digits: &[u8; N]) -> Option<u64> {
    let mut padded = [b'0'; 24];
    padded.last_chunk_mut::<N>()?.copy_from_slice(digits);
    let (words, _) = padded.as_chunks::<8>();
    words.iter().try_fold(0_u64, |value, word| {
        value.checked_mul(100_000_000)?.checked_add(eight(u64::from_le_bytes(*word))?)
    })
}

/// The value of eight digits in one word, the first in its lowest byte: pairs, then fours, then all are put together.
fn eight(word: u64) -> Option<u64> {
    let high = |word: u64| word & 0xF0F0_F0F0_F0F0_F0F0 == 0x3030_3030_3030_3030;
    // Six more takes every byte above `9` out of the digits' row.
    if !high(word) || !high(word.wrapping_add(0x0606_0606_0606_0606)) {
        return None;
    }
    let pairs = (word & 0x0F0F_0F0F_0F0F_0F0F).wrapping_mul(10 * 256 + 1) >> 8;
    let fours = (pairs & 0x00FF_00FF_00FF_00FF).wrapping_mul(100 * 65_536 + 1) >> 16;
    Some((fours & 0x0000_FFFF_0000_FFFF).wrapping_mul(10_000 * (1 << 32) + 1) >> 32)
}

pub(crate) fn hash(text: &[u8; TEXT_BYTES]) -> Option<Hash> {
    Hash::parse(std::str::from_utf8(text).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of some digits, one by one.
    fn number(digits: &[u8]) -> Option<u64> {
        digits.iter().try_fold(0_u64, |value, byte| {
            let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
            value.checked_mul(10)?.checked_add(u64::from(digit))
        })
    }

    #[test]
    fn the_head_has_the_published_bytes_and_reads_back() {
        let head = Head {
            seq: 7,
            prev: Hash::leaf(b"a"),
            tseq: u64::MAX,
            tprev: Hash::ZERO,
            ts: 1_790_000_000_123_456_789,
            mono: 42,
        };
        let bytes = head.encode();
        let text = std::str::from_utf8(&bytes).unwrap();
        assert!(text.starts_with("{\"v\":1,\"seq\":\"00000000000000000007\",\"prev\":\""));
        assert!(text.ends_with(
            "\",\"ts\":\"1790000000123456789\",\"mono\":\"0000000000000000042\",\"k\":\""
        ));
        assert_eq!(Head::parse(&bytes), Some(head));
        for at in 0..bytes.len() {
            let mut bad = bytes;
            bad[at] = b'!';
            assert_eq!(Head::parse(&bad), None, "byte {at}");
        }
    }

    #[test]
    fn twenty_digits_beyond_64_bits_are_refused() {
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(number(b"18446744073709551616"), None);
        assert_eq!(fixed(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(fixed(b"18446744073709551616"), None);
        assert_eq!(fixed(b"99999999999999999999"), None);
        assert_eq!(digits::<20>(u64::MAX), *b"18446744073709551615");
    }

    proptest::proptest! {
        #[test]
        fn eight_digits_at_a_time_are_the_digits_one_by_one(
            value: u64, at in 0_usize..20, byte: u8,
        ) {
            let mut text = digits::<20>(value);
            proptest::prop_assert_eq!(fixed(&text), Some(value));
            text[at] = byte;
            proptest::prop_assert_eq!(fixed(&text), number(&text));
        }
    }
}
