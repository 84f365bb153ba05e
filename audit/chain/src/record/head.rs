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
        let mut rest = record;
        let mut take = |count: usize| {
            let (taken, left) = rest.split_at_checked(count)?;
            rest = left;
            Some(taken)
        };
        let mut field = |literal: &str, width: usize| {
            (take(literal.len())? == literal.as_bytes()).then(|| take(width)).flatten()
        };
        let seq = number(field(V, WIDE)?)?;
        let prev = hash(field(PREV, TEXT_BYTES)?)?;
        let tseq = number(field(TSEQ, WIDE)?)?;
        let tprev = hash(field(TPREV, TEXT_BYTES)?)?;
        let ts = number(field(TS, TIME)?)?;
        let mono = number(field(MONO, TIME)?)?;
        field(KIND, 0)?;
        Some(Self { seq, prev, tseq, tprev, ts, mono })
    }
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

/// The value of a field of digits; `None` for anything else or more than 64 bits.
pub(crate) fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |value, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

fn hash(text: &[u8]) -> Option<Hash> {
    Hash::parse(std::str::from_utf8(text).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(digits::<20>(u64::MAX), *b"18446744073709551615");
    }
}
