//! A crew of two threads.
//!
//! Not here: a bound on what is done ahead (`aegisctl` has the crew that people use). Invariant: all is done before anything is
//! waited for.

use std::sync::atomic::{AtomicUsize, Ordering};

use aegis_audit_verify::{Crew, Lead};

pub(crate) struct Two;

impl Crew for Two {
    fn run(&self, count: usize, errand: &(dyn Fn(usize) + Sync), lead: &mut Lead<'_>) {
        let next = AtomicUsize::new(0);
        let work = || {
            let turns = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
            turns.take_while(|turn| *turn < count).for_each(errand);
        };
        std::thread::scope(|scope| {
            scope.spawn(work);
            work();
        });
        lead(&|_| {});
    }
}
