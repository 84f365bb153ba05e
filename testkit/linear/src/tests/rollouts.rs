//! What a ledger that is wrong about rollouts would do, and that it does not pass.
//!
//! Not here: how long stages last. Invariant: each history passes with the one wrong answer mended, so it is that answer which is
//! found.

use super::*;

fn model() -> Line {
    Line { stages: 2, unfit: [9].into() }
}

fn command(call: LineCall, at: (u64, u64)) -> Of<Line> {
    told(call, LineReply::Done, at)
}

fn drive(seen: u64, to: Drive) -> Of<Line> {
    lost(LineCall::Drive { seen, to }, 0)
}

fn look(epoch: u64, active: u32, rollout: Option<(u32, Stand, bool)>, at: (u64, u64)) -> Of<Line> {
    let rollout = rollout.map(|(version, stand, is_paused)| Candidate {
        begun: 1,
        version,
        stand,
        is_paused,
    });
    let past = if active == 1 { vec![] } else { vec![1] };
    told(LineCall::Look, LineReply::At(Pointed { epoch, active, past, rollout }), at)
}

/// The first version decides, and another is on its way.
fn begun(candidate: u32) -> Vec<Of<Line>> {
    let first = command(LineCall::Activate { seen: 0, to: 1 }, (0, 1));
    vec![first, command(LineCall::Start { seen: 1, candidate }, (2, 3))]
}

fn passes(candidate: u32, more: &[Of<Line>]) -> bool {
    is_linear(&model(), &[&begun(candidate)[..], more].concat())
}

#[test]
fn a_rollout_goes_on_by_itself_to_its_end_and_back_by_a_person() {
    let all = [
        look(2, 1, Some((2, Stand::Running(0), false)), (4, 5)),
        drive(2, Drive::On),
        look(3, 1, Some((2, Stand::Running(1), false)), (6, 7)),
        drive(3, Drive::On),
        look(4, 2, Some((2, Stand::Complete, false)), (8, 9)),
        command(LineCall::RollBack, (10, 11)),
        look(5, 1, None, (12, 13)),
    ];
    assert!(passes(2, &all));
    let without = |place: usize| {
        let kept = all.iter().enumerate().filter(|(nth, _)| *nth != place);
        kept.map(|(_, it)| it.clone()).collect::<Vec<_>>()
    };
    assert!(!passes(2, &without(1)), "nobody moved it on");
    assert!(!passes(2, &without(5)), "nobody took it back");
}

#[test]
fn a_stage_that_is_skipped_is_found() {
    let seen = |stage| look(3, 1, Some((2, Stand::Running(stage), false)), (4, 5));
    assert!(passes(2, &[drive(2, Drive::On), seen(1)]));
    assert!(!passes(2, &[drive(2, Drive::On), seen(2)]));
}

#[test]
fn a_paused_rollout_that_gains_agents_is_found() {
    let paused = command(LineCall::Pause, (4, 5));
    let resumed = command(LineCall::Resume, (6, 7));
    let seen = |epoch| look(epoch, 1, Some((2, Stand::Running(1), false)), (8, 9));
    let (early, late) = (drive(3, Drive::On), drive(4, Drive::On));
    assert!(passes(2, &[paused.clone(), resumed, late.clone(), seen(5)]));
    let seen = look(4, 1, Some((2, Stand::Running(1), true)), (8, 9));
    assert!(!passes(2, &[paused, early, late, seen]));
}

#[test]
fn a_rollout_that_was_aborted_and_goes_on_is_found() {
    let aborted = command(LineCall::Abort, (4, 5));
    let seen = |stand| look(3, 1, Some((2, stand, false)), (6, 7));
    assert!(passes(2, &[aborted.clone(), seen(Stand::Aborted)]));
    let on = drive(2, Drive::On);
    assert!(!passes(2, &[aborted, on, seen(Stand::Running(1))]));
}

#[test]
fn a_candidate_that_its_guard_must_stop_and_that_gains_agents_is_found() {
    let (on, back) = (drive(2, Drive::On), drive(2, Drive::Back));
    let seen = |version, stand| look(3, 1, Some((version, stand, false)), (6, 7));
    assert!(passes(9, &[back.clone(), seen(9, Stand::RolledBack)]));
    assert!(!passes(9, &[on, seen(9, Stand::Running(1))]));
    assert!(!passes(2, &[back, seen(2, Stand::RolledBack)]), "no guard stops this one");
}

#[test]
fn a_held_rollout_that_gains_agents_is_found() {
    let (hold, on) = (drive(2, Drive::Hold), drive(3, Drive::On));
    let seen = |epoch, stand| look(epoch, 1, Some((2, stand, false)), (6, 7));
    let let_go = drive(3, Drive::LetGo);
    assert!(passes(2, &[hold.clone(), let_go, seen(4, Stand::Running(0))]));
    assert!(!passes(2, &[hold, on, seen(4, Stand::Running(1))]));
}

#[test]
fn a_stale_look_at_a_rollout_is_found() {
    let aborted = command(LineCall::Abort, (4, 5));
    let seen = |at| look(2, 1, Some((2, Stand::Running(0), false)), at);
    assert!(passes(2, &[aborted.clone(), seen((3, 6))]), "unless they met");
    assert!(!passes(2, &[aborted, seen((6, 7))]));
}

#[test]
fn a_refusal_that_nobody_caused_is_found() {
    let refused = |call, why| told(call, LineReply::Refused(why), (4, 5));
    assert!(!passes(2, &[refused(LineCall::Pause, Why::NothingToDo)]));
    assert!(!passes(2, &[refused(LineCall::Abort, Why::NoRollout)]));
    assert!(passes(2, &[lost(LineCall::Pause, 3), refused(LineCall::Pause, Why::NothingToDo)]));
    assert!(passes(2, &[lost(LineCall::Abort, 3), refused(LineCall::Abort, Why::NoRollout)]));
    let moved = told(LineCall::Start { seen: 2, candidate: 3 }, LineReply::Moved, (4, 5));
    assert!(!passes(2, std::slice::from_ref(&moved)));
    assert!(passes(2, &[lost(LineCall::Pause, 3), moved]));
}

#[test]
fn a_rollback_leads_to_what_decided_before_and_no_further() {
    let second = command(LineCall::Activate { seen: 1, to: 2 }, (2, 3));
    let first = command(LineCall::Activate { seen: 0, to: 1 }, (0, 1));
    let back = command(LineCall::RollBack, (4, 5));
    let again = |reply| told(LineCall::RollBack, reply, (6, 7));
    let history = |last| [first.clone(), second.clone(), back.clone(), last];
    assert!(is_linear(&model(), &history(again(LineReply::Refused(Why::NeverActive)))));
    assert!(!is_linear(&model(), &history(again(LineReply::Done))), "forward again");
}
