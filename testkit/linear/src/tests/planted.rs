//! What a ledger that is wrong would do, and that it does not pass.
//!
//! Not here: ledgers that are wrong (`raft-store`). Invariant: each history passes with the one wrong answer mended, so it is
//! that answer which is found.

use GrantCall::{Give, Look, Use};
use GrantReply::{Absent, Done, Present, Used};

use super::*;

fn read(epoch: u64, version: u32, at: (u64, u64)) -> Of<Pointer> {
    told(PointerCall::Read, PointerReply::At { epoch, version }, at)
}

fn swing(seen: u64, to: u32, reply: PointerReply, at: (u64, u64)) -> Of<Pointer> {
    told(PointerCall::Swing { seen, to }, reply, at)
}

#[test]
fn a_stale_read_is_found() {
    let swung = swing(0, 5, PointerReply::Swung(1), (0, 10));
    assert!(is_linear(&Pointer, &[swung.clone(), read(1, 5, (20, 30))]));
    assert!(!is_linear(&Pointer, &[swung, read(0, 0, (20, 30))]));
}

#[test]
fn a_lost_update_is_found() {
    let first = swing(0, 5, PointerReply::Swung(1), (0, 30));
    let second = |reply| swing(0, 6, reply, (10, 40));
    assert!(is_linear(&Pointer, &[first.clone(), second(PointerReply::Moved)]));
    assert!(!is_linear(&Pointer, &[first, second(PointerReply::Swung(1))]));
}

#[test]
fn a_write_that_vanished_is_found() {
    let swung = swing(0, 5, PointerReply::Swung(1), (0, 10));
    let again = |seen, epoch| swing(seen, 6, PointerReply::Swung(epoch), (20, 30));
    assert!(is_linear(&Pointer, &[swung.clone(), again(1, 2)]));
    assert!(!is_linear(&Pointer, &[swung, again(0, 1)]));
}

#[test]
fn swaps_in_the_wrong_order_are_found() {
    let first = |at| swing(0, 5, PointerReply::Swung(1), at);
    let second = |at| swing(1, 6, PointerReply::Swung(2), at);
    assert!(is_linear(&Pointer, &[first((0, 10)), second((20, 30))]));
    assert!(!is_linear(&Pointer, &[second((0, 10)), first((20, 30))]));
    assert!(is_linear(&Pointer, &[second((0, 25)), first((20, 30))]), "unless they met");
}

#[test]
fn an_epoch_that_was_overtaken_and_came_back_is_found() {
    let overtake = |seen, past, reply, at| told(PointerCall::Overtake { seen, past }, reply, at);
    let first = swing(0, 5, PointerReply::Swung(1), (0, 10));
    let past = overtake(1, 7, PointerReply::Swung(8), (20, 30));
    let after = |reply| [first.clone(), past.clone(), overtake(8, 7, reply, (40, 50))];
    assert!(is_linear(&Pointer, &after(PointerReply::Nothing)));
    assert!(!is_linear(&Pointer, &after(PointerReply::Swung(8))));
    assert!(is_linear(&Pointer, &[first.clone(), past.clone(), read(8, 5, (40, 50))]));
    assert!(!is_linear(&Pointer, &[first.clone(), past, read(2, 5, (40, 50))]));
    let blind = |reply| [first.clone(), overtake(0, 7, reply, (20, 30))];
    assert!(is_linear(&Pointer, &blind(PointerReply::Moved)));
    assert!(!is_linear(&Pointer, &blind(PointerReply::Swung(8))), "it was not at what was seen");
}

#[test]
fn a_refusal_that_nobody_caused_is_found() {
    assert!(!is_linear(&Pointer, &[swing(0, 5, PointerReply::Moved, (0, 10))]));
    let lost = lost(PointerCall::Swing { seen: 0, to: 9 }, 0);
    assert!(is_linear(&Pointer, &[lost, swing(0, 5, PointerReply::Moved, (5, 10))]));
}

#[test]
fn a_grant_that_is_used_twice_is_found() {
    let given = told(Give, Done, (0, 5));
    let used = told(Use, Done, (10, 40));
    let second = |reply| told(Use, reply, (20, 30));
    assert!(is_linear(&Grant, &[given.clone(), used.clone(), second(Used)]));
    assert!(!is_linear(&Grant, &[given.clone(), used, second(Done)]));
    let unheard = lost(Use, 10);
    assert!(is_linear(&Grant, &[given.clone(), unheard.clone(), second(Done)]), "it did nothing");
    let look = |reply| told(Look, reply, (50, 60));
    let history = [given, unheard, second(Used)];
    assert!(is_linear(&Grant, &[&history[..], &[look(Used)]].concat()));
    assert!(!is_linear(&Grant, &[&history[..], &[look(Present)]].concat()), "it came back");
}

#[test]
fn a_grant_is_not_used_before_it_is_given() {
    let used = |reply, at| told(Use, reply, at);
    let given = told(Give, Done, (20, 30));
    assert!(is_linear(&Grant, &[used(Absent, (0, 10)), given.clone(), used(Done, (40, 50))]));
    assert!(!is_linear(&Grant, &[used(Done, (0, 10)), given.clone()]));
    assert!(!is_linear(&Grant, &[given, used(Absent, (40, 50))]), "it was forgotten");
}
