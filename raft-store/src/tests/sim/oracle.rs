//! Knows everything that happens in a simulation and objects as soon as something must not have.
//!
//! Not here: what clients saw (`history`). Invariant: an objection names the rule that was broken, and nothing that a voter
//! does depends on what is known here.
//!
//! openraft orders its leaders by term and node, so one term may see two of them, one after the other; what it promises is that
//! one entry is of one leader and that a vote never goes back, and that is what is watched.

use std::collections::BTreeMap;
use std::sync::Arc;

use aegis_audit_chain::Hash;
use aegis_ledger::{Answer, Batch, Ledger};
use aegis_registry::ClientId;
use openraft::{CommittedLeaderId, EntryPayload};
use parking_lot::Mutex;

use crate::types::{Entry, LogId, Vote};
use crate::wire::message::{Envelope, Request};
use crate::wire::server::follows;

/// After how many entries the states are compared.
const COMPARED_EVERY: u64 = 8;

#[derive(Clone, Debug, Default)]
pub(crate) struct Oracle(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    objections: Vec<String>,
    /// What was applied, by whomever first.
    entries: BTreeMap<u64, (LogId, Vec<u8>)>,
    batches: BTreeMap<u64, Batch>,
    states: BTreeMap<u64, Hash>,
    /// What was ever sent as an entry of a log.
    sent: BTreeMap<LogId, Hash>,
    /// Which entry brought a command first.
    origins: BTreeMap<(ClientId, u64), u64>,
    applied: BTreeMap<u64, u64>,
    votes: BTreeMap<u64, Vote>,
    counts: Counts,
    /// Over everything that was sent or applied, in order.
    trace: u64,
}

/// How much there was to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) messages: u64,
    pub(crate) leaders: usize,
    pub(crate) snapshots: u64,
    pub(crate) crashes: u64,
}

impl Oracle {
    pub(crate) fn object(&self, rule: &str) {
        let mut seen = self.0.lock();
        if !seen.objections.iter().any(|known| known == rule) {
            seen.objections.push(rule.to_owned());
        }
    }

    pub(crate) fn objections(&self) -> Vec<String> {
        self.0.lock().objections.clone()
    }

    pub(crate) fn counts(&self) -> Counts {
        let seen = self.0.lock();
        let leaders: std::collections::BTreeSet<CommittedLeaderId<u64>> =
            seen.entries.values().map(|(id, _)| id.leader_id).collect();
        Counts { leaders: leaders.len(), ..seen.counts }
    }

    /// A number that two equal runs share.
    pub(crate) fn trace(&self) -> u64 {
        self.0.lock().trace
    }

    pub(crate) fn note(&self, bytes: &[u8]) {
        let mut seen = self.0.lock();
        // FNV-1a.
        seen.trace = bytes.iter().fold(seen.trace, |trace, byte| {
            (trace ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    }

    pub(crate) fn crashed(&self, node: u64) {
        let mut seen = self.0.lock();
        seen.counts.crashes += 1;
        seen.applied.remove(&node);
    }

    /// A message that is being sent.
    pub(crate) fn overhear(&self, envelope: &Envelope, message: &[u8]) {
        self.note(message);
        self.0.lock().counts.messages += 1;
        let Request::Append(append) = &envelope.request else { return };
        if !follows(append) {
            self.object("the entries of a message leave none out");
        }
        for entry in &append.entries {
            let hash = Hash::of(&serde_json::to_vec(entry).unwrap());
            let known = *self.0.lock().sent.entry(entry.log_id).or_insert(hash);
            if known != hash {
                self.object("an entry of a leader is one entry");
            }
        }
        if append.vote.leader_id().node_id != envelope.from {
            self.object("only the leader of a vote replicates under it");
        }
    }

    /// A vote that a voter says is saved, and is about to give.
    pub(crate) fn voted(&self, node: u64, vote: Vote) {
        let before = self.0.lock().votes.insert(node, vote);
        if before
            .is_some_and(|before| vote.partial_cmp(&before).is_none_or(std::cmp::Ordering::is_lt))
        {
            self.object("a vote never goes back");
        }
    }

    pub(crate) fn applied(&self, node: u64, entry: &Entry, ledger: &Ledger) {
        let index = entry.log_id.index;
        let bytes = serde_json::to_vec(entry).unwrap();
        self.note(&bytes);
        let before = self.0.lock().applied.insert(node, index);
        if before.is_some_and(|before| before + 1 != index) {
            self.object("entries are applied one after the other");
        }
        let known = {
            let mut seen = self.0.lock();
            if let EntryPayload::Normal(batch) = &entry.payload {
                seen.batches.entry(index).or_insert_with(|| batch.clone());
            }
            seen.entries.entry(index).or_insert_with(|| (entry.log_id, bytes.clone())).clone()
        };
        if known != (entry.log_id, bytes) {
            self.object("a committed entry never changes");
        }
        if index.is_multiple_of(COMPARED_EVERY) {
            let hash = ledger.hash();
            let known = *self.0.lock().states.entry(index).or_insert(hash);
            if known != hash {
                self.object("equal entries make equal states");
            }
        }
    }

    /// Whether it brings a command that an earlier entry brought.
    pub(crate) fn is_copy(&self, entry: &Entry) -> bool {
        let EntryPayload::Normal(batch) = &entry.payload else { return false };
        let mut seen = self.0.lock();
        let mut firsts = batch.commands.iter().map(|command| {
            let origin = (command.origin.client.clone(), command.origin.serial);
            *seen.origins.entry(origin).or_insert(entry.log_id.index)
        });
        firsts.any(|first| first < entry.log_id.index)
    }

    pub(crate) fn installed(&self, node: u64, upto: Option<LogId>) {
        let mut seen = self.0.lock();
        seen.counts.snapshots += 1;
        if let Some(upto) = upto {
            seen.applied.insert(node, upto.index);
        }
    }

    /// What came of every command, by the name it was given under, when the committed log is applied to an empty ledger.
    pub(crate) fn replay(&self) -> (Ledger, BTreeMap<String, Answer>) {
        let seen = self.0.lock();
        let (mut ledger, mut answers) = (Ledger::default(), BTreeMap::new());
        for batch in seen.batches.values() {
            for (command, answer) in batch.commands.iter().zip(ledger.apply(batch)) {
                answers.entry(command.by.to_string()).or_insert(answer);
            }
        }
        (ledger, answers)
    }
}
