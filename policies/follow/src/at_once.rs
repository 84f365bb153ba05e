//! Does the same with many things on several threads.
//!
//! Not here: what is done (`follow`). Invariant: each thing is done once, and what came of it stands in the order of the things.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// As many threads as can run at once here.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// `threads` counts the caller's own, which works as well: what cannot be started is done without.
pub(crate) fn at_once<T: Sync, R: Send>(
    things: &[T],
    threads: usize,
    act: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let work = || {
        let numbers = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        let mine = numbers.map_while(|number| Some((number, act(things.get(number)?))));
        mine.collect::<Vec<_>>()
    };
    let mut done = thread::scope(|scope| {
        let others = threads.min(things.len()).saturating_sub(1);
        let start = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
        let others: Vec<_> = (0..others).filter_map(start).collect();
        let mut done = work();
        for other in others {
            match other.join() {
                Ok(theirs) => done.extend(theirs),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_unstable_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_done_once_and_told_in_order() {
        let things: Vec<usize> = (0..1_000).collect();
        for threads in [0, 1, 2, 8, 2_000] {
            let count = AtomicUsize::new(0);
            let done = at_once(&things, threads, |thing| {
                count.fetch_add(1, Ordering::Relaxed);
                thing * 2
            });
            assert_eq!(done, things.iter().map(|thing| thing * 2).collect::<Vec<_>>());
            assert_eq!(count.into_inner(), things.len());
        }
        assert!(at_once(&[] as &[usize], 8, |thing| *thing).is_empty());
    }

    #[test]
    fn what_waits_for_another_is_not_alone() {
        let both = std::sync::Barrier::new(2);
        at_once(&[1, 2], 2, |_| both.wait().is_leader());
    }
}
