//! What clients asked and heard, and whether a ledger could have answered so.
//!
//! Not here: what voters did (`oracle`). Invariant: instants are the order in which this process saw calls and replies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aegis_ledger::{Answer, ApprovalState, Ledger, Outcome};
use aegis_linear::{Grant, GrantCall, Of, Operation, Pointer, PointerCall, Verdict, check_by};
use parking_lot::Mutex;

use super::wishes::grant_key;

/// Far more than any history of a simulation has needed.
const CONFIGURATIONS_MAX: usize = 2_000_000;

#[derive(Clone, Debug, Default)]
pub(crate) struct History(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    instant: AtomicU64,
    pointers: Mutex<Vec<(u64, Of<Pointer>)>>,
    grants: Mutex<Vec<(u64, Of<Grant>)>>,
    answered: Mutex<BTreeMap<String, Answer>>,
    not_sent: Mutex<BTreeSet<String>>,
    unknown: AtomicU64,
}

impl History {
    pub(crate) fn instant(&self) -> u64 {
        self.0.instant.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn pointer(
        &self,
        line: u64,
        call: PointerCall,
        called_at: u64,
        reply: Option<aegis_linear::PointerReply>,
    ) {
        let reply = reply.map(|reply| (reply, self.instant()));
        self.0.pointers.lock().push((line, Operation { call, called_at, reply }));
    }

    pub(crate) fn grant(
        &self,
        key: u64,
        call: GrantCall,
        called_at: u64,
        reply: Option<aegis_linear::GrantReply>,
    ) {
        let reply = reply.map(|reply| (reply, self.instant()));
        self.0.grants.lock().push((key, Operation { call, called_at, reply }));
    }

    pub(crate) fn answered(&self, by: &str, answer: &Answer) {
        self.0.answered.lock().insert(by.to_owned(), answer.clone());
    }

    pub(crate) fn not_sent(&self, by: &str) {
        self.0.not_sent.lock().insert(by.to_owned());
    }

    pub(crate) fn unknown(&self) {
        self.0.unknown.fetch_add(1, Ordering::Relaxed);
    }

    /// How many were answered, were not sent, and are unknown.
    pub(crate) fn counts(&self) -> (usize, usize, u64) {
        let unknown = self.0.unknown.load(Ordering::Relaxed);
        (self.0.answered.lock().len(), self.0.not_sent.lock().len(), unknown)
    }

    /// The rules that were broken between what was told and what the committed log says.
    pub(crate) fn judge(&self, replayed: &BTreeMap<String, Answer>, held: &Ledger) -> Vec<String> {
        let mut broken = Vec::new();
        for (by, answer) in self.0.answered.lock().iter() {
            match replayed.get(by) {
                None => broken.push(format!("what was acknowledged is there: {by}, {answer:?}")),
                Some(applied) if applied != answer => {
                    broken.push(format!(
                        "what was told is what happened: {by}, {answer:?}, {applied:?}"
                    ));
                }
                Some(_) => {}
            }
        }
        for by in self.0.not_sent.lock().iter().filter(|by| replayed.contains_key(*by)) {
            broken.push(format!("what was said not to be sent is not applied: {by}"));
        }
        broken.extend(once(held));
        broken.extend(self.grants_used(held));
        let pointers = std::mem::take(&mut *self.0.pointers.lock());
        for (line, history, verdict) in check_by(&Pointer, pointers, CONFIGURATIONS_MAX) {
            broken.push(format!(
                "pointers are linearizable: line {line}, {}",
                tell(&history, &verdict)
            ));
        }
        let grants = std::mem::take(&mut *self.0.grants.lock());
        for (key, history, verdict) in check_by(&Grant, grants, CONFIGURATIONS_MAX) {
            broken.push(format!("grants are linearizable: {key}, {}", tell(&history, &verdict)));
        }
        broken
    }

    /// A grant that some client was told it had used is used, and no two clients were told so.
    fn grants_used(&self, held: &Ledger) -> Vec<String> {
        let mut users = BTreeMap::<u64, u64>::new();
        for (key, operation) in self.0.grants.lock().iter() {
            let used = operation.call == GrantCall::Use
                && operation
                    .reply
                    .is_some_and(|(reply, _)| reply == aegis_linear::GrantReply::Done);
            *users.entry(*key).or_default() += u64::from(used);
        }
        let wrong = users.into_iter().filter(|(key, users)| {
            let approval = held.approvals().get(&grant_key(*key));
            let is_used = approval
                .is_some_and(|approval| matches!(approval.state, ApprovalState::Consumed { .. }));
            *users > 1 || (*users == 1 && !is_used)
        });
        wrong
            .map(|(key, users)| format!("an override is used once: {key}, {users} times"))
            .collect()
    }
}

/// A command takes effect once: one wish to admit gives out one id.
fn once(held: &Ledger) -> Option<String> {
    let mut wishes = BTreeSet::new();
    let mut voters = held.voters().iter();
    let twice = voters.find(|(_, voter)| {
        voter.address.starts_with(super::wishes::WISHED) && !wishes.insert(voter.address.clone())
    });
    twice.map(|(id, voter)| format!("a command takes effect once: {id}, {}", voter.address))
}

fn tell<C: std::fmt::Debug, R: std::fmt::Debug>(
    history: &[Operation<C, R>],
    verdict: &Verdict,
) -> String {
    let mut text = format!("{verdict:?}");
    for (place, operation) in history.iter().enumerate() {
        text.push_str(&format!("\n  {place}: {operation:?}"));
    }
    text
}

/// Whether an outcome is the epoch that a pointer got.
pub(crate) fn epoch(outcome: &Outcome) -> Option<u64> {
    let Outcome::Epoch(epoch) = outcome else { return None };
    Some(*epoch)
}
