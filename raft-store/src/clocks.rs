//! What time it is in the region: the middle of what its voters' clocks say, so that none of them, the leader's least of all,
//! moves the ledger's time away from what most of them say.
//!
//! The ledger's time never goes back, so a leader whose clock is a day ahead would have every approval expire, and the ledger
//! would stay a day ahead after the clock was set right. Of an even number the earlier of the middle two counts, because time
//! that was missed is made up for and time that was skipped is not.
//! Not here: what the time is for (`ledger`). Invariant: as long as too few clocks are known there is no time, and nothing is
//! written; a voter of a version before this one, which cannot be asked, is not waited for. That it is of one is in the ledger,
//! or it says so itself while without a time nothing can be written there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use aegis_domain::Timestamp;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::host::{self, now};
use crate::state::Shared;
use crate::wire::message::{Request, Response};
use crate::wire::peers::Peers;

type Members = openraft::Membership<u64, openraft::BasicNode>;

/// The feature level from which on a voter tells its time.
pub(crate) const TELLS_TIME: u32 = 4;
const ASK_EVERY: Duration = Duration::from_secs(1);
/// As long as too few are known.
const ASK_AGAIN: Duration = Duration::from_millis(100);
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// How long what a clock said counts: this machine's own oscillator goes on from there, to some microseconds.
const COUNTS_FOR: Duration = Duration::from_secs(30);

/// What the other voters' clocks said last.
#[derive(Debug, Default)]
pub(crate) struct Clocks {
    heard: Mutex<BTreeMap<u64, Heard>>,
    /// When voters last said of themselves that they cannot be asked.
    silent: Mutex<BTreeMap<u64, Instant>>,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    said: Timestamp,
    at: Instant,
}

/// The voters, by whether they can be asked for their time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tellers {
    pub(crate) tell: BTreeSet<u64>,
    pub(crate) silent: BTreeSet<u64>,
    /// How many clocks are enough; while the voters change, a majority of those of before or of those to come.
    pub(crate) quorum: usize,
}

impl Tellers {
    fn of(members: &Members, level: impl Fn(u64) -> Option<u32>) -> Self {
        let can_tell = |id: &u64| level(*id).is_some_and(|it| it >= TELLS_TIME);
        let (tell, silent) = members.voter_ids().partition(can_tell);
        let majorities =
            members.get_joint_config().iter().map(|voters| (voters.len() / 2).saturating_add(1));
        Self { tell, silent, quorum: majorities.min().unwrap_or(1) }
    }
}

impl Clocks {
    /// A voter was asked at `asked` and has answered by now; it looked at its clock half-way.
    fn note(&self, voter: u64, said: Timestamp, asked: Instant) {
        let under_way = asked.elapsed().checked_div(2).unwrap_or_default();
        let heard = Heard { said: later(said, under_way), at: Instant::now() };
        self.silent.lock().remove(&voter);
        self.heard.lock().insert(voter, heard);
    }

    /// A voter wants the ledger to know what it can read; it says so again until it does. What it said counts as long as what a
    /// clock said, because the ledger may come to know better elsewhere.
    pub(crate) fn note_level(&self, voter: u64, level: u32) {
        let mut silent = self.silent.lock();
        if level >= TELLS_TIME {
            silent.remove(&voter);
        } else {
            self.heard.lock().remove(&voter);
            silent.insert(voter, Instant::now());
        }
    }

    /// Takes those who said that they cannot tell for silent.
    fn without_silent(&self, mut tellers: Tellers) -> Tellers {
        let silent = self.silent.lock();
        let counts = silent.iter().filter(|(_, at)| at.elapsed() <= COUNTS_FOR);
        for (voter, _) in counts {
            if tellers.tell.remove(voter) {
                tellers.silent.insert(*voter);
            }
        }
        tellers
    }

    /// What each of them says now, as far as it is known.
    pub(crate) fn read(
        &self,
        own: (u64, Timestamp),
        tellers: &Tellers,
    ) -> BTreeMap<u64, Timestamp> {
        let heard = self.heard.lock();
        let of = |id: &u64| {
            let Heard { said, at } = heard.get(id).filter(|it| it.at.elapsed() <= COUNTS_FOR)?;
            Some((*id, later(*said, at.elapsed())))
        };
        let mut read: BTreeMap<_, _> = tellers.tell.iter().filter_map(of).collect();
        if tellers.tell.contains(&own.0) || tellers.silent.contains(&own.0) {
            read.insert(own.0, own.1);
        }
        read
    }

    /// The region's time, where enough clocks are known.
    pub(crate) fn agreed(&self, own: (u64, Timestamp), tellers: &Tellers) -> Option<Timestamp> {
        let mut read: Vec<_> = self.read(own, tellers).into_values().collect();
        let silent = tellers.silent.iter().filter(|id| **id != own.0).count();
        if read.len().saturating_add(silent) < tellers.quorum {
            return None;
        }
        read.sort_unstable();
        read.get(read.len().checked_sub(1)? / 2).copied()
    }
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    let ns = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
    Timestamp::from_unix_ns(at.unix_ns().saturating_add(ns))
}

/// Asks the other voters for their time, for as long as this one runs.
pub(crate) async fn compare(own: u64, peers: Peers, shared: Arc<Shared>) {
    loop {
        let mut asked = JoinSet::new();
        for (id, address) in shared.others_that_tell(own) {
            let (peers, shared) = (peers.clone(), Arc::clone(&shared));
            let ask = async move {
                let begun = Instant::now();
                let answer = peers.ask((id, &address), Request::Clock, &[]);
                if let Ok(Ok(Response::Clock(ns))) = timeout(ANSWER_WITHIN, answer).await {
                    shared.clocks().note(id, Timestamp::from_unix_ns(ns), begun);
                }
            };
            asked.spawn(host::spawn(ask));
        }
        while asked.join_next().await.is_some() {}
        let is_known = shared.time(own).is_some();
        sleep(if is_known { ASK_EVERY } else { ASK_AGAIN }).await;
    }
}

impl Shared {
    /// The region's time, by this voter's clock and what it heard of the others'.
    pub(crate) fn time(&self, own: u64) -> Option<Timestamp> {
        self.clocks().agreed((own, now()), &self.counted())
    }

    pub(crate) fn clocks_ahead_ms(&self, own: u64) -> BTreeMap<u64, i64> {
        let (own, tellers) = ((own, now()), self.counted());
        let Some(agreed) = self.clocks().agreed(own, &tellers) else { return BTreeMap::new() };
        let ms = |at: Timestamp| i64::try_from(at.unix_ms()).unwrap_or(i64::MAX);
        let ahead = |at: Timestamp| ms(at).saturating_sub(ms(agreed));
        self.clocks().read(own, &tellers).into_iter().map(|(id, at)| (id, ahead(at))).collect()
    }

    /// Whether the voters can find out among themselves whose state is another: each hears all others with their questions for
    /// the time, and there are more than two.
    pub(crate) fn can_be_settled(&self) -> bool {
        let tellers = self.tellers();
        tellers.silent.is_empty() && tellers.tell.len() > 2
    }

    /// Whose clocks count. Who says that it cannot be asked is asked all the same, in case it was of a version since.
    fn counted(&self) -> Tellers {
        self.clocks().without_silent(self.tellers())
    }

    /// As the ledger knows them.
    fn tellers(&self) -> Tellers {
        let state = self.read();
        let voters = state.ledger.voters();
        let level = |id| voters.get(id).map(|voter| voter.level);
        Tellers::of(state.membership.membership(), level)
    }

    fn others_that_tell(&self, own: u64) -> Vec<(u64, String)> {
        let tellers = self.tellers();
        let state = self.read();
        let members = state.membership.membership();
        let others = tellers.tell.into_iter().filter(|id| *id != own);
        others.filter_map(|id| Some((id, members.get_node(&id)?.addr.clone()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Timestamp {
        Timestamp::from_unix_s(s)
    }

    fn tellers(tell: &[u64], silent: &[u64]) -> Tellers {
        let quorum = (tell.len() + silent.len()) / 2 + 1;
        let (tell, silent) = (tell.iter().copied().collect(), silent.iter().copied().collect());
        Tellers { tell, silent, quorum }
    }

    fn heard(said: &[(u64, u64)]) -> Clocks {
        let clocks = Clocks::default();
        said.iter().for_each(|(id, s)| clocks.note(*id, at(*s), Instant::now()));
        clocks
    }

    #[tokio::test(start_paused = true)]
    async fn the_middle_clock_counts_and_of_two_the_earlier() {
        let agreed = |own, others: &[(u64, u64)], tellers| {
            heard(others).agreed((1, at(own)), &tellers).map(|at| at.unix_ns() / 1_000_000_000)
        };
        assert_eq!(agreed(900, &[(2, 100), (3, 101)], tellers(&[1, 2, 3], &[])), Some(101));
        assert_eq!(agreed(5, &[(2, 100), (3, 101)], tellers(&[1, 2, 3], &[])), Some(100));
        assert_eq!(agreed(900, &[(2, 100)], tellers(&[1, 2, 3], &[])), Some(100));
        assert_eq!(agreed(900, &[], tellers(&[1, 2, 3], &[])), None, "one of three is not most");
        assert_eq!(agreed(900, &[], tellers(&[1], &[])), Some(900), "alone");
        assert_eq!(agreed(900, &[], tellers(&[1], &[2, 3])), Some(900), "nobody can be asked");
        assert_eq!(agreed(900, &[], tellers(&[1, 4, 5], &[2, 3])), Some(900));
        assert_eq!(agreed(900, &[(9, 1)], tellers(&[1, 2, 3], &[])), None, "9 is no voter");
    }

    /// Of three one is away for longer than its clock counts, and another comes back as a version that knows no such question:
    /// without a time it cannot have the ledger know that.
    #[tokio::test(start_paused = true)]
    async fn a_voter_that_says_it_cannot_be_asked_is_not_waited_for() {
        let (clocks, tellers) = (heard(&[(2, 100), (3, 101)]), tellers(&[1, 2, 3], &[]));
        let agreed =
            |clocks: &Clocks| clocks.agreed((1, at(900)), &clocks.without_silent(tellers.clone()));
        tokio::time::advance(COUNTS_FOR + Duration::from_secs(1)).await;
        assert_eq!(agreed(&clocks), None);
        clocks.note_level(2, TELLS_TIME);
        assert_eq!(agreed(&clocks), None, "who can be asked has to be");
        clocks.note_level(2, TELLS_TIME - 1);
        assert_eq!(agreed(&clocks), Some(at(900)), "as once the ledger knows it");
        clocks.note(3, at(50), Instant::now());
        assert_eq!(agreed(&clocks), Some(at(50)), "whoever tells counts as ever");
        clocks.note(2, at(70), Instant::now());
        assert_eq!(agreed(&clocks), Some(at(70)), "and so does one that tells again");
        clocks.note_level(2, TELLS_TIME - 1);
        assert_eq!(agreed(&clocks), Some(at(50)), "what it said before is no clock of its own");
        tokio::time::advance(COUNTS_FOR + Duration::from_secs(1)).await;
        assert_eq!(agreed(&clocks), None, "it says so no more");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_clock_said_goes_on_and_counts_no_longer_than_it_is_sure() {
        let clocks = heard(&[(2, 100)]);
        let tellers = tellers(&[1, 2, 3], &[]);
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(clocks.agreed((1, at(900)), &tellers), Some(at(130)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(clocks.agreed((1, at(900)), &tellers), None);
    }
}
