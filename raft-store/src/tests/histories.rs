//! Lives of a voter's file that nobody thought of: changes by chance, alone and in groups, and a loss of power at every sync.
//!
//! Not here: one life that was thought of (`crashes`). Invariant: what is found after a loss is what was acknowledged before it,
//! or that and a beginning of what was sent since.

use std::collections::BTreeSet;

use aegis_ledger::Ledger;
use openraft::EntryPayload;

use super::crashes::{Held, held, id, images, open, send, snapshot};
use super::dice::Dice;
use super::ram::Ram;
use super::sim::drafting;
use crate::disk::Change;
use crate::types::{Entry, Vote};

const LIVES: u64 = 10;
const STEPS: usize = 24;

/// What a voter asks of its file, and what the file then holds.
struct Life {
    dice: Dice,
    term: u64,
    held: Held,
}

impl Life {
    fn of(seed: u64) -> Self {
        let held = Held { vote: None, purged: None, snapshot: None, entries: Vec::new() };
        Self { dice: Dice(seed), term: 1, held }
    }

    /// The entry after the last.
    fn next(&self) -> u64 {
        let last = self.held.entries.last().map(|(_, index)| *index);
        last.or(self.held.purged).map_or(0, |last| last + 1)
    }

    /// Changes that are sent without waiting, each with what is held once it is on disk.
    fn step(&mut self, is_alone: bool) -> Vec<(Change, Held)> {
        let many = if is_alone { 1 } else { self.dice.between(1, 6) };
        (0..many).flat_map(|_| self.change()).collect()
    }

    fn change(&mut self) -> Vec<(Change, Held)> {
        match self.dice.between(0, 20) {
            0..4 => vec![self.vote()],
            4..12 => vec![self.append()],
            12..14 => self.truncate().into_iter().collect(),
            14..17 => self.built().into_iter().collect(),
            17..19 => self.purge().into_iter().collect(),
            _ => self.installed(),
        }
    }

    fn vote(&mut self) -> (Change, Held) {
        self.term += 1;
        self.held.vote = Some(self.term);
        (Change::Vote(Vote::new(self.term, 1)), self.held.clone())
    }

    fn append(&mut self) -> (Change, Held) {
        let (from, many) = (self.next(), self.dice.between(1, 30));
        let entry = |index| Entry { log_id: id(self.term, index), payload: EntryPayload::Blank };
        let rows = (from..from + many).map(|at| (at, serde_json::to_vec(&entry(at)).unwrap()));
        let change = Change::Append(rows.collect());
        self.held.entries.extend((from..from + many).map(|index| (self.term, index)));
        (change, self.held.clone())
    }

    /// What another leader's log does not have, and no snapshot.
    fn truncate(&mut self) -> Option<(Change, Held)> {
        let loose = |(_, index): &&(u64, u64)| self.held.snapshot.is_none_or(|upto| *index > upto);
        let loose: Vec<_> = self.held.entries.iter().filter(loose).copied().collect();
        let (_, from) = self.dice.pick(&loose)?;
        self.held.entries.retain(|(_, index)| *index < from);
        Some((Change::Truncate(from), self.held.clone()))
    }

    /// A snapshot of what is in the log.
    fn built(&mut self) -> Option<(Change, Held)> {
        let newer = |(_, index): &&(u64, u64)| Some(*index) > self.held.snapshot;
        let newer: Vec<_> = self.held.entries.iter().filter(newer).copied().collect();
        let (term, upto) = self.dice.pick(&newer)?;
        self.held.snapshot = Some(upto);
        Some((snapshot(id(term, upto)), self.held.clone()))
    }

    fn purge(&mut self) -> Option<(Change, Held)> {
        let covered = |(_, index): &&(u64, u64)| Some(*index) <= self.held.snapshot;
        let covered: Vec<_> = self.held.entries.iter().filter(covered).copied().collect();
        let (term, upto) = self.dice.pick(&covered)?;
        self.purged(upto);
        Some((Change::Purge(id(term, upto)), self.held.clone()))
    }

    fn purged(&mut self, upto: u64) {
        self.held.purged = Some(upto);
        self.held.entries.retain(|(_, index)| *index > upto);
    }

    /// A leader's snapshot of what is not in the log, for which openraft purges first.
    fn installed(&mut self) -> Vec<(Change, Held)> {
        let upto = self.next() + self.dice.between(0, 50);
        let before = self.held.clone();
        self.held.snapshot = Some(upto);
        self.purged(upto);
        let both = [Change::Purge(id(self.term, upto)), snapshot(id(self.term, upto))];
        both.into_iter().zip([before, self.held.clone()]).collect()
    }
}

/// Lives a life on a disk that remembers each sync, and returns how many losses of power were tried.
fn lose_power_all_along(seed: u64, is_alone: bool) -> usize {
    let (ram, mut life) = (Ram::default(), Life::of(seed));
    let mut held_since = Vec::new();
    {
        let disk = open(&ram);
        held_since.push((ram.syncs(), vec![life.held.clone()]));
        for step in 0..STEPS {
            let (changes, after): (Vec<_>, Vec<_>) = life.step(is_alone).into_iter().unzip();
            let answers: Vec<_> = changes.into_iter().map(|change| send(&disk, change)).collect();
            answers.iter().for_each(|answer| answer.recv().unwrap().unwrap());
            let crashed = Ram::holding(ram.0.lock().unwrap().synced.clone());
            assert_eq!(
                held(&open(&crashed)),
                life.held,
                "seed {seed}: step {step} was acknowledged"
            );
            held_since.push((ram.syncs(), after));
        }
    }
    let crashes = ram.0.lock().unwrap().crashes.clone();
    let mut tried = 0;
    for (number, (synced, unsynced)) in crashes.iter().enumerate().skip(held_since[0].0) {
        let before = held_since.iter().rposition(|(syncs, _)| *syncs <= number).unwrap();
        let last = held_since[..=before].iter().rev().find_map(|(_, held)| held.last()).unwrap();
        let since = held_since.get(before + 1).into_iter().flat_map(|(_, held)| held);
        let allowed: BTreeSet<_> = since.chain([last]).cloned().collect();
        for image in images(synced, unsynced, &mut life.dice).into_iter().take(5) {
            let found = held(&open(&Ram::holding(image)));
            let place = format!("seed {seed}, sync {number}");
            assert!(allowed.contains(&found), "{place}: {found:?}, not one of {allowed:?}");
            tried += 1;
        }
    }
    tried
}

#[test]
fn whatever_is_written_a_loss_of_power_leaves_what_was_acknowledged_or_a_beginning_of_the_rest() {
    let tried: usize = (1..=LIVES).map(|seed| lose_power_all_along(seed, false)).sum();
    assert!(tried > 1_000, "{tried}");
}

#[test]
fn so_it_does_when_snapshots_are_written_in_pieces() {
    let bytes = serde_json::to_vec(&Ledger::default()).unwrap().len() / 3 + 1;
    let lives = || (100..100 + LIVES).map(|seed| lose_power_all_along(seed, true)).sum();
    let tried: usize = drafting(bytes, lives);
    assert!(tried > 1_000, "{tried}");
}
