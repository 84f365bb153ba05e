//! Threads for work that can be done ahead of its turn: the crew of the verifier.
//!
//! Not here: what the work is (`audit/verify`). Invariant: no more is done ahead than twice as many errands as there are threads, so
//! memory does not grow with the log; a thread that panics costs its errand and nothing else.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use aegis_audit_verify::{Alone, Crew, Lead};

/// How many errands may be done at once.
#[derive(Clone, Copy, Debug)]
pub struct Threads(NonZeroUsize);

impl Threads {
    /// As many as asked for, or as the machine has cores.
    pub fn new(wanted: Option<NonZeroUsize>) -> Self {
        Self(wanted.or_else(|| thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN))
    }
}

impl Crew for Threads {
    fn run(&self, count: usize, errand: &(dyn Fn(usize) + Sync), lead: &mut Lead<'_>) {
        let threads = self.0.get().min(count);
        if threads < 2 {
            return Alone.run(count, errand, lead);
        }
        let board = Board::new(count, threads.saturating_mul(2));
        thread::scope(|scope| {
            // Also when the lead panics, or threads would wait for it for ever.
            let _closing = Closing(&board);
            let begin =
                || thread::Builder::new().spawn_scoped(scope, || board.work(errand)).is_ok();
            match (0..threads).filter(|_| begin()).count() {
                0 => Alone.run(count, errand, lead),
                _ => lead(&|turn| board.wait(turn)),
            }
        });
    }
}

/// Who does what, and what is done.
struct Board {
    state: Mutex<State>,
    changed: Condvar,
    /// Errands that may be under way or done, and not waited for yet.
    ahead_max: usize,
}

struct State {
    /// The next errand to be begun.
    next: usize,
    /// The one that was waited for last.
    awaited: usize,
    done: Vec<bool>,
    is_over: bool,
}

impl Board {
    fn new(count: usize, ahead_max: usize) -> Self {
        let state = State { next: 0, awaited: 0, done: vec![false; count], is_over: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), ahead_max }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pause<'s>(&self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, errand: &(dyn Fn(usize) + Sync)) {
        while let Some(turn) = self.next() {
            // What an errand that panics left undone is done in its turn, by whoever waits.
            drop(catch_unwind(AssertUnwindSafe(|| errand(turn))));
            if let Some(done) = self.lock().done.get_mut(turn) {
                *done = true;
            }
            self.changed.notify_all();
        }
    }

    fn next(&self) -> Option<usize> {
        let mut state = self.lock();
        loop {
            // Whoever waits never turns back.
            state.next = state.next.max(state.awaited);
            if state.is_over || state.next >= state.done.len() {
                return None;
            }
            if state.next < state.awaited.saturating_add(self.ahead_max) {
                let turn = state.next;
                state.next = turn.saturating_add(1);
                return Some(turn);
            }
            state = self.pause(state);
        }
    }

    fn wait(&self, turn: usize) {
        let mut state = self.lock();
        state.awaited = state.awaited.max(turn);
        self.changed.notify_all();
        while state.done.get(turn) == Some(&false) {
            state = self.pause(state);
        }
    }
}

struct Closing<'b>(&'b Board);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.lock().is_over = true;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn threads(count: usize) -> Threads {
        Threads::new(NonZeroUsize::new(count))
    }

    #[test]
    fn what_was_waited_for_is_done_and_never_much_more() {
        for count in [0, 1, 2, 3, 100] {
            let done: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
            let so_far = AtomicUsize::new(0);
            let errand = |turn: usize| {
                done[turn].fetch_add(1, Ordering::Relaxed);
                so_far.fetch_add(1, Ordering::Relaxed);
            };
            threads(3).run(count, &errand, &mut |wait| {
                for turn in (0..count).filter(|turn| turn % 7 != 3) {
                    wait(turn);
                    assert!(count < 2 || done[turn].load(Ordering::Relaxed) == 1);
                    assert!(so_far.load(Ordering::Relaxed) <= turn + 6);
                }
            });
            assert!(done.iter().all(|times| times.load(Ordering::Relaxed) <= 1));
        }
    }

    #[test]
    fn an_errand_that_panics_holds_nobody_up_and_a_lead_that_leaves_ends_the_rest() {
        let errand = |turn: usize| assert!(turn != 5, "on purpose");
        threads(2).run(20, &errand, &mut |wait| (0..20).for_each(wait));
        threads(2).run(1_000_000, &errand, &mut |wait| wait(3));
        let left = catch_unwind(|| {
            threads(2).run(20, &|_| {}, &mut |_| panic!("on purpose"));
        });
        assert!(left.is_err());
    }
}
