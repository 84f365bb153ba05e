//! Attacks readers with changed copies of what they read: for tests only.
//!
//! Not here: what a reader must answer (`tests/readers`, one file for each sort of artefact). Invariant: whatever is read, the
//! reader ends, does not panic, and holds no more memory at a time than the input's length warrants.

#![expect(clippy::panic, reason = "for tests only, which fail by it")]

mod change;

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::test_runner::{Config, TestError, TestRunner};

pub use change::{Change, change};

/// A reader may hold this many bytes for each byte it reads, and the room beside them.
const HELD_PER_BYTE: u64 = 64;
const HELD_BESIDE: u64 = 1 << 20;
/// So many changes are made to one artefact.
const CHANGES_MAX: usize = 4;
/// A case costs microseconds, so there are more of them than proptest's usual number.
const CASES_FACTOR: u32 = 4;
/// How long to go on, in seconds; without it, until the cases are through.
const SECONDS: &str = "AEGIS_FUZZ_SECONDS";

/// Has `read` read changed copies of the artefacts, each of which it accepts as it is. `read` itself asserts what it must do
/// with what it accepts. A failure comes with the fewest changes that lead to it.
pub fn attack(artefacts: &[Vec<u8>], read: impl Fn(&[u8])) {
    let config = Config::default();
    let cases = config.cases.saturating_mul(CASES_FACTOR);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..config });
    let changed = (0..artefacts.len(), vec(change(), 1..=CHANGES_MAX));
    let (begun, wanted) = (Instant::now(), wanted());
    loop {
        let result = runner.run(&changed, |(nth, changes)| {
            within_reason(&changed_by(artefacts, nth, &changes), &read);
            Ok(())
        });
        match result {
            Ok(()) if begun.elapsed() < wanted => {}
            Ok(()) => return,
            Err(TestError::Abort(why)) => panic!("nothing was tried: {why}"),
            Err(TestError::Fail(why, (nth, changes))) => {
                let input = changed_by(artefacts, nth, &changes);
                let (length, shown) = (input.len(), input.get(..4_096).unwrap_or(&input));
                let shown = shown.escape_ascii();
                panic!("{why}\nartefact {nth}, {changes:?}\n{length} bytes: {shown}");
            }
        }
    }
}

fn wanted() -> Duration {
    let seconds = env::var(SECONDS).ok().map(|text| text.parse());
    match seconds {
        None => Duration::ZERO,
        Some(Ok(seconds)) => Duration::from_secs(seconds),
        Some(Err(_)) => panic!("{SECONDS} is no number of seconds"),
    }
}

fn changed_by(artefacts: &[Vec<u8>], nth: usize, changes: &[Change]) -> Vec<u8> {
    let mut bytes = artefacts.get(nth).cloned().unwrap_or_default();
    changes.iter().for_each(|change| change.apply(&mut bytes, artefacts));
    bytes
}

/// Reads an input, and fails if that took memory out of proportion to it.
pub fn within_reason(input: &[u8], read: &impl Fn(&[u8])) {
    let mut end = Ok(());
    // A panic must not leave the counter counting.
    let counted = allocation_counter::measure(|| {
        end = catch_unwind(AssertUnwindSafe(|| read(input)));
    });
    if let Err(panic) = end {
        resume_unwind(panic);
    }
    let length = u64::try_from(input.len()).unwrap_or(u64::MAX);
    let most = length.saturating_mul(HELD_PER_BYTE).saturating_add(HELD_BESIDE);
    let held = counted.bytes_max;
    assert!(held <= most, "{held} bytes were held at a time for an input of {length}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "were held at a time")]
    fn a_reader_that_believes_a_length_is_found() {
        attack(&[b"12 twelve bytes".to_vec()], |input| {
            let text = String::from_utf8_lossy(input);
            let length = text.split(' ').next().and_then(|length| length.parse::<usize>().ok());
            drop(Vec::<u8>::with_capacity(length.unwrap_or(0).min(1 << 30)));
        });
    }

    #[test]
    #[should_panic(expected = "no such line")]
    fn a_reader_that_takes_a_line_for_granted_is_found() {
        attack(&[b"one\ntwo\n".to_vec()], |input| {
            let lines = input.split(|byte| *byte == b'\n');
            assert!(lines.count() > 2, "no such line");
        });
    }
}
