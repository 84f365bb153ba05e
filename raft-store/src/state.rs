//! The ledger in memory, and who waits for it to move on.
//!
//! Not here: Raft (`machine`). Invariant: whoever is told of a change can read it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aegis_ledger::{Answer, Batch, Checkpoint, Ledger, Outcome, Refusal};
use aegis_registry::{ClientId, Event, Fingerprint, Origin};
use parking_lot::{MappedRwLockReadGuard, Mutex, RwLock, RwLockReadGuard};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::clocks::Clocks;
use crate::host;
#[cfg(test)]
use crate::tests::sim::{Bug, planted};
use crate::types::{LogId, Membership};

/// How many entries lie between two hashes of the state.
pub(crate) const CHECKPOINT_EVERY: u64 = 1_000;
/// A voter further behind than this compares again when it has caught up.
const CHECKPOINTS_KEPT: usize = 8;
/// How many events of the registry a follower may be behind before it is sent the whole view.
const EVENTS_KEPT: usize = 4_096;

#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) ledger: Ledger,
    pub(crate) applied: Option<LogId>,
    pub(crate) membership: Membership,
}

/// Who waits, by client and number; one key of a client's may be used for two requests, and each hears of its own.
type Waiters = BTreeMap<(ClientId, u64), Vec<(Fingerprint, oneshot::Sender<Answer>)>>;

/// What comes of it when two voters' states are held against each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Agreement {
    /// They are the same, or of different entries.
    Same,
    /// One of the two is wrong, and it is not known which.
    Undecided,
    /// Most voters have a state other than this one.
    Diverged,
}

#[derive(Debug)]
pub(crate) struct Shared {
    state: RwLock<State>,
    waiters: Mutex<Waiters>,
    events: Mutex<VecDeque<Event>>,
    checkpoints: Arc<Mutex<VecDeque<Checkpoint>>>,
    /// What other voters said of theirs, the newest at the end.
    told: Mutex<BTreeMap<u64, VecDeque<Checkpoint>>>,
    serial: watch::Sender<u64>,
    /// When a leader was last heard; before the first time, when this node began.
    led: Mutex<Instant>,
    clocks: Clocks,
    released: watch::Sender<u64>,
    /// Set while this leader lets nothing into the log, so that another can hold all of it.
    handing_over: AtomicBool,
    /// Set for good once another voter says that this one was taken out.
    dismissed: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn new(state: State) -> Self {
        let serial = watch::Sender::new(state.ledger.registry().view().serial());
        let released = watch::Sender::new(state.ledger.released());
        Self {
            state: RwLock::new(state),
            waiters: Mutex::default(),
            events: Mutex::default(),
            checkpoints: Arc::default(),
            told: Mutex::default(),
            serial,
            led: Mutex::new(Instant::now()),
            clocks: Clocks::default(),
            released,
            handing_over: AtomicBool::new(false),
            dismissed: watch::Sender::new(false),
        }
    }

    pub(crate) fn is_handing_over(&self) -> bool {
        self.handing_over.load(Ordering::Acquire)
    }

    pub(crate) fn set_handing_over(&self, is_so: bool) {
        self.handing_over.store(is_so, Ordering::Release);
    }

    pub(crate) fn note_dismissed(&self) {
        self.dismissed.send_if_modified(|known| !std::mem::replace(known, true));
    }

    /// Waits until this voter hears that it was taken out.
    pub(crate) async fn dismissal(&self) {
        let mut dismissed = self.dismissed.subscribe();
        // Its sender lives as long as this.
        dismissed.wait_for(|known| *known).await.ok();
    }

    pub(crate) fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    pub(crate) fn note_led(&self) {
        *self.led.lock() = Instant::now();
    }

    pub(crate) fn led_ago(&self) -> Duration {
        self.led.lock().elapsed()
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read()
    }

    pub(crate) fn ledger(&self) -> MappedRwLockReadGuard<'_, Ledger> {
        RwLockReadGuard::map(self.state.read(), |state| &state.ledger)
    }

    /// The serial of the registry's last event, as it changes.
    pub(crate) fn serial(&self) -> watch::Receiver<u64> {
        self.serial.subscribe()
    }

    /// The revision that last changed what is released where, as it changes.
    pub(crate) fn released(&self) -> watch::Receiver<u64> {
        self.released.subscribe()
    }

    /// The registry's events after a serial, at most `max`; `None` where they are no longer at hand.
    pub(crate) fn events_after(&self, serial: u64, max: usize) -> Option<Vec<Event>> {
        let events = self.events.lock();
        let next = serial.saturating_add(1);
        let Some(first) = events.front() else {
            return (serial == *self.serial.borrow()).then(Vec::new);
        };
        if next < first.serial {
            return None;
        }
        Some(events.iter().filter(|event| event.serial >= next).take(max).cloned().collect())
    }

    /// Has the answer to a command sent here when it is applied, whoever brings it into the log.
    pub(crate) fn wait(&self, origin: &Origin) -> oneshot::Receiver<Answer> {
        let (told, answer) = oneshot::channel();
        let mut waiters = self.waiters.lock();
        // Those who gave up are let go here, so what is held is bounded by what is in flight.
        waiters.retain(|_, waiting| {
            waiting.retain(|(_, told)| !told.is_closed());
            !waiting.is_empty()
        });
        let Origin { client, serial, request } = origin.clone();
        waiters.entry((client, serial)).or_default().push((request, told));
        answer
    }

    /// Moves on by an entry that changes nothing but who votes.
    pub(crate) fn pass(&self, id: LogId, membership: Option<Membership>) {
        let mut state = self.state.write();
        state.applied = Some(id);
        state.membership = membership.unwrap_or_else(|| state.membership.clone());
        self.check(&state, id);
    }

    pub(crate) fn apply(&self, id: LogId, batch: &Batch) {
        let mut state = self.state.write();
        let before = state.ledger.registry().view().serial();
        let answers = state.ledger.apply(batch);
        state.applied = Some(id);
        let now = (state.ledger.registry().view().serial(), state.ledger.released());
        self.check(&state, id);
        drop(state);
        answers.iter().for_each(|answer| self.remember(answer, before));
        self.tell(now);
        let mut waiters = self.waiters.lock();
        for (command, answer) in batch.commands.iter().zip(answers) {
            let Origin { client, serial, request } = &command.origin;
            // A copy that comes late says nothing of the first, which may have been applied where only a snapshot tells of it:
            // whoever waits hears that nobody knows.
            if answer == Err(Refusal::Stale) {
                waiters.remove(&(client.clone(), *serial));
                continue;
            }
            let Some(waiting) = waiters.get_mut(&(client.clone(), *serial)) else { continue };
            for (_, told) in waiting.extract_if(.., |(wanted, _)| wanted == request) {
                // Who gave up waiting is told nothing.
                drop(told.send(answer.clone()));
            }
        }
    }

    /// Puts another state in the place of this one. What happened in between was never seen here.
    pub(crate) fn replace(&self, state: State) {
        let now = (state.ledger.registry().view().serial(), state.ledger.released());
        *self.state.write() = state;
        #[cfg(test)]
        if planted(Bug::EventsKept) {
            return self.tell(now);
        }
        self.events.lock().clear();
        self.tell(now);
    }

    fn tell(&self, (serial, released): (u64, u64)) {
        for (watched, now) in [(&self.serial, serial), (&self.released, released)] {
            watched.send_if_modified(|held| {
                let is_later = now > *held;
                *held = now;
                is_later
            });
        }
    }

    /// A command that was sent again brings an event of before, and with it a gap: what came between is not at hand where it
    /// was part of a snapshot, or of the state that this voter began with.
    fn remember(&self, answer: &Answer, before: u64) {
        let Ok(Outcome::Registry(event)) = answer else { return };
        if event.serial <= before {
            return;
        }
        let mut events = self.events.lock();
        // Sent twice in one batch, it is answered twice.
        if events.back().is_some_and(|last| event.serial <= last.serial) {
            return;
        }
        if events.len() >= EVENTS_KEPT {
            events.pop_front();
        }
        events.push_back(event.as_ref().clone());
    }

    /// A large ledger takes seconds to be hashed, in which nothing would be applied: a leader would lose its lease. So a copy is
    /// hashed, which shares with it what is large.
    fn check(&self, state: &State, id: LogId) {
        if !id.index.is_multiple_of(CHECKPOINT_EVERY) {
            return;
        }
        let (ledger, checkpoints) = (state.ledger.clone(), Arc::clone(&self.checkpoints));
        host::aside(move || {
            let checkpoint = Checkpoint { index: id.index, hash: ledger.hash() };
            let mut checkpoints = checkpoints.lock();
            if checkpoints.len() >= CHECKPOINTS_KEPT {
                checkpoints.pop_front();
            }
            checkpoints.push_back(checkpoint);
        });
    }

    pub(crate) fn checkpoint(&self) -> Option<Checkpoint> {
        self.checkpoints.lock().back().copied()
    }

    /// Holds a voter's state against this one's after the same entry, and against what the others said of theirs.
    pub(crate) fn compare(&self, from: u64, theirs: Checkpoint) -> Agreement {
        let voters: BTreeSet<u64> = self.read().membership.membership().voter_ids().collect();
        let mut told = self.told.lock();
        told.retain(|voter, _| voters.contains(voter));
        if voters.contains(&from) {
            let of = told.entry(from).or_default();
            if of.back() != Some(&theirs) {
                if of.len() >= CHECKPOINTS_KEPT {
                    of.pop_front();
                }
                of.push_back(theirs);
            }
        }
        let is_another = |own: &Checkpoint| own.index == theirs.index && own.hash != theirs.hash;
        if !self.checkpoints.lock().iter().any(is_another) {
            return Agreement::Same;
        }
        let alike = told.values().filter(|of| of.contains(&theirs)).count();
        if alike > voters.len() / 2 { Agreement::Diverged } else { Agreement::Undecided }
    }
}

#[cfg(test)]
mod tests {
    use aegis_domain::Timestamp;
    use aegis_ledger::{Action, Command, VoterAct};
    use aegis_registry::Actor;

    use super::*;

    #[test]
    fn a_copy_that_comes_after_later_commands_tells_its_waiter_nothing() {
        let shared = Shared::new(State::default());
        let origin = |serial| Origin {
            client: ClientId::of(b"process"),
            serial,
            request: Fingerprint::of(b"request"),
        };
        let batch = |serials: &[u64]| Batch {
            at: Timestamp::from_unix_s(1),
            commands: serials.iter().map(|serial| admit(origin(*serial))).collect(),
        };
        let id = |index| LogId::new(openraft::CommittedLeaderId::new(1, 1), index);
        let (mut first, mut second) = (shared.wait(&origin(1)), shared.wait(&origin(2)));
        // The first copy is part of a snapshot, which tells nobody.
        let mut ledger = Ledger::default();
        ledger.apply(&batch(&[1, 2]));
        shared.replace(State { ledger, applied: Some(id(1)), ..State::default() });

        shared.apply(id(2), &batch(&[1, 2]));
        assert!(matches!(first.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
        assert_eq!(second.try_recv().unwrap(), Ok(Outcome::Voter(2)), "the last one is remembered");
    }

    fn admit(origin: Origin) -> Command {
        let by = Actor::parse("tester").unwrap();
        Command { origin, by, action: Action::Voter(VoterAct::Admit { address: "a:7400".into() }) }
    }

    #[test]
    fn a_state_that_differs_after_the_same_entry_is_noticed() {
        let shared = Shared::new(State::default());
        let id = LogId::new(openraft::CommittedLeaderId::new(1, 1), CHECKPOINT_EVERY);
        let voters = openraft::Membership::new(vec![BTreeSet::from([1, 2, 3])], ());
        shared.pass(id, Some(Membership::new(Some(id), voters)));
        let own = shared.checkpoint().unwrap();
        assert_eq!(shared.compare(2, own), Agreement::Same);
        let other = Checkpoint { hash: aegis_audit_chain::Hash::of(b"another"), ..own };
        assert_eq!(shared.compare(9, other), Agreement::Undecided);
        assert_eq!(shared.compare(9, other), Agreement::Undecided, "9 is no voter");
        assert_eq!(shared.compare(2, other), Agreement::Undecided, "one against one");
        assert_eq!(shared.compare(2, other), Agreement::Undecided, "the same one again");
        assert_eq!(shared.compare(3, other), Agreement::Diverged);
        assert_eq!(shared.compare(3, Checkpoint { index: 7, ..other }), Agreement::Same);
    }
}
