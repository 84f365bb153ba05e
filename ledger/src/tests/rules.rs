//! Commands that come twice, approvals, tenants and voters.
//!
//! Not here: releases and streams. Invariant: a rule has a test that fails without it.

use aegis_audit_chain::cosignature::Cosigner;

use super::*;

fn refused(refusal: ApprovalRefusal) -> Answer {
    Err(Refusal::Approval(refusal))
}

#[test]
fn a_command_that_comes_twice_is_applied_once_and_answered_alike() {
    let mut desk = Desk::default();
    let admit = Action::Voter(VoterAct::Admit { address: "a:7400".into() });
    let first = command("c", 1, admit.clone());
    assert_eq!(desk.send(first.clone(), at(0)), Ok(Outcome::Voter(1)));
    let hash = desk.ledger.hash();
    assert_eq!(desk.send(first.clone(), at(9)), Ok(Outcome::Voter(1)));
    assert_eq!(desk.ledger.hash(), hash, "the copy changed something");
    assert_eq!(desk.send(command("c", 2, admit), at(1)), Ok(Outcome::Voter(2)));
    assert_eq!(desk.send(first, at(2)), Err(Refusal::Stale));
    let other = Action::Voter(VoterAct::Dismiss { id: 1 });
    assert_eq!(desk.send(command("c", 2, other), at(2)), Err(Refusal::SerialReused));
}

#[test]
fn a_copy_of_a_refused_command_stays_refused_though_it_could_be_done_by_then() {
    let mut desk = Desk::default();
    let early = command("c", 1, grant(1));
    assert_eq!(desk.send(early.clone(), at(0)), refused(ApprovalRefusal::Unknown));
    desk.act(ask(1, at(60)), at(1)).unwrap();
    assert_eq!(desk.send(early, at(2)), refused(ApprovalRefusal::Unknown));
    assert_eq!(desk.ledger.approvals().get(&key(1)).unwrap().state, ApprovalState::Open);
}

#[test]
fn a_client_is_forgotten_after_a_day_and_not_before() {
    let mut desk = Desk::default();
    let first = command("once", 1, ask(1, at(60)));
    desk.send(first.clone(), at(0)).unwrap();
    let day = 24 * 60 * 60;
    for now in [day - 1, day] {
        for _ in 0..1_024 {
            drop(desk.act(grant(9), at(now)));
        }
        let answer = desk.send(first.clone(), at(now));
        let is_known = answer == Ok(Outcome::Done);
        assert_eq!(is_known, now < day, "{answer:?}");
    }
}

#[test]
fn a_grant_is_used_once_by_the_exact_call_and_for_the_rules_it_names() {
    let mut desk = Desk::default();
    desk.act(ask(1, at(60)), at(0)).unwrap();
    assert_eq!(
        desk.act(consume(1, b"call", &["big-payment"]), at(1)),
        refused(ApprovalRefusal::NotGranted)
    );
    desk.act(grant(1), at(2)).unwrap();
    assert_eq!(desk.act(grant(1), at(3)), refused(ApprovalRefusal::Answered));
    assert_eq!(
        desk.act(consume(1, b"other", &["big-payment"]), at(4)),
        refused(ApprovalRefusal::OtherCall)
    );
    assert_eq!(
        desk.act(consume(1, b"call", &["big-payment", "sanctions"]), at(4)),
        refused(ApprovalRefusal::OtherRule)
    );
    desk.act(consume(1, b"call", &["big-payment"]), at(5)).unwrap();
    assert_eq!(
        desk.act(consume(1, b"call", &["big-payment"]), at(6)),
        refused(ApprovalRefusal::Used)
    );
}

#[test]
fn who_asks_does_not_answer() {
    let mut desk = Desk::default();
    desk.act(ask(1, at(60)), at(0)).unwrap();
    let mut own = command("gateway's own", 1, grant(1));
    own.by = Actor::parse("gateway").unwrap();
    assert_eq!(desk.send(own, at(1)), refused(ApprovalRefusal::OwnRequest));
    desk.act(grant(1), at(2)).unwrap();
}

#[test]
fn a_denied_or_expired_approval_lets_nothing_through() {
    let mut desk = Desk::default();
    desk.act(ask(1, at(60)), at(0)).unwrap();
    desk.act(Action::Approval(ApprovalAct::Deny { key: key(1) }), at(1)).unwrap();
    assert_eq!(
        desk.act(consume(1, b"call", &["big-payment"]), at(2)),
        refused(ApprovalRefusal::NotGranted)
    );
    desk.act(ask(2, at(60)), at(0)).unwrap();
    desk.act(grant(2), at(1)).unwrap();
    let call = aegis_domain::ParamsHash::of(b"call");
    let granted = |now| desk.ledger.approvals().granted(&key(2), &call, at(now)).len();
    assert_eq!((granted(59), granted(60)), (2, 0), "nor is a call told otherwise");
    assert_eq!(
        desk.act(consume(2, b"call", &["big-payment"]), at(60)),
        refused(ApprovalRefusal::Expired)
    );
    // A leader whose clock is behind does not bring it back.
    assert_eq!(
        desk.act(consume(2, b"call", &["big-payment"]), at(3)),
        refused(ApprovalRefusal::Expired)
    );
}

#[test]
fn an_override_is_bounded_in_time_and_bound_to_rules() {
    let mut desk = Desk::default();
    let give = |names: &[&str], until| {
        let (params, rules) = (ParamsHash::of(b"call"), rules(names));
        Action::Approval(ApprovalAct::Override {
            key: key(1),
            params,
            rules,
            expires_at: at(until),
        })
    };
    assert_eq!(desk.act(give(&[], 60), at(0)), refused(ApprovalRefusal::Rules));
    assert_eq!(desk.act(give(&["a"], 8 * 86_400), at(0)), refused(ApprovalRefusal::TooLong));
    assert_eq!(desk.act(give(&["a"], 0), at(0)), refused(ApprovalRefusal::Expired));
    desk.act(give(&["a"], 60), at(0)).unwrap();
    assert_eq!(desk.act(give(&["a"], 60), at(0)), refused(ApprovalRefusal::Exists));
    desk.act(consume(1, b"call", &["a"]), at(1)).unwrap();
}

#[test]
fn a_tenant_is_moved_only_by_who_has_seen_it_and_only_to_an_allowed_region() {
    let mut desk = Desk::default();
    desk.act(place(0, "eu-west-1", &["eu-west-1"]), at(0)).unwrap();
    let seen = desk.ledger.tenants().get(&tenant()).unwrap().changed;
    let changed = Err(Refusal::Tenant(TenantRefusal::Changed));
    assert_eq!(desk.act(place(0, "us-east-1", &["us-east-1"]), at(1)), changed);
    let elsewhere = place(seen, "us-east-1", &["eu-west-1"]);
    assert_eq!(desk.act(elsewhere, at(1)), Err(Refusal::Tenant(TenantRefusal::HomeNotAllowed)));
    desk.act(place(seen, "us-east-1", &["us-east-1"]), at(2)).unwrap();
    let remove = Action::Tenant(TenantAct::Remove { tenant: tenant(), seen });
    assert_eq!(desk.act(remove, at(3)), changed);
}

#[test]
fn a_voters_id_is_given_out_once_and_the_level_waits_for_all() {
    let mut desk = Desk::default();
    let admit = || Action::Voter(VoterAct::Admit { address: "a:7400".into() });
    assert_eq!(desk.act(admit(), at(0)), Ok(Outcome::Voter(1)));
    assert_eq!(desk.act(admit(), at(0)), Ok(Outcome::Voter(2)));
    desk.act(Action::Voter(VoterAct::Dismiss { id: 2 }), at(1)).unwrap();
    assert!(desk.ledger.voters().was_dismissed(2) && !desk.ledger.voters().was_dismissed(3));
    assert_eq!(desk.act(admit(), at(2)), Ok(Outcome::Voter(3)));
    let reads = |id| Action::Voter(VoterAct::Reads { id, level: FEATURE_LEVEL });
    let raise = || Action::Voter(VoterAct::Raise { level: FEATURE_LEVEL });
    desk.act(reads(1), at(3)).unwrap();
    assert_eq!(desk.act(raise(), at(3)), Err(Refusal::Voter(VoterRefusal::NotAllRead)));
    desk.act(reads(3), at(4)).unwrap();
    desk.act(raise(), at(4)).unwrap();
    let lower = Action::Voter(VoterAct::Raise { level: FEATURE_LEVEL - 1 });
    assert_eq!(desk.act(lower, at(5)), Err(Refusal::Voter(VoterRefusal::Lower)));
    assert_eq!(desk.ledger.voters().level(), FEATURE_LEVEL);
}

/// A voter that has no snapshot replays its log from here, beside others that began with an earlier version.
#[test]
fn every_version_begins_with_the_same_ledger() {
    let written = serde_json::to_string(&crate::Ledger::default()).unwrap();
    let first = concat!(
        r#"{"revision":0,"released":0,"latest":0,"#,
        r#""registry":{"view":{"serial":0,"latest":0,"agents":[],"keys":[],"revocations":[],"budgets":[]},"#,
        r#""codes":[],"adjustments":[],"clients":[]},"releases":{"contents":[],"lines":[]},"approvals":[],"#,
        r#""sessions":[],"tenants":[],"streams":[],"#,
        r#""voters":{"last":0,"level":2,"present":[],"cosigners":[]},"clients":[]}"#,
    );
    assert_eq!(written, first);
}

#[test]
fn a_ledger_that_was_taken_over_has_one_voter_and_gives_out_no_old_id() {
    let mut desk = Desk::default();
    let admit = || Action::Voter(VoterAct::Admit { address: "a:7400".into() });
    for _ in 0..3 {
        desk.act(admit(), at(0)).unwrap();
    }
    desk.ledger.take_over((2, "b:7400"), at(0));
    let voters = desk.ledger.voters();
    let left: Vec<_> = voters.iter().map(|(id, voter)| (id, &*voter.address)).collect();
    assert_eq!(left, [(2, "b:7400")]);
    assert!(voters.was_dismissed(1) && voters.was_dismissed(3));
    assert_eq!(desk.act(admit(), at(1)), Ok(Outcome::Voter(4)));
    let to = |id| Action::Voter(VoterAct::Move { id, address: "c:7400".into() });
    assert_eq!(desk.act(to(3), at(2)), Err(Refusal::Voter(VoterRefusal::Unknown)));
    desk.act(to(2), at(3)).unwrap();
    assert_eq!(&*desk.ledger.voters().get(2).unwrap().address, "c:7400");
}

/// Who follows may hold more of the lost cluster than the state that it is gone on with from.
#[test]
fn a_ledger_that_was_taken_over_numbers_on_from_where_no_lost_one_came_to() {
    let mut desk = Desk::default();
    desk.ledger.take_over((1, "a:7400"), at(100));
    let begins = at(100).unix_ms();
    let ledger = &desk.ledger;
    let serial = ledger.registry().view().serial();
    assert_eq!((serial, ledger.revision(), ledger.released()), (begins, begins, begins));
    // The same state once more, a moment later; and by a clock that was set back.
    for (now, least) in [(101, at(101).unix_ms()), (1, at(101).unix_ms() + 1)] {
        desk.ledger.take_over((1, "a:7400"), at(now));
        let ledger = &desk.ledger;
        assert_eq!((ledger.registry().view().serial(), ledger.revision()), (least, least));
    }
}

/// Both may have been used up, or ended, after what is gone on with was written down.
#[test]
fn a_ledger_that_was_taken_over_knows_no_grant_and_no_session() {
    let mut desk = Desk::default();
    for number in 0..3 {
        desk.act(ask(number, at(600)), at(1)).unwrap();
    }
    desk.act(grant(1), at(2)).unwrap();
    desk.act(grant(2), at(2)).unwrap();
    desk.act(consume(2, b"call", &["big-payment"]), at(3)).unwrap();
    let session = super::sessions::open("before", &[aegis_access::Role::Operator], 600);
    desk.act(session, at(3)).unwrap();

    desk.ledger.take_over((1, "a:7400"), at(4));
    let call = aegis_domain::ParamsHash::of(b"call");
    assert_eq!(desk.ledger.approvals().granted(&key(1), &call, at(4)).len(), 0);
    let gone = refused(ApprovalRefusal::NotGranted);
    assert_eq!(desk.act(consume(1, b"call", &["big-payment"]), at(5)), gone);
    assert_eq!(desk.act(grant(0), at(5)), refused(ApprovalRefusal::Answered));
    let used = refused(ApprovalRefusal::Used);
    assert_eq!(desk.act(consume(2, b"call", &["big-payment"]), at(5)), used);
    assert_eq!(desk.ledger.sessions().iter(None, at(5)).count(), 0);
    desk.act(ask(9, at(600)), at(6)).unwrap();
    desk.act(grant(9), at(7)).unwrap();
}

#[test]
fn a_voter_cosigns_with_one_key_at_a_time_and_none_is_forgotten() {
    let mut desk = Desk::default();
    let admit = || Action::Voter(VoterAct::Admit { address: "a:7400".into() });
    let key = |seed: u8, name: &str| {
        let cosigner = Cosigner::new(name, SecretKey::from_seed(&[seed; 32])).unwrap();
        cosigner.witness().to_string()
    };
    let says = |id, key: String| {
        Action::Voter(VoterAct::Cosigns { id, key: key.into(), url: Some("https://v".into()) })
    };
    let refused = |refusal| Err(Refusal::Voter(refusal));
    desk.act(admit(), at(0)).unwrap();
    desk.act(admit(), at(0)).unwrap();
    desk.act(says(1, key(1, "r/voters/1")), at(1)).unwrap();
    desk.act(says(1, key(1, "r/voters/1")), at(2)).unwrap();
    assert_eq!(desk.ledger.voters().cosigners().len(), 1, "it said the same");
    // One key under two names would be two votes of one voter.
    assert_eq!(desk.act(says(2, key(1, "r/voters/2")), at(3)), refused(VoterRefusal::Key));
    assert_eq!(desk.act(says(2, "no key".into()), at(3)), refused(VoterRefusal::Key));
    assert_eq!(desk.act(says(9, key(9, "r/voters/9")), at(3)), refused(VoterRefusal::Unknown));
    desk.act(says(1, key(3, "r/voters/1")), at(4)).unwrap();
    desk.act(says(2, key(2, "r/voters/2")), at(5)).unwrap();
    desk.act(Action::Voter(VoterAct::Dismiss { id: 2 }), at(6)).unwrap();
    let ends: Vec<_> = desk.ledger.voters().cosigners().iter().map(|it| it.until).collect();
    assert_eq!(ends, [Some(at(4)), None, Some(at(6))]);
    assert_eq!(*desk.ledger.voters().cosigner(1).unwrap().key, *key(3, "r/voters/1"));
    assert!(desk.ledger.voters().cosigner(2).is_none());
}

fn crowd(desk: &mut Desk, now: u64) {
    for number in 0..crate::clients::CLIENTS_MAX {
        desk.send(command(&format!("{now}/{number}"), 1, grant(9)), at(now)).unwrap_err();
    }
}

#[test]
fn clients_that_ask_no_more_give_way_and_what_takes_back_waits_for_nobody() {
    let mut desk = founded();
    let unknown = refused(ApprovalRefusal::Unknown);
    crowd(&mut desk, 1);
    let full = Err(Refusal::ClientsFull);
    assert_eq!(desk.send(command("late", 1, grant(9)), at(600)), full, "none had its time");
    let dismiss = Action::Voter(VoterAct::Dismiss { id: 9 });
    let gone = Err(Refusal::Voter(VoterRefusal::Unknown));
    assert_eq!(desk.send(command("presses", 1, dismiss), at(600)), gone);

    assert_eq!(desk.send(command("late", 1, grant(9)), at(601)), unknown);
    // A tenth gave way at once, so there is room for as many.
    assert_eq!(desk.send(command("later", 1, grant(9)), at(601)), unknown);
    assert_eq!(desk.act(grant(9), at(601)), refused(ApprovalRefusal::Unknown), "known all along");
}

#[test]
fn until_the_level_is_raised_a_crowd_is_refused_as_it_always_was() {
    let mut desk = Desk::default();
    crowd(&mut desk, 1);
    let full = Err(Refusal::ClientsFull);
    assert_eq!(desk.send(command("late", 1, grant(9)), at(9 * 86_400)), full);
}

#[test]
fn a_tenant_that_asks_for_ever_leaves_room_for_the_next() {
    use crate::approvals::TENANT_MAX;
    let mut desk = founded();
    let first = u64::try_from(TENANT_MAX).unwrap();
    for number in 0..first {
        desk.act(ask(number, at(60)), at(1)).unwrap();
    }
    assert_eq!(desk.act(ask(first, at(60)), at(2)), refused(ApprovalRefusal::Full));
    let Action::Approval(ApprovalAct::Ask { key, params, rules, expires_at, call }) =
        ask(first, at(60))
    else {
        unreachable!()
    };
    let key = ApprovalKey { tenant: TenantId::parse("next").unwrap(), ..key };
    let next = ApprovalAct::Ask { key, params, rules, expires_at, call };
    desk.act(Action::Approval(next), at(2)).unwrap();
    desk.act(ask(first, at(120)), at(60)).unwrap();
    assert_eq!(desk.ledger.approvals().iter(None).count(), 1, "what expired gave way");
}
