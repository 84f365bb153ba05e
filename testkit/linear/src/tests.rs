//! The checker held against histories that people know, violations that were planted, and a search without any cleverness.
//!
//! Not here: histories of the ledger (`raft-store`). Invariant: what the checker accepts is replayed by its own order.

mod known;
mod planted;
mod random;
mod rollouts;

use crate::*;

const MANY: usize = 1_000_000;

/// A call, its reply, and when each was.
pub(crate) fn told<C, R>(
    call: C,
    reply: R,
    (called_at, replied_at): (u64, u64),
) -> Operation<C, R> {
    Operation { call, called_at, reply: Some((reply, replied_at)) }
}

/// A call that nobody heard of again.
pub(crate) fn lost<C, R>(call: C, called_at: u64) -> Operation<C, R> {
    Operation { call, called_at, reply: None }
}

pub(crate) fn is_linear<M: Model>(model: &M, history: &[Of<M>]) -> bool {
    match check(model, history, MANY) {
        Verdict::Linear(order) => {
            replay(model, history, &order);
            true
        }
        Verdict::Violated(Violation { explained, unexplained }) => {
            assert!(history[unexplained].reply.is_some() && !explained.contains(&unexplained));
            false
        }
        Verdict::Undecided(undecided) => panic!("{undecided:?}"),
    }
}

/// Does what the order says, one call after the other, and holds it against real time.
fn replay<M: Model>(model: &M, history: &[Of<M>], order: &[usize]) {
    let mut state = model.first();
    for (number, place) in order.iter().enumerate() {
        let operation = &history[*place];
        state = model.step(&state, &operation.call, operation.heard()).expect("the reply fits");
        for later in &order[number + 1..] {
            let was_over = history[*later].replied_at().is_some_and(|at| at < operation.called_at);
            assert!(!was_over, "{later} was over before {place} began");
        }
    }
    let answered = (0..history.len()).filter(|place| history[*place].reply.is_some());
    assert!(answered.into_iter().all(|place| order.contains(&place)), "an answer is unexplained");
}

/// Every order of every choice of what took effect: right because it is dull.
pub(crate) fn brute<M: Model>(model: &M, history: &[Of<M>]) -> bool {
    fn go<M: Model>(model: &M, history: &[Of<M>], done: &mut Vec<usize>, state: &M::State) -> bool {
        let left: Vec<_> = (0..history.len()).filter(|place| !done.contains(place)).collect();
        if left.iter().all(|place| history[*place].reply.is_none()) {
            return true;
        }
        left.iter().any(|place| {
            let operation = &history[*place];
            let is_late = left.iter().any(|other| {
                history[*other].replied_at().is_some_and(|at| at < operation.called_at)
            });
            let Some(after) = model.step(state, &operation.call, operation.heard()) else {
                return false;
            };
            if is_late {
                return false;
            }
            done.push(*place);
            let found = go(model, history, done, &after);
            done.pop();
            found
        })
    }
    go(model, history, &mut Vec::new(), &model.first())
}
