//! Histories at random: those that happened are accepted, and the rest is judged as a search without cleverness judges it.
//!
//! Not here: histories that people know (`known`). Invariant: a failing history is printed by proptest, shrunk.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

fn register_call() -> impl Strategy<Value = RegisterCall> {
    prop_oneof![
        2 => Just(RegisterCall::Read),
        1 => (0..4_u64).prop_map(RegisterCall::Write),
        2 => (0..4_u64, 0..4_u64).prop_map(|(from, to)| RegisterCall::Swap { from, to }),
    ]
}

fn register_reply() -> impl Strategy<Value = RegisterReply> {
    prop_oneof![
        (0..4_u64).prop_map(RegisterReply::Value),
        Just(RegisterReply::Done),
        Just(RegisterReply::Other),
    ]
}

fn grant_call() -> impl Strategy<Value = GrantCall> {
    prop_oneof![Just(GrantCall::Give), Just(GrantCall::Use), Just(GrantCall::Look)]
}

fn grant_reply() -> impl Strategy<Value = GrantReply> {
    use GrantReply::{Absent, Done, Present, Used};
    prop_oneof![Just(Done), Just(Absent), Just(Present), Just(Used)]
}

/// What happens to one call of an execution.
#[derive(Clone, Debug)]
enum Fate {
    /// It was made so long before it took effect and answered so long after.
    Heard(u64, u64),
    /// It took effect and nobody heard.
    Unheard(u64),
    /// It never took effect.
    Dropped,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => (0..60_u64, 0..60_u64).prop_map(|(before, after)| Fate::Heard(before, after)),
        1 => (0..60_u64).prop_map(Fate::Unheard),
        1 => Just(Fate::Dropped),
    ]
}

/// The history of calls that took effect one after the other, ten instants apart.
fn executed<M: Model>(model: &M, calls: Vec<(M::Call, Fate)>, answers: &[M::Reply]) -> Vec<Of<M>>
where
    M::Reply: Clone,
{
    let (mut state, mut history) = (model.first(), Vec::new());
    for (number, (call, fate)) in (10_u64..).zip(calls) {
        let at = number * 10;
        let said = answers.iter().find(|reply| model.step(&state, &call, Some(reply)).is_some());
        let said = said.expect("one of the answers fits").clone();
        let after = model.step(&state, &call, None).unwrap();
        match fate {
            Fate::Heard(before, later) => {
                state = after;
                history.push(told(call, said, (at - before, at + later)));
            }
            Fate::Unheard(before) => {
                state = after;
                history.push(lost(call, at - before));
            }
            Fate::Dropped => history.push(lost(call, at)),
        }
    }
    history
}

fn register_answers() -> Vec<RegisterReply> {
    let values = (0..4).map(RegisterReply::Value);
    values.chain([RegisterReply::Done, RegisterReply::Other]).collect()
}

fn any_history<M: Model>(
    call: impl Strategy<Value = M::Call>,
    reply: impl Strategy<Value = M::Reply>,
) -> impl Strategy<Value = Vec<Of<M>>> {
    let reply = proptest::option::weighted(0.8, (reply, 0..12_u64));
    let operation = (call, 0..20_u64, reply).prop_map(|(call, called_at, reply)| Operation {
        call,
        called_at,
        reply: reply.map(|(reply, took)| (reply, called_at + took)),
    });
    proptest::collection::vec(operation, 0..7)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn what_a_register_did_is_accepted(
        calls in proptest::collection::vec((register_call(), fate()), 0..60),
    ) {
        let history = executed(&Register, calls, &register_answers());
        prop_assert!(is_linear(&Register, &history));
    }

    #[test]
    fn what_a_grant_did_is_accepted(
        calls in proptest::collection::vec((grant_call(), fate()), 0..60),
    ) {
        use GrantReply::{Absent, Done, Present, Used};
        let history = executed(&Grant, calls, &[Done, Absent, Present, Used]);
        prop_assert!(is_linear(&Grant, &history));
    }

    #[test]
    fn any_history_of_a_register_is_judged_as_every_order_judges_it(
        history in any_history::<Register>(register_call(), register_reply()),
    ) {
        prop_assert_eq!(is_linear(&Register, &history), brute(&Register, &history));
    }

    #[test]
    fn any_history_of_a_grant_is_judged_as_every_order_judges_it(
        history in any_history::<Grant>(grant_call(), grant_reply()),
    ) {
        prop_assert_eq!(is_linear(&Grant, &history), brute(&Grant, &history));
    }

    #[test]
    fn a_small_history_with_one_answer_changed_is_judged_as_every_order_judges_it(
        calls in proptest::collection::vec((register_call(), fate()), 1..7),
        (place, other) in (any::<Index>(), register_reply()),
    ) {
        let mut history = executed(&Register, calls, &register_answers());
        let place = place.index(history.len());
        if let Some((reply, _)) = &mut history[place].reply {
            *reply = other;
        }
        prop_assert_eq!(is_linear(&Register, &history), brute(&Register, &history));
    }
}

/// A read that is changed to a value which was not there is refused unless a call without an answer can account for it.
#[test]
fn of_histories_with_one_read_changed_nearly_all_are_refused() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;

    let (mut runner, mut refused) = (TestRunner::deterministic(), 0);
    let heard = (0..20_u64, 0..20_u64).prop_map(|(before, after)| Fate::Heard(before, after));
    let calls = proptest::collection::vec((register_call(), heard), 40);
    for _ in 0..500 {
        let calls = calls.new_tree(&mut runner).unwrap().current();
        let mut history = executed(&Register, calls, &register_answers());
        let reads = history.iter_mut().filter_map(|operation| match &mut operation.reply {
            Some((RegisterReply::Value(value), _)) => Some(value),
            _ => None,
        });
        let Some(value) = reads.last() else { continue };
        *value += 10;
        refused += usize::from(!is_linear(&Register, &history));
    }
    assert!(refused > 490, "{refused} of 500");
}
