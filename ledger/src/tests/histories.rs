//! Random histories under clocks that jump and commands that come twice, against what must hold after each step.
//!
//! Not here: single rules. Invariant: a failing history is printed by proptest, shrunk.

use std::collections::BTreeMap;

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
    Publish(u8),
    Activate(u64, u32),
    Admit,
    Dismiss(u64),
    Revoke(u8),
}

fn steps() -> impl Strategy<Value = Vec<(Step, i64, bool)>> {
    let step = prop_oneof![
        2 => (0..3_u64, 1..900_u64).prop_map(|(number, life)| Step::Ask(number, life)),
        2 => (0..3_u64).prop_map(Step::Grant),
        1 => (0..3_u64).prop_map(Step::Deny),
        4 => (0..3_u64, any::<bool>()).prop_map(|(number, right)| Step::Consume(number, right)),
        1 => (0..4_u64).prop_map(Step::Place),
        1 => (0..3_u8).prop_map(Step::Store),
        2 => (0..3_u8).prop_map(Step::Publish),
        3 => (0..6_u64, 0..5_u32).prop_map(|(seen, active)| Step::Activate(seen, active)),
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
        Step::Publish(content) => {
            let (bundle, source) = (Hash::of(&[*content]), Hash::of(&[*content]));
            Action::Release(ReleaseAct::Publish { line: line(), bundle, source })
        }
        Step::Activate(seen, active) => {
            let choice = Choice { active: *active, shadow: None, canary: None };
            Action::Release(ReleaseAct::Activate { line: line(), seen: *seen, choice })
        }
        Step::Admit => Action::Voter(VoterAct::Admit { address: "a:7400".into() }),
        Step::Dismiss(id) => Action::Voter(VoterAct::Dismiss { id: *id }),
        Step::Revoke(number) => {
            let target = TenantId::parse(&format!("tenant-{number}")).unwrap();
            let target = aegis_registry::Target::Tenant(target);
            Action::Registry(Box::new(aegis_registry::Action::Revoke { target, issued: None }))
        }
    }
}

/// What is remembered outside the ledger to hold it to.
#[derive(Default)]
struct Witness {
    consumed: BTreeMap<ApprovalKey, u32>,
    epochs: Vec<u64>,
    ids: BTreeSet<u64>,
    versions: BTreeMap<u32, Version>,
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
        for (number, version) in ledger.releases().line(&line()).iter().flat_map(|it| it.versions())
        {
            let known = self.versions.entry(number).or_insert_with(|| version.clone());
            assert_eq!(known, version, "a version changed");
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
