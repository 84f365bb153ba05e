//! Looks for the end of a text, eight bytes at a time.
//!
//! Not here: what a text may say (`json`, `alphabet`). Invariant: what is passed over stands for itself, as the writer writes it.

/// How many bytes stand for themselves before the first quote, backslash or control character.
pub(super) fn plain(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut before = 0_usize;
    for word in words {
        let special = special(u64::from_le_bytes(*word));
        if special != 0 {
            let within = usize::try_from(special.trailing_zeros() / 8).unwrap_or(0);
            return before.saturating_add(within);
        }
        before = before.saturating_add(8);
    }
    let is_special = |byte: &u8| matches!(*byte, b'"' | b'\\' | 0..b' ');
    before.saturating_add(rest.iter().position(is_special).unwrap_or(rest.len()))
}

/// Sets the highest bit of the first byte of a word that is a quote, a backslash or a control character, and of none before it.
/// Taking one from a zero byte borrows from the bytes after it, so those after the first may be wrong.
fn special(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let below = |word: u64, bound: u64| word.wrapping_sub(ONES.wrapping_mul(bound)) & !word;
    let is = |byte: u8| below(word ^ ONES.wrapping_mul(u64::from(byte)), 1);
    (is(b'"') | is(b'\\') | below(word, u64::from(b' '))) & (ONES << 7)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn words_find_what_bytes_find(text in proptest::collection::vec(prop_oneof![0_u8..40, any::<u8>()], 0..40)) {
            let special = |byte: &u8| *byte < b' ' || matches!(byte, b'"' | b'\\');
            let expected = text.iter().position(special).unwrap_or(text.len());
            prop_assert_eq!(plain(&text), expected);
        }
    }
}
