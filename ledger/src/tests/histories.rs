//! Random histories under clocks that jump and commands that come twice, against what must hold after each step.
//!
//! Not here: single rules. Invariant: a failing history is printed by proptest, shrunk.

use std::collections::BTreeMap;

use aegis_domain::AgentId;
use aegis_policy_rollout::{Counts, Observed, Progress};
use proptest::prelude::*;

use super::*;

const LINE: &str = "prod";

#[derive(Clone, Debug)]
enum Step {
    Ask(u64, u64),
    Grant(u64),
    Deny(u64),
    Consume(u64, bool),
    Place(u64),
    Store(u8),
    Release(Release),
    Admit,
    Dismiss(u64),
    Revoke(u8),
}

#[derive(Clone, Debug)]
enum Release {
    Publish(u32, u8),
    Activate(u64, u32),
    Start(u64, u32),
    Observe(u64, u64),
    Turn(u8),
}

fn releases() -> impl Strategy<Value = Release> {
    prop_oneof![
        4 => (1..5_u32, 0..3_u8).prop_map(|(number, content)| Release::Publish(number, content)),
        3 => (0..6_u64, 0..5_u32).prop_map(|(seen, active)| Release::Activate(seen, active)),
        3 => (1..8_u64, 1..5_u32).prop_map(|(seen, candidate)| Release::Start(seen, candidate)),
        4 => (1..9_u64, 0..2_u64).prop_map(|(seen, errors)| Release::Observe(seen, errors)),
        4 => (0..6_u8).prop_map(Release::Turn),
    ]
}

fn steps() -> impl Strategy<Value = Vec<(Step, i64, bool)>> {
    let step = prop_oneof![
        2 => (0..3_u64, 1..900_u64).prop_map(|(number, life)| Step::Ask(number, life)),
        2 => (0..3_u64).prop_map(Step::Grant),
        1 => (0..3_u64).prop_map(Step::Deny),
        4 => (0..3_u64, any::<bool>()).prop_map(|(number, right)| Step::Consume(number, right)),
        1 => (0..4_u64).prop_map(Step::Place),
        1 => (0..3_u8).prop_map(Step::Store),
        18 => releases().prop_map(Step::Release),
        1 => Just(Step::Admit),
        1 => (0..5_u64).prop_map(Step::Dismiss),
        1 => (0..3_u8).prop_map(Step::Revoke),
    ];
    proptest::collection::vec((step, -700..700_i64, any::<bool>()), 1..80)
}

fn line() -> LineKey {
    LineKey { tenant: tenant(), environment: Environment::parse(LINE).unwrap() }
}

fn action(step: &Step, now: Timestamp) -> Action {
    match step {
        Step::Ask(number, life_s) => ask(*number, now.plus(Ttl::from_s(*life_s))),
        Step::Grant(number) => grant(*number),
        Step::Deny(number) => Action::Approval(ApprovalAct::Deny { key: key(*number) }),
        Step::Consume(number, right) => {
            consume(*number, if *right { b"call" } else { b"other" }, &["big-payment"])
        }
        Step::Place(seen) => place(*seen, "eu-west-1", &["eu-west-1"]),
        Step::Store(content) => Action::Release(ReleaseAct::Store {
            digest: Hash::of(&[*content]),
            content: vec![*content],
        }),
        Step::Release(release) => Action::Release(act(release)),
        Step::Admit => Action::Voter(VoterAct::Admit { address: "a:7400".into() }),
        Step::Dismiss(id) => Action::Voter(VoterAct::Dismiss { id: *id }),
        Step::Revoke(number) => {
            let target = TenantId::parse(&format!("tenant-{number}")).unwrap();
            let target = aegis_registry::Target::Tenant(target);
            Action::Registry(Box::new(aegis_registry::Action::Revoke { target, issued: None }))
        }
    }
}

fn act(release: &Release) -> ReleaseAct {
    let (line, seen) = (line(), None);
    match release {
        Release::Publish(number, content) => {
            let bundle = Hash::of(&[*content]);
            ReleaseAct::Publish { line, number: *number, bundle, source: bundle }
        }
        Release::Activate(seen, active) => {
            let choice = Choice { active: *active, shadow: None };
            ReleaseAct::Activate { line, seen: *seen, choice }
        }
        Release::Start(seen, candidate) => {
            let share = |text| {
                format!(
                    r#"{{"share":"{text}","min_duration_s":60,"guards":[
                {{"limit":"engine_errors","then":"roll_back"}}]}}"#
                )
            };
            let stages = ["5%", "100%"].map(|text| serde_json::from_str(&share(text)).unwrap());
            ReleaseAct::Start { line, seen: *seen, candidate: *candidate, stages: stages.into() }
        }
        Release::Observe(seen, engine_errors) => {
            let candidate = Counts { calls: 1, engine_errors: *engine_errors, ..Counts::default() };
            let observed = Observed { candidate, ..Observed::default() };
            ReleaseAct::Observe { line, seen: *seen, observed }
        }
        Release::Turn(0) => ReleaseAct::Pause { line, seen },
        Release::Turn(1) => ReleaseAct::Resume { line, seen },
        Release::Turn(2) => ReleaseAct::Abort { line, seen },
        Release::Turn(3) => ReleaseAct::Pin { line, seen },
        Release::Turn(4) => ReleaseAct::Unpin { line, seen },
        Release::Turn(_) => ReleaseAct::Rollback { line, seen, to: None },
    }
}

/// What is remembered outside the ledger to hold it to.
#[derive(Default)]
struct Witness {
    consumed: BTreeMap<ApprovalKey, u32>,
    epochs: Vec<u64>,
    ids: BTreeSet<u64>,
    versions: BTreeMap<u32, Version>,
    /// The ids of rollouts that were taken back.
    taken_back: BTreeSet<String>,
}

impl Witness {
    fn see(&mut self, command: &Command, outcome: &Outcome, ledger: &Ledger) {
        match outcome {
            Outcome::Voter(id) => assert!(self.ids.insert(*id), "an id was given out twice"),
            Outcome::Epoch(epoch) => {
                assert!(self.epochs.last().is_none_or(|last| *last + 1 == *epoch));
                self.epochs.push(*epoch);
            }
            Outcome::Version(_) | Outcome::Registry(_) | Outcome::Done => {}
        }
        if let Action::Approval(ApprovalAct::Consume { key, .. }) = &command.action {
            let count = self.consumed.entry(key.clone()).or_default();
            *count += 1;
            assert_eq!(*count, 1, "a grant was used twice");
        }
        self.see_pointer(ledger);
        for (number, version) in ledger.releases().line(&line()).iter().flat_map(|it| it.versions())
        {
            let known = self.versions.entry(number).or_insert_with(|| version.clone());
            assert_eq!(known, version, "a version changed");
        }
    }

    fn see_pointer(&mut self, ledger: &Ledger) {
        let line = ledger.releases().line(&line());
        let Some(pointer) = line.and_then(|line| line.pointer()) else { return };
        assert_eq!(self.epochs.last(), Some(&pointer.epoch), "a pointer moved without an epoch");
        let Some(rollout) = &pointer.rollout else { return };
        let id = rollout.plan.id().to_owned();
        match rollout.progress {
            Progress::RolledBack { .. } | Progress::Aborted => drop(self.taken_back.insert(id)),
            Progress::Running { .. } | Progress::Held { .. } | Progress::Complete => {
                assert!(!self.taken_back.contains(&id), "a candidate came back");
                return;
            }
        }
        for number in 0..8 {
            let agent = AgentId::parse(&format!("agent-{number}")).unwrap();
            let region = Region::parse("eu-west-1").unwrap();
            let decider = pointer.decider(&region, &tenant(), &agent);
            assert_eq!(decider, pointer.choice.active, "what was taken back decides");
        }
    }
}

proptest! {
    #[test]
    fn no_history_breaks_a_rule(steps in steps()) {
        let mut desk = Desk::default();
        let mut witness = Witness::default();
        let (mut clock, mut log) = (1_000_000_i64, Vec::new());
        for (step, jump, repeat) in steps {
            clock += jump;
            let now = at(clock.unsigned_abs());
            let before = desk.ledger.clone();
            desk.serial += 1;
            let command = command("test", desk.serial, action(&step, now));
            log.push(Batch { at: now, commands: vec![command.clone()] });
            let answer = desk.send(command.clone(), now);
            match &answer {
                Ok(outcome) => witness.see(&command, outcome, &desk.ledger),
                Err(_) => {
                    prop_assert_eq!(before.releases(), desk.ledger.releases());
                    prop_assert_eq!(before.approvals(), desk.ledger.approvals());
                    prop_assert_eq!(before.tenants(), desk.ledger.tenants());
                    prop_assert_eq!(before.voters(), desk.ledger.voters());
                    prop_assert_eq!(before.registry(), desk.ledger.registry());
                }
            }
            prop_assert!(before.latest() <= desk.ledger.latest(), "time went back");
            if repeat {
                let once = desk.ledger.hash();
                log.push(Batch { at: now, commands: vec![command.clone()] });
                prop_assert_eq!(desk.send(command, now), answer);
                prop_assert_eq!(desk.ledger.hash(), once, "a copy changed something");
            }
        }

        let mut voter = Ledger::default();
        for batch in &log {
            let text = serde_json::to_vec(batch).unwrap();
            voter.apply(&serde_json::from_slice(&text).unwrap());
        }
        prop_assert_eq!(voter.hash(), desk.ledger.hash(), "the same entries, another state");

        let text = serde_json::to_string(&desk.ledger).unwrap();
        let read: Ledger = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&read, &desk.ledger, "a snapshot is the ledger");
    }
}
