//! A set of small numbers that is cheap to copy, to compare and to hash.
//!
//! Not here: what the numbers stand for (`search`). Invariant: equal sets of one capacity have equal words.

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Bits(Box<[u64]>);

impl Bits {
    /// Room for the numbers below `count`.
    pub(crate) fn empty(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)].into())
    }

    pub(crate) fn has(&self, number: usize) -> bool {
        self.0.get(number / 64).is_some_and(|word| word & mask(number) != 0)
    }

    pub(crate) fn insert(&mut self, number: usize) {
        if let Some(word) = self.0.get_mut(number / 64) {
            *word |= mask(number);
        }
    }

    pub(crate) fn remove(&mut self, number: usize) {
        if let Some(word) = self.0.get_mut(number / 64) {
            *word &= !mask(number);
        }
    }
}

fn mask(number: usize) -> u64 {
    1 << (number % 64)
}
