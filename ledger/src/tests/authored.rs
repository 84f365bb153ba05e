//! Lines of another region: taken as they were numbered, followed, and kept back where this region says so.
//!
//! Not here: hearing of them (`control`). Invariant: the author is a ledger of its own, and what is brought is what it holds.

use aegis_domain::Region;
use aegis_policy_rollout::{Counts, Guard, Limit, Observed, Progress, Reaction, Stage};

use super::releases::{activate, line, published, refused};
use super::*;

/// A region that follows, and the one that it follows.
struct Two {
    there: Desk,
    here: Desk,
}

fn author() -> Region {
    Region::parse("eu-west-1").unwrap()
}

fn of(act: impl FnOnce(LineKey) -> ReleaseAct) -> Action {
    Action::Release(act(line()))
}

fn roll_back() -> Action {
    of(|line| ReleaseAct::Rollback { line, seen: None, to: None })
}

fn pin() -> Action {
    of(|line| ReleaseAct::Pin { line, seen: None })
}

fn unpin() -> Action {
    of(|line| ReleaseAct::Unpin { line, seen: None })
}

fn pointer(desk: &Desk) -> &Pointer {
    desk.ledger.releases().line(&line()).unwrap().pointer().unwrap()
}

fn stage(share: &str) -> Stage {
    let limit = Limit::DenyRateDelta("1%".parse().unwrap());
    Stage {
        regions: BTreeSet::new(),
        tenants: BTreeSet::new(),
        share: share.parse().unwrap(),
        min_duration: Ttl::from_s(0),
        calls_min: 1,
        guards: vec![
            Guard { limit, then: Reaction::Hold },
            Guard { limit: Limit::EngineErrors, then: Reaction::RollBack },
        ],
    }
}

/// What both versions of a rollout did: of ten calls each, the candidate denied some and failed at some.
fn observe(seen: u64, denied: u64, engine_errors: u64) -> Action {
    let stable = Counts { calls: 10, ..Counts::default() };
    let candidate = Counts { denied, engine_errors, ..stable };
    of(|line| ReleaseAct::Observe { line, seen, observed: Observed { stable, candidate } })
}

impl Two {
    fn with(versions: u32) -> Self {
        Self { there: published(versions), here: Desk::default() }
    }

    fn activate(&mut self, active: u32) {
        let line = self.there.ledger.releases().line(&line()).unwrap();
        let seen = line.pointer().map_or(0, |pointer| pointer.epoch);
        self.there.act(activate(seen, active), at(1)).unwrap();
    }

    fn start(&mut self, candidate: u32) {
        let (seen, stages) = (pointer(&self.there).epoch, vec![stage("0%"), stage("100%")]);
        let start = of(|line| ReleaseAct::Start { line, seen, candidate, stages });
        self.there.act(start, at(2)).unwrap();
    }

    fn observe(&mut self, denied: u64, engine_errors: u64) -> Answer {
        self.here.act(observe(pointer(&self.here).epoch, denied, engine_errors), at(3))
    }

    /// What the author would have taken now.
    fn said(&self) -> Taking {
        let held = self.there.ledger.releases().line(&line()).unwrap();
        let pointer = held.pointer().unwrap().clone();
        let brought = |number| {
            let version = held.version(number).unwrap();
            Brought { number, bundle: version.bundle, source: version.source }
        };
        let versions = pointer.versions().map(brought).collect();
        let (revision, keys) = (self.there.ledger.released(), "{\"keys\":[]}".into());
        Taking { line: line(), author: author(), revision, keys, pointer, versions }
    }

    fn bring(&mut self, taking: &Taking) -> Answer {
        for brought in &taking.versions {
            let held = self.there.ledger.releases().content(brought.bundle);
            if let Some(content) = held.map(|content| content.bytes.to_vec()) {
                let store = ReleaseAct::Store { digest: brought.bundle, content };
                self.here.act(Action::Release(store), at(3)).unwrap();
            }
        }
        self.here.act(Action::Release(ReleaseAct::Take(Box::new(taking.clone()))), at(3))
    }

    fn pull(&mut self) {
        let said = self.said();
        self.bring(&said).unwrap();
    }

    fn active(&self) -> u32 {
        pointer(&self.here).choice.active
    }

    fn progress(&self) -> Progress {
        pointer(&self.here).rollout.as_ref().unwrap().progress
    }
}

#[test]
fn a_version_is_taken_with_its_number_and_its_digests_and_the_line_is_the_authors() {
    let mut two = Two::with(4);
    two.activate(3);
    two.pull();
    let held = two.here.ledger.releases().line(&line()).unwrap();
    let (there, here) = (two.there.ledger.releases().line(&line()).unwrap(), held);
    assert_eq!(here.versions().map(|(number, _)| number).collect::<Vec<_>>(), [3]);
    let digests = |line: &Line| line.version(3).map(|it| (it.bundle, it.source));
    assert_eq!(digests(here), digests(there));
    assert_eq!(two.active(), 3);
    let theirs = refused(ReleaseRefusal::Authored { author: author() });
    let publish = ReleaseAct::Publish {
        line: line(),
        number: 4,
        bundle: Hash::of(&3_u32.to_be_bytes()),
        source: Hash::of(b"source"),
    };
    assert_eq!(two.here.act(Action::Release(publish), at(4)), theirs);
    assert_eq!(two.here.act(activate(1, 3), at(4)), theirs);
    let other = Taking { author: Region::parse("us-east-1").unwrap(), ..two.said() };
    assert_eq!(two.bring(&other), theirs);
}

#[test]
fn nothing_is_taken_twice_nor_from_an_author_that_was_set_back() {
    let mut two = Two::with(3);
    two.activate(1);
    let old = two.said();
    two.activate(2);
    two.pull();
    let (before, said) = (pointer(&two.here).clone(), two.said());
    assert_eq!(two.bring(&said), refused(ReleaseRefusal::NothingToDo));
    let set_back = ReleaseRefusal::AuthorSetBack { epoch: 1, held: 2 };
    assert_eq!(two.bring(&old), refused(set_back));
    let mut forked = said.clone();
    forked.pointer.by = Actor::parse("somebody else").unwrap();
    assert_eq!(two.bring(&forked), refused(ReleaseRefusal::AuthorForked { epoch: 2 }));
    two.activate(3);
    let mut other = two.said();
    other.pointer.choice.active = 2;
    other.versions = vec![Brought { bundle: Hash::of(&1_u32.to_be_bytes()), ..said.versions[0] }];
    two.here.act(Action::Release(store(1)), at(3)).unwrap();
    assert_eq!(two.bring(&other), refused(ReleaseRefusal::NumberTaken { number: 2 }));
    assert_eq!(*pointer(&two.here), before, "a refusal changes nothing");
    let own = published(1);
    let mut two = Two { there: two.there, here: own };
    let said = two.said();
    assert_eq!(two.bring(&said), refused(ReleaseRefusal::OwnVersions));
}

fn store(number: u32) -> ReleaseAct {
    let content = number.to_be_bytes();
    ReleaseAct::Store { digest: Hash::of(&content), content: content.to_vec() }
}

#[test]
fn a_pinned_line_stays_and_unpinned_it_is_where_its_author_is() {
    let mut two = Two::with(3);
    two.activate(1);
    two.pull();
    two.here.act(pin(), at(4)).unwrap();
    for version in [2, 3] {
        two.activate(version);
        two.pull();
        assert_eq!(two.active(), 1);
    }
    let epoch = pointer(&two.here).epoch;
    two.here.act(unpin(), at(5)).unwrap();
    assert_eq!(two.active(), 3);
    assert!(pointer(&two.here).epoch > epoch);
    assert_eq!(two.here.act(unpin(), at(6)), refused(ReleaseRefusal::NotPinned));
}

#[test]
fn what_was_rolled_back_here_stays_back_until_its_author_points_elsewhere() {
    let mut two = Two::with(3);
    for version in [1, 2] {
        two.activate(version);
        two.pull();
    }
    two.here.act(roll_back(), at(4)).unwrap();
    assert_eq!(two.active(), 1);
    // A later epoch of the same version is no reason to go forward again.
    two.there.act(pin(), at(4)).unwrap();
    two.pull();
    assert_eq!(two.active(), 1);
    two.there.act(unpin(), at(4)).unwrap();
    two.activate(3);
    two.pull();
    assert_eq!(two.active(), 3);
    two.activate(2);
    two.pull();
    assert_eq!(two.active(), 2, "its author chose it anew");
    two.here.act(roll_back(), at(5)).unwrap();
    assert_eq!(two.active(), 3);
    two.here.act(unpin(), at(6)).unwrap();
    assert_eq!(two.active(), 2, "whoever unpins follows the author again");
}

#[test]
fn a_rollout_gains_agents_by_its_author_alone_and_is_held_and_taken_back_by_what_is_seen_here() {
    let mut two = Two::with(3);
    two.activate(1);
    two.start(2);
    two.pull();
    assert!(matches!(two.progress(), Progress::Running { stage: 0, .. }));
    // Here all is well, and that moves nothing; a breach holds it, though it goes on there.
    assert_eq!(two.observe(0, 0), refused(ReleaseRefusal::NothingToDo));
    two.observe(9, 0).unwrap();
    assert!(matches!(two.progress(), Progress::Held { stage: 0, .. }));
    let seen = pointer(&two.there).epoch;
    two.there.act(observe(seen, 0, 0), at(4)).unwrap();
    two.pull();
    assert!(matches!(two.progress(), Progress::Held { stage: 0, .. }));
    // Let go of, it is where its author is; from there it is taken back here, and goes on there to its end.
    two.observe(0, 0).unwrap();
    assert!(matches!(two.progress(), Progress::Running { stage: 1, .. }));
    two.observe(0, 1).unwrap();
    assert!(matches!(two.progress(), Progress::RolledBack { .. }));
    let seen = pointer(&two.there).epoch;
    two.there.act(observe(seen, 0, 0), at(5)).unwrap();
    assert_eq!(pointer(&two.there).choice.active, 2);
    two.pull();
    assert_eq!(two.active(), 1);
    two.activate(3);
    two.pull();
    assert_eq!(two.active(), 3);
}

#[test]
fn a_paused_rollout_waits_here_and_ends_when_its_author_takes_it_back() {
    let mut two = Two::with(2);
    two.activate(1);
    two.start(2);
    two.pull();
    two.here.act(of(|line| ReleaseAct::Pause { line, seen: None }), at(4)).unwrap();
    let seen = pointer(&two.there).epoch;
    two.there.act(observe(seen, 0, 0), at(4)).unwrap();
    two.pull();
    assert!(matches!(two.progress(), Progress::Running { stage: 0, .. }));
    let mut resumed = Two { there: two.there.clone(), here: two.here.clone() };
    resumed.here.act(of(|line| ReleaseAct::Resume { line, seen: None }), at(5)).unwrap();
    assert!(matches!(resumed.progress(), Progress::Running { stage: 1, .. }));
    two.there.act(of(|line| ReleaseAct::Abort { line, seen: None }), at(5)).unwrap();
    two.pull();
    assert_eq!((two.progress(), two.active()), (Progress::Aborted, 1));
}

#[test]
fn other_keys_of_the_author_are_told_to_gateways_though_it_points_where_it_did() {
    let mut two = Two::with(1);
    two.activate(1);
    two.pull();
    let epoch = pointer(&two.here).epoch;
    let other = Taking { keys: "{\"keys\":[{}]}".into(), ..two.said() };
    two.bring(&other).unwrap();
    let line = two.here.ledger.releases().line(&line()).unwrap();
    assert_eq!(line.author().unwrap().keys, other.keys);
    assert!(pointer(&two.here).epoch > epoch, "else they would not hear of it");
}

#[test]
fn a_line_that_is_withdrawn_loses_its_contents_and_comes_back_at_a_later_epoch() {
    let mut two = Two::with(1);
    two.activate(1);
    two.pull();
    let withdraw = |revision| of(|line| ReleaseAct::Withdraw { line, author: author(), revision });
    let revision = two.said().revision;
    assert_eq!(two.here.act(withdraw(revision - 1), at(4)), refused(ReleaseRefusal::NothingToDo));
    two.here.act(withdraw(revision + 1), at(4)).unwrap();
    let bundle = two.said().versions[0].bundle;
    assert!(two.here.ledger.releases().content(bundle).is_none());
    let epoch = pointer(&two.here).epoch;
    two.pull();
    assert!(pointer(&two.here).epoch > epoch);
    let line = two.here.ledger.releases().line(&line()).unwrap();
    assert!(!line.author().unwrap().is_withdrawn);
}
