//! The roster: whose records a stream holds, how many of each tenant, and which is each one's last.
//!
//! Pure. Not here: who signs it (it stands beside a head in the registry, `record`). Invariant: a line says nothing to whoever
//! does not know the tenant's name and records, so one tenant's proof shows nothing of another's calls.

use crate::tree::{root, subset_proof};
use crate::{Hash, Origin};

/// What a signed head says of the tenants in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roster {
    /// How many tenants have records.
    pub count: u64,
    /// The root over their lines, in the order of their keys.
    pub root: Hash,
}

/// One tenant's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// What stands for the tenant's name: the hash that its first record links to.
    pub key: Hash,
    /// What stands for how many records it has and which is the last.
    pub value: Hash,
}

/// How far a tenant's own chain reaches in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    pub records: u64,
    /// Leaf hash of the last one.
    pub last: Hash,
}

impl Line {
    pub fn of(origin: &Origin, tenant: &str, reach: &Reach) -> Self {
        let value = [reach.records.to_be_bytes().as_slice(), reach.last.as_bytes()].concat();
        Self { key: origin.before_tenant(tenant), value: Hash::of(&value) }
    }

    pub fn leaf(&self) -> Hash {
        Hash::leaf(&[*self.key.as_bytes(), *self.value.as_bytes()].concat())
    }
}

/// Every line of a stream's roster, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines(Vec<Line>);

impl Lines {
    pub fn new(mut lines: Vec<Line>) -> Self {
        lines.sort_unstable();
        Self(lines)
    }

    fn leaves(&self) -> Vec<Hash> {
        self.0.iter().map(Line::leaf).collect()
    }

    /// What a head says of them; `None` when no tenant has a record.
    pub fn roster(&self) -> Option<Roster> {
        let count = u64::try_from(self.0.len()).ok().filter(|count| *count > 0)?;
        Some(Roster { count, root: root(&self.leaves()) })
    }

    /// The line of `key` or, where there is none, the lines on both sides of its place; with the hashes that prove them.
    pub fn prove(&self, key: Hash) -> (Vec<(u64, Line)>, Vec<Hash>) {
        let (shown, from) = match self.0.binary_search_by_key(&key, |line| line.key) {
            Ok(at) => (1, at),
            Err(at) => (if at == 0 { 1 } else { 2 }, at.saturating_sub(1)),
        };
        let range: Vec<usize> = (from..self.0.len().min(from.saturating_add(shown))).collect();
        let proof = subset_proof(&self.leaves(), &range).unwrap_or_default();
        let lines = self.0.iter().zip(0_u64..).skip(from).take(shown);
        (lines.map(|(line, at)| (at, *line)).collect(), proof)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_or_stands_between_its_neighbours() {
        let key = |n: u8| Hash::from_bytes([n; 32]);
        let lines = Lines::new([5, 1, 3].map(|n| Line { key: key(n), value: key(0) }).to_vec());
        let shown = |n: u8| lines.prove(key(n)).0.iter().map(|(at, _)| *at).collect::<Vec<_>>();
        assert_eq!([shown(1), shown(3), shown(5)], [vec![0], vec![1], vec![2]]);
        assert_eq!(
            [shown(0), shown(2), shown(4), shown(6)],
            [vec![0], vec![0, 1], vec![1, 2], vec![2]]
        );
        assert_eq!(Lines::default().roster(), None);
        assert_eq!(lines.roster().unwrap().count, 3);
    }
}
