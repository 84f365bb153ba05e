//! Sessions: opened once, ended early or by themselves.
//!
//! Not here: their signed text (`identity`). Invariant: a rule has a test that fails without it.

use aegis_access::{Principal, Reach, Role};
use aegis_domain::Jti;

use super::*;

pub(super) fn open(id: &str, roles: &[Role], ttl_s: u32) -> Action {
    let actor = Actor::parse("session alice").unwrap();
    let roles = roles.iter().copied().collect();
    let principal = Principal { actor, roles, reach: Reach::Tenants([tenant()].into()) };
    Action::Session(SessionAct::Open { jti: jti(id), principal, ttl_s })
}

fn end(id: &str) -> Action {
    Action::Session(SessionAct::End { jti: jti(id) })
}

fn jti(id: &str) -> Jti {
    Jti::parse(id).unwrap()
}

fn refused(refusal: SessionRefusal) -> Answer {
    Err(Refusal::Session(refusal))
}

#[test]
fn a_session_counts_from_when_it_is_opened_until_its_end() {
    let mut desk = Desk::default();
    desk.act(open("a", &[Role::Operator], 60), at(10)).unwrap();
    let session = desk.ledger.sessions().get(&jti("a"), at(69)).unwrap();
    assert_eq!((session.opened_at, session.expires_at), (at(10), at(70)));
    assert_eq!(session.opened_by.as_str(), "tester");
    assert_eq!(desk.ledger.sessions().get(&jti("a"), at(70)), None);
    assert_eq!(desk.ledger.sessions().iter(None, at(70)).count(), 0);
    assert_eq!(desk.act(end("a"), at(70)), refused(SessionRefusal::Unknown));
}

#[test]
fn a_session_that_was_ended_counts_no_more_and_is_not_opened_again_while_open() {
    let mut desk = Desk::default();
    desk.act(open("a", &[Role::Viewer], 60), at(0)).unwrap();
    let again = desk.act(open("a", &[Role::Admin], 60), at(1));
    assert_eq!(again, refused(SessionRefusal::Exists));
    desk.act(end("a"), at(2)).unwrap();
    assert_eq!(desk.ledger.sessions().get(&jti("a"), at(3)), None);
    assert_eq!(desk.act(end("a"), at(3)), refused(SessionRefusal::Unknown));
}

#[test]
fn a_session_has_a_role_and_lasts_twelve_hours_at_most() {
    let mut desk = Desk::default();
    let hours = 12 * 60 * 60;
    for (wish, refusal) in [
        (open("a", &[], 60), SessionRefusal::NoRole),
        (open("a", &[Role::Viewer], 0), SessionRefusal::Length),
        (open("a", &[Role::Viewer], hours + 1), SessionRefusal::Length),
    ] {
        assert_eq!(desk.act(wish, at(0)), refused(refusal));
    }
    desk.act(open("a", &[Role::Viewer], hours), at(0)).unwrap();
}

#[test]
fn what_is_over_makes_room_and_a_region_that_is_full_says_so() {
    let mut desk = Desk::default();
    for number in 0..10_000 {
        desk.act(open(&format!("s{number}"), &[Role::Viewer], 60), at(0)).unwrap();
    }
    assert_eq!(desk.act(open("more", &[Role::Viewer], 60), at(59)), refused(SessionRefusal::Full));
    desk.act(open("more", &[Role::Viewer], 60), at(60)).unwrap();
    assert_eq!(desk.ledger.sessions().iter(None, at(60)).count(), 1);
}
