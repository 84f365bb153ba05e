//! Looks for the order: Wing and Gong's search with Lowe's memory and laziness ("Testing and Proving Linearizability", JPDC
//! 1993; "Testing for Linearizability", Concurrency and Computation 2017).
//!
//! Not here: what a call does (`models`). Invariant: what was tried once, the same calls done and the same state reached, is
//! not tried again; a call comes next only if no call that is still to come was answered before it was made.
//!
//! Lazy means that the call whose answer is due comes first, and one without an answer comes last and only if it changes
//! something: it may as well never have happened.

use std::collections::HashSet;

use crate::bits::Bits;
use crate::history::{Model, Of, Operation, Undecided, Verdict, Violation};

pub(crate) fn run<M: Model>(model: &M, history: &[Of<M>], configurations_max: usize) -> Verdict {
    let mut search = Search::new(model, history);
    loop {
        if search.deepest.is_none() {
            return Verdict::Linear(search.order());
        }
        if search.seen.len() > configurations_max {
            return Verdict::Undecided(Undecided { configurations: search.seen.len() });
        }
        if !search.advance() {
            return Verdict::Violated(search.violation());
        }
    }
}

/// A call that was put into the order, the state before it, and what else could have been put there.
struct Frame<S> {
    placed: usize,
    before: S,
    others: Vec<usize>,
}

struct Search<'a, M: Model> {
    model: &'a M,
    history: &'a [Of<M>],
    by_call: Vec<usize>,
    /// Only those that were answered.
    by_reply: Vec<usize>,
    done: Bits,
    state: M::State,
    frames: Vec<Frame<M::State>>,
    seen: HashSet<(Bits, M::State)>,
    untried: Vec<usize>,
    /// The longest order so far and the answer that was due after it; `None` when none is due any more.
    deepest: Option<(Vec<usize>, usize)>,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, history: &'a [Of<M>]) -> Self {
        let at = |place: &usize| history.get(*place);
        let mut by_call: Vec<_> = (0..history.len()).collect();
        by_call.sort_by_key(|place| at(place).map(|operation| operation.called_at));
        let mut by_reply = by_call.clone();
        by_reply.retain(|place| at(place).is_some_and(|operation| operation.reply.is_some()));
        by_reply.sort_by_key(|place| at(place).and_then(Operation::replied_at));
        let mut search = Self {
            model,
            history,
            by_call,
            by_reply,
            done: Bits::empty(history.len()),
            state: model.first(),
            frames: Vec::new(),
            seen: HashSet::new(),
            untried: Vec::new(),
            deepest: Some((Vec::new(), 0)),
        };
        search.look_ahead();
        search
    }

    fn order(&self) -> Vec<usize> {
        self.frames.iter().map(|frame| frame.placed).collect()
    }

    fn violation(self) -> Violation {
        let (explained, unexplained) = self.deepest.unwrap_or_default();
        Violation { explained, unexplained }
    }

    /// Finds out which calls may come next.
    fn look_ahead(&mut self) {
        let Some(due) = self.by_reply.iter().copied().find(|place| !self.done.has(*place)) else {
            self.deepest = None;
            return;
        };
        if self.deepest.as_ref().is_none_or(|(order, _)| order.len() <= self.frames.len()) {
            self.deepest = Some((self.order(), due));
        }
        let answered = self.history.get(due).and_then(Operation::replied_at).unwrap_or_default();
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for place in self.by_call.iter().copied() {
            let Some(operation) = self.history.get(place) else { continue };
            if operation.called_at > answered {
                break;
            }
            if self.done.has(place) || place == due {
                continue;
            }
            if operation.reply.is_some() { known.push(place) } else { unknown.push(place) }
        }
        // The last is tried first.
        unknown.append(&mut known);
        unknown.push(due);
        self.untried = unknown;
    }

    /// Puts one more call into the order, or takes some back; `false` when there is nothing left to try.
    fn advance(&mut self) -> bool {
        loop {
            while let Some(place) = self.untried.pop() {
                if self.place(place) {
                    return true;
                }
            }
            let Some(frame) = self.frames.pop() else { return false };
            self.done.remove(frame.placed);
            self.state = frame.before;
            self.untried = frame.others;
        }
    }

    fn place(&mut self, place: usize) -> bool {
        let Some(operation) = self.history.get(place) else { return false };
        let Some(after) = self.model.step(&self.state, &operation.call, operation.heard()) else {
            return false;
        };
        if operation.reply.is_none() && after == self.state {
            return false;
        }
        self.done.insert(place);
        if !self.seen.insert((self.done.clone(), after.clone())) {
            self.done.remove(place);
            return false;
        }
        let before = std::mem::replace(&mut self.state, after);
        let others = std::mem::take(&mut self.untried);
        self.frames.push(Frame { placed: place, before, others });
        self.look_ahead();
        true
    }
}
