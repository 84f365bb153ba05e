//! What was called, what was answered, and when; and the question whether it can be explained.
//!
//! Not here: how an order is looked for (`search`), and what calls do (`models`). Invariant: only the order of instants
//! counts, so any clock will do that all clients of a history share and that never goes back.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;

use crate::search;

/// What a thing does when it is called by one client at a time.
pub trait Model {
    type State: Clone + Debug + Eq + Hash;
    type Call: Debug;
    type Reply: Debug;

    fn first(&self) -> Self::State;

    /// The state after a call, or `None` where this reply cannot come of it. A reply that nobody heard (`None`) may have been
    /// any.
    fn step(
        &self,
        state: &Self::State,
        call: &Self::Call,
        reply: Option<&Self::Reply>,
    ) -> Option<Self::State>;
}

/// One call of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<C, R> {
    pub call: C,
    pub called_at: u64,
    /// What was answered, and when. Without it the call may take effect at any time after it was made, or never.
    pub reply: Option<(R, u64)>,
}

impl<C, R> Operation<C, R> {
    pub(crate) fn replied_at(&self) -> Option<u64> {
        self.reply.as_ref().map(|(_, at)| *at)
    }

    pub(crate) fn heard(&self) -> Option<&R> {
        self.reply.as_ref().map(|(reply, _)| reply)
    }
}

/// A call of what a model describes.
pub type Of<M> = Operation<<M as Model>::Call, <M as Model>::Reply>;

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The order that explains the history: places in it, of every call that was answered and of those without an answer
    /// that took effect.
    Linear(Vec<usize>),
    Violated(Violation),
    Undecided(Undecided),
}

/// The longest explanation there is, and what no order explains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub explained: Vec<usize>,
    /// The first answer that no way of going on leads to.
    pub unexplained: usize,
}

/// The search was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecided {
    pub configurations: usize,
}

/// Looks for an order that explains a history, and gives up after so many configurations.
pub fn check<M: Model>(model: &M, history: &[Of<M>], configurations_max: usize) -> Verdict {
    search::run(model, history, configurations_max)
}

/// The same for many things of one kind: each by itself, since a history is linearizable exactly if what concerns each single
/// thing is (Herlihy and Wing, theorem 1). Gives the things whose history is not, or not surely.
pub fn check_by<M: Model, K: Ord>(
    model: &M,
    history: impl IntoIterator<Item = (K, Of<M>)>,
    configurations_max: usize,
) -> Vec<(K, Vec<Of<M>>, Verdict)> {
    let mut parts = BTreeMap::<K, Vec<_>>::new();
    for (key, operation) in history {
        parts.entry(key).or_default().push(operation);
    }
    let judged = parts.into_iter().map(|(key, part)| {
        let verdict = check(model, &part, configurations_max);
        (key, part, verdict)
    });
    judged.filter(|(_, _, verdict)| !matches!(verdict, Verdict::Linear(_))).collect()
}
