//! What is left of records that were shipped and deleted here: where the chain and the tree stood, under the region's key.
//!
//! Pure. Not here: deleting (`audit/ship`). Invariant: the records that follow cannot be fitted to a wrong note: it must lead
//! to the roots that are signed after it.

use std::collections::BTreeMap;

use super::tenants::{Link, Reached, Tenants};
use super::{Chain, Walker};
use crate::note::{NoteError, Signer, Verifier};
use crate::tree::Frontier;
use crate::{Hash, Origin};

const TITLE: &str = "aegis.dev/audit/pruned@v1";

/// A stream behind its deleted records.
#[derive(Clone, Debug)]
pub struct Pruned {
    /// Stands before the first record that is kept.
    pub walker: Walker,
    /// Wall clock of the last record that is not.
    pub last_ts: u64,
}

impl Pruned {
    /// How many records were deleted.
    pub fn size(&self) -> u64 {
        self.walker.size()
    }

    pub fn note(&self, region: &Signer) -> String {
        region.note(&self.text())
    }

    /// Reads a note that the region key signed.
    pub fn open(note: &str, region: &Verifier) -> Result<Self, NoteError> {
        Self::parse(region.open_table(note)?).ok_or(NoteError::Malformed)
    }

    /// What a note says, whoever signed it: for reports that believe the files anyway.
    pub fn read_unverified(note: &str) -> Option<Self> {
        let end = note.find("\n\n")?.checked_add(1)?;
        Self::parse(note.get(..end)?)
    }

    fn text(&self) -> String {
        let (stands, last_ts) = (self.walker.stands(), self.last_ts);
        let head = format!("{TITLE}\n{stands}{last_ts}\n");
        let tenants: BTreeMap<&str, &Reached> =
            self.walker.chain.tenants.iter().map(|one| (&*one.name, one)).collect();
        let line = |(name, one): (&str, &Reached)| {
            format!("{name} {} {}\n", one.next, one.last.leaf().standard())
        };
        let lines: String = tenants.into_iter().map(line).collect();
        head + &lines
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        if lines.next()? != TITLE {
            return None;
        }
        let mut walker = Walker::standing(&mut lines)?;
        let last_ts = lines.next()?.parse().ok()?;
        for line in lines {
            let (name, rest) = line.split_once(' ')?;
            let (next, leaf) = rest.split_once(' ')?;
            let last = Link::to(Hash::parse_standard(leaf)?);
            walker.chain.tenants.advance((None, name), next.parse().ok()?, last);
        }
        let pruned = Self { walker, last_ts };
        // One meaning has one text.
        (pruned.size() > 0 && pruned.text() == text).then_some(pruned)
    }
}

impl Walker {
    /// Where it stands, but for tenants, in five lines.
    pub fn stands(&self) -> String {
        let Walker { chain: Chain { origin, prev, tree, .. }, mono_ns, clock } = self;
        let peaks: Vec<String> = tree.peaks().iter().map(Hash::standard).collect();
        let (size, prev, peaks) = (tree.size(), prev.leaf().standard(), peaks.join(" "));
        let clock = clock.unwrap_or(0);
        format!("{origin}\n{size}\n{prev}\n{peaks}\n{mono_ns} {clock}\n")
    }

    /// Reads these lines; whether each is in its one spelling is for the caller to see.
    pub fn standing<'l>(lines: &mut impl Iterator<Item = &'l str>) -> Option<Self> {
        let origin = Origin::parse(lines.next()?).ok()?;
        let size = lines.next()?.parse().ok()?;
        let prev = Link::to(Hash::parse_standard(lines.next()?)?);
        let peaks = lines.next()?.split(' ').map(Hash::parse_standard).collect::<Option<_>>()?;
        let tree = Frontier::of(size, peaks)?;
        let (mono_ns, clock) = lines.next()?.split_once(' ')?;
        let chain = Chain { origin, prev, tenants: Tenants::default(), tree };
        Some(Self { chain, mono_ns: mono_ns.parse().ok()?, clock: Some(clock.parse().ok()?) })
    }
}

#[cfg(test)]
mod tests {
    use aegis_domain::Timestamp;

    use super::*;
    use crate::link::{Reading, Sequencer};
    use crate::note::SecretKey;
    use crate::record::Draft;

    #[test]
    fn a_note_with_a_line_for_each_of_many_tenants_opens_again() {
        let origin = Origin::stream("d", "r", "gw", 1).unwrap();
        let region = Signer::new("d/r/registry/1", SecretKey::from_seed(&[1; 32]));
        let mut walker = Walker::new(origin);
        walker.chain.push(Hash::ZERO, &walker.chain.due(None));
        walker.clock = Some(1);
        for n in 0..2_000 {
            walker.chain.tenants.advance((None, &format!("t{n}")), 1, Link::to(Hash::ZERO));
        }
        let note = Pruned { walker, last_ts: 7 }.note(&region);
        assert!(note.len() > 65_536);
        assert_eq!(Pruned::open(&note, region.verifier()).unwrap().note(&region), note);
    }

    #[test]
    fn a_walk_goes_on_behind_its_note_and_ends_at_the_same_root() {
        let origin = Origin::stream("d", "r", "gw", 1).unwrap();
        let mut sequencer = Sequencer::new(origin.clone());
        let reading = |n: u64| Reading { wall: Timestamp::from_unix_ns(1_000 + n), mono_ns: n };
        let placed: Vec<_> =
            (0..40).map(|n| sequencer.place(Draft::close().unwrap(), reading(n)).bytes).collect();
        let region = Signer::new("d/r/registry/1", SecretKey::from_seed(&[1; 32]));
        let mut walker = Walker::new(origin);
        for (seq, record) in placed.iter().enumerate() {
            if seq > 0 {
                let note = Pruned { walker: walker.clone(), last_ts: 7 }.note(&region);
                let pruned = Pruned::open(&note, region.verifier()).unwrap();
                let mut rest = pruned.walker;
                for record in &placed[seq..] {
                    let checked = rest.check(record).unwrap();
                    rest.accept(record, &checked);
                }
                assert_eq!(rest.head(), sequencer.head());
                assert_eq!(Pruned::read_unverified(&note).unwrap().size(), walker.size());
                for (from, to) in [(TITLE, "x"), ("\n7\n", "\n07\n"), (" ", "  ")] {
                    let changed = note.replacen(from, to, 1);
                    assert!(Pruned::open(&changed, region.verifier()).is_err(), "{changed}");
                }
            }
            let checked = walker.check(record).unwrap();
            walker.accept(record, &checked);
        }
    }
}
