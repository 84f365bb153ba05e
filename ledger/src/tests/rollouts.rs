//! Rollouts, rollbacks and pins, each as the pointer shows it.
//!
//! Not here: guards (`policies/rollout`). Invariant: a rule has a test that fails without it.

use aegis_domain::{AgentId, Region};
use aegis_policy_rollout::{Counts, Guard, Limit, Observed, Progress, Reaction, Stage};

use super::releases::{activate, line, published, refused};
use super::*;

fn stage(share: &str, min_s: u64) -> Stage {
    Stage {
        regions: BTreeSet::new(),
        tenants: BTreeSet::new(),
        share: share.parse().unwrap(),
        min_duration: Ttl::from_s(min_s),
        calls_min: 0,
        guards: vec![Guard { limit: Limit::EngineErrors, then: Reaction::RollBack }],
    }
}

fn start(seen: u64, candidate: u32) -> Action {
    let stages = vec![stage("0%", 60), stage("100%", 60)];
    Action::Release(ReleaseAct::Start { line: line(), seen, candidate, stages })
}

fn observe(seen: u64, engine_errors: u64) -> Action {
    let candidate = Counts { calls: 9, engine_errors, ..Counts::default() };
    let observed = Observed { candidate, ..Observed::default() };
    Action::Release(ReleaseAct::Observe { line: line(), seen, observed })
}

fn pause() -> Action {
    Action::Release(ReleaseAct::Pause { line: line(), seen: None })
}

fn resume() -> Action {
    Action::Release(ReleaseAct::Resume { line: line(), seen: None })
}

fn abort() -> Action {
    Action::Release(ReleaseAct::Abort { line: line(), seen: None })
}

fn roll_back(to: Option<u32>) -> Action {
    Action::Release(ReleaseAct::Rollback { line: line(), seen: None, to })
}

fn pin() -> Action {
    Action::Release(ReleaseAct::Pin { line: line(), seen: None })
}

fn unpin() -> Action {
    Action::Release(ReleaseAct::Unpin { line: line(), seen: None })
}

impl Desk {
    fn pointer(&self) -> &Pointer {
        self.ledger.releases().line(&line()).unwrap().pointer().unwrap()
    }

    /// Which version decides for some agent.
    fn decider(&self) -> u32 {
        let (region, agent) = (Region::parse("eu-west-1").unwrap(), AgentId::parse("bot").unwrap());
        self.pointer().decider(&region, &tenant(), &agent)
    }

    fn progress(&self) -> Progress {
        self.pointer().rollout.as_ref().unwrap().progress
    }
}

#[test]
fn a_candidate_goes_through_its_stages_and_becomes_the_active_version() {
    let mut desk = published(2);
    desk.act(activate(0, 1), at(0)).unwrap();
    assert_eq!(desk.act(start(0, 2), at(1)), refused(ReleaseRefusal::Moved { epoch: 1 }));
    assert_eq!(desk.act(start(1, 1), at(1)), refused(ReleaseRefusal::ActiveAlready));
    assert_eq!(desk.act(start(1, 3), at(1)), refused(ReleaseRefusal::VersionUnknown));
    desk.act(start(1, 2), at(1)).unwrap();
    assert_eq!(desk.act(start(2, 2), at(1)), refused(ReleaseRefusal::RolloutRuns));
    assert_eq!(desk.decider(), 1, "the first stage serves nobody");
    assert_eq!(desk.act(observe(2, 0), at(60)), refused(ReleaseRefusal::NothingToDo));
    assert_eq!(desk.act(observe(1, 0), at(61)), refused(ReleaseRefusal::Moved { epoch: 2 }));
    desk.act(observe(2, 0), at(61)).unwrap();
    assert_eq!((desk.decider(), desk.pointer().choice.active), (2, 1));
    assert_eq!(desk.act(observe(3, 0), at(121)), Ok(Outcome::Epoch(4)));
    assert_eq!((desk.progress(), desk.pointer().choice.active), (Progress::Complete, 2));
    assert_eq!(desk.act(observe(4, 1), at(122)), refused(ReleaseRefusal::NothingToDo));
    assert_eq!(desk.act(roll_back(None), at(123)), Ok(Outcome::Epoch(5)));
    assert_eq!(desk.decider(), 1);
}

#[test]
fn a_breached_guard_takes_the_candidate_back_for_good() {
    let mut desk = published(2);
    desk.act(activate(0, 1), at(0)).unwrap();
    desk.act(start(1, 2), at(0)).unwrap();
    desk.act(observe(2, 0), at(60)).unwrap();
    assert_eq!(desk.decider(), 2);
    desk.act(observe(3, 1), at(61)).unwrap();
    assert_eq!(desk.progress(), Progress::RolledBack { by: Limit::EngineErrors });
    assert_eq!(desk.decider(), 1);
    for act in [resume(), pause(), abort()] {
        assert_eq!(desk.act(act, at(62)), refused(ReleaseRefusal::NoRollout));
    }
    // Who asks just after the guard did it does not lose the stable version as well.
    assert_eq!(desk.act(roll_back(None), at(62)), refused(ReleaseRefusal::NothingToDo));
    let before = desk.pointer().rollout.clone().unwrap();
    desk.act(start(4, 2), at(63)).unwrap();
    assert_ne!(desk.pointer().rollout.as_ref().unwrap().plan.id(), before.plan.id());
}

#[test]
fn a_paused_rollout_gains_no_agents_but_its_guards_still_act() {
    let mut desk = published(2);
    desk.act(activate(0, 1), at(0)).unwrap();
    desk.act(start(1, 2), at(0)).unwrap();
    desk.act(pause(), at(1)).unwrap();
    assert_eq!(desk.act(pause(), at(1)), refused(ReleaseRefusal::NothingToDo));
    assert_eq!(desk.act(observe(3, 0), at(600)), refused(ReleaseRefusal::NothingToDo));
    desk.act(resume(), at(600)).unwrap();
    assert_eq!(desk.act(observe(4, 0), at(659)), refused(ReleaseRefusal::NothingToDo));
    desk.act(observe(4, 0), at(660)).unwrap();
    desk.act(pause(), at(661)).unwrap();
    desk.act(observe(6, 1), at(662)).unwrap();
    assert_eq!(desk.decider(), 1);
}

#[test]
fn a_rollback_leads_to_what_decided_before_and_to_nothing_else() {
    let mut desk = published(4);
    assert_eq!(desk.act(roll_back(None), at(0)), refused(ReleaseRefusal::NothingActive));
    for (seen, active) in [(0, 1), (1, 2), (2, 3)] {
        desk.act(activate(seen, active), at(0)).unwrap();
    }
    assert_eq!(desk.act(roll_back(Some(4)), at(1)), refused(ReleaseRefusal::NeverActive));
    desk.act(roll_back(None), at(1)).unwrap();
    assert_eq!(desk.decider(), 2);
    desk.act(roll_back(None), at(2)).unwrap();
    assert_eq!(desk.decider(), 1, "a second rollback goes on, not forward again");
    assert_eq!(desk.act(roll_back(None), at(3)), refused(ReleaseRefusal::NeverActive));
    for (seen, active) in [(5, 2), (6, 3)] {
        desk.act(activate(seen, active), at(4)).unwrap();
    }
    desk.act(roll_back(Some(1)), at(5)).unwrap();
    assert_eq!((desk.decider(), desk.pointer().epoch), (1, 8));
}

#[test]
fn a_rollback_during_a_rollout_takes_the_candidate_back_and_leaves_the_stable_version() {
    let mut desk = published(3);
    desk.act(activate(0, 1), at(0)).unwrap();
    desk.act(activate(1, 2), at(0)).unwrap();
    desk.act(start(2, 3), at(0)).unwrap();
    desk.act(roll_back(None), at(1)).unwrap();
    assert_eq!((desk.progress(), desk.decider()), (Progress::Aborted, 2));
}

#[test]
fn a_pinned_line_moves_by_a_rollback_only() {
    let mut desk = published(3);
    desk.act(activate(0, 1), at(0)).unwrap();
    desk.act(activate(1, 2), at(0)).unwrap();
    desk.act(start(2, 3), at(0)).unwrap();
    desk.act(pin(), at(1)).unwrap();
    for act in [activate(4, 1), pin(), resume()] {
        assert_eq!(desk.act(act, at(2)), refused(ReleaseRefusal::Pinned));
    }
    assert_eq!(desk.act(observe(4, 0), at(60)), refused(ReleaseRefusal::NothingToDo));
    desk.act(roll_back(Some(1)), at(61)).unwrap();
    assert_eq!(desk.decider(), 1);
    assert_eq!(desk.act(start(5, 3), at(62)), refused(ReleaseRefusal::Pinned));
    desk.act(unpin(), at(63)).unwrap();
    assert_eq!(desk.act(unpin(), at(63)), refused(ReleaseRefusal::NotPinned));
    desk.act(start(6, 3), at(64)).unwrap();
}

#[test]
fn the_contents_that_a_rollback_leads_to_are_kept() {
    let mut desk = published(9);
    desk.act(activate(0, 1), at(0)).unwrap();
    desk.act(activate(1, 9), at(0)).unwrap();
    let content = b"later".to_vec();
    let store = ReleaseAct::Store { digest: Hash::of(&content), content };
    desk.act(Action::Release(store), at(7_200)).unwrap();
    desk.act(roll_back(None), at(7_201)).unwrap();
    assert_eq!(desk.decider(), 1);
}

#[test]
fn a_pointer_overtakes_the_epochs_that_gateways_hold_and_stays_what_it_is() {
    let overtake = |seen, past| Action::Release(ReleaseAct::Overtake { line: line(), seen, past });
    let mut desk = published(2);
    assert_eq!(desk.act(overtake(None, 9), at(0)), refused(ReleaseRefusal::NothingActive));
    desk.act(activate(0, 1), at(1)).unwrap();
    desk.act(start(1, 2), at(2)).unwrap();
    let before = desk.pointer().clone();
    assert_eq!(desk.act(overtake(Some(1), 9), at(3)), refused(ReleaseRefusal::Moved { epoch: 2 }));
    assert_eq!(desk.act(overtake(None, 1), at(3)), refused(ReleaseRefusal::NothingToDo));
    let far = overtake(None, u64::MAX);
    assert_eq!(desk.act(far, at(3)), refused(ReleaseRefusal::TooFar), "none would come after it");
    assert_eq!(desk.pointer(), &before);
    desk.act(overtake(Some(2), 12), at(4)).unwrap();
    let by = desk.pointer().by.clone();
    assert_eq!(desk.pointer(), &Pointer { epoch: 13, at: at(4), by, ..before });
    assert_eq!(overtake(None, 12).level(), 5, "voters of before cannot read it");
    desk.act(activate(13, 2), at(5)).unwrap();
    assert_eq!(desk.pointer().epoch, 14);
}
