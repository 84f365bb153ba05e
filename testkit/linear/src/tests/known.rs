//! Histories of the kind that papers and other checkers are shown with, and what is known of them.
//!
//! Not here: what our ledger must not do (`planted`). Invariant: each is small enough to be judged by eye.

use RegisterCall::{Read, Swap, Write};
use RegisterReply::{Done, Other, Value};

use super::*;

#[test]
fn reads_during_a_write_may_see_either_value_and_never_the_older_one_after_the_newer() {
    let write = told(Write(1), Done, (0, 100));
    let early = told(Read, Value(1), (10, 20));
    let late = |value| told(Read, Value(value), (30, 40));
    assert!(is_linear(&Register, &[write.clone(), early.clone(), late(1)]));
    assert!(!is_linear(&Register, &[write, early, late(0)]));
}

#[test]
fn a_queue_of_writes_is_read_in_one_order_only() {
    let writes = [told(Write(1), Done, (0, 50)), told(Write(2), Done, (0, 50))];
    let read = |value, at| told(Read, Value(value), (at, at + 1));
    for (first, second) in [(1, 2), (2, 1)] {
        let history = [&writes[..], &[read(first, 10), read(second, 20)]].concat();
        assert!(is_linear(&Register, &history));
        let back = [&history[..], &[read(first, 30)]].concat();
        assert!(!is_linear(&Register, &back), "it was read as {second} and went back");
    }
}

#[test]
fn what_touches_at_one_instant_is_concurrent() {
    let history = [told(Write(1), Done, (0, 10)), told(Read, Value(0), (10, 20))];
    assert!(is_linear(&Register, &history));
    let history = [told(Write(1), Done, (0, 10)), told(Read, Value(0), (11, 20))];
    assert!(!is_linear(&Register, &history));
}

#[test]
fn a_call_without_an_answer_may_take_effect_late_or_never_but_not_before_it_was_made() {
    let read = |value, at| told(Read, Value(value), (at, at + 1));
    let write = lost(Write(7), 10);
    assert!(is_linear(&Register, &[write.clone(), read(0, 20), read(0, 1_000)]), "never");
    assert!(is_linear(&Register, &[write.clone(), read(0, 20), read(7, 1_000)]), "late");
    assert!(!is_linear(&Register, &[write.clone(), read(7, 20), read(0, 30)]), "and not again");
    assert!(!is_linear(&Register, &[read(7, 0), write]), "before it was made");
}

#[test]
fn of_two_swaps_from_one_value_one_succeeds() {
    let swap = |to, reply, at| told(Swap { from: 0, to }, reply, at);
    assert!(is_linear(&Register, &[swap(1, Done, (0, 10)), swap(2, Other, (0, 10))]));
    assert!(!is_linear(&Register, &[swap(1, Done, (0, 10)), swap(2, Done, (0, 10))]));
    assert!(!is_linear(&Register, &[swap(1, Other, (0, 10)), swap(2, Other, (0, 10))]));
}

#[test]
fn a_chain_of_lost_swaps_explains_a_value_only_in_full() {
    let swap = |from, to| lost(Swap { from, to }, 0);
    let read = told(Read, Value(3), (100, 101));
    assert!(is_linear(&Register, &[swap(2, 3), swap(0, 1), swap(1, 2), read.clone()]));
    assert!(!is_linear(&Register, &[swap(2, 3), swap(0, 1), read]));
}

#[test]
fn histories_of_many_keys_are_judged_key_by_key() {
    let write = |value| told(Write(value), Done, (0, 1));
    let read = |value| told(Read, Value(value), (2, 3));
    let history = [("a", write(1)), ("b", write(2)), ("a", read(1)), ("b", read(1))];
    let wrong = check_by(&Register, history, MANY);
    let [(key, part, Verdict::Violated(violation))] = wrong.as_slice() else {
        panic!("{wrong:?}");
    };
    assert_eq!((*key, part.len()), ("b", 2));
    assert_eq!(*violation, Violation { explained: vec![0], unexplained: 1 });
}

#[test]
fn a_search_without_end_is_given_up_and_says_so() {
    // Forty writes at once and a value that none of them wrote: as many states as orders, but for the memory.
    let mut history: Vec<_> = (1..=40).map(|value| told(Write(value), Done, (0, 100))).collect();
    history.push(told(Read, Value(99), (0, 100)));
    assert!(matches!(check(&Register, &history, 1_000), Verdict::Undecided(_)));
}

#[test]
fn a_long_history_with_many_lost_calls_is_judged_within_few_configurations() {
    let mut history = Vec::new();
    for round in 0..500_u64 {
        let at = round * 10;
        history.push(told(Write(round), Done, (at, at + 3)));
        history.push(lost(Write(100_000 + round), at + 4));
        history.push(told(Read, Value(round), (at + 5, at + 8)));
    }
    assert!(
        matches!(check(&Register, &history, 5_000), Verdict::Linear(order) if order.len() == 1_000)
    );
    history.push(told(Read, Value(100_007), (9_000, 9_001)));
    assert!(is_linear(&Register, &history), "one of the lost ones after all");
}
