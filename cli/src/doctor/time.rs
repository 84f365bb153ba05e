//! Is the clock believable? Tokens expire by it and records are dated with it.
//!
//! Not here: how far it is from the true time; nobody is asked over the network. Invariant: a clock that stands before
//! something this machine already did is a failure.

use std::fs;
use std::path::Path;

use aegis_domain::{Timestamp, Ttl};

use super::Check;
use crate::clock;

const NAME: &str = "clock";
/// 2026-01-01: nothing of this was written before.
const FLOOR: Timestamp = Timestamp::from_unix_s(1_767_225_600);
/// File systems round, and a file may have been written this very instant.
const SLACK: Ttl = Ttl::from_s(2);
/// Enough to meet every small directory; a long audit log need not be walked whole.
const ENTRIES_MAX: usize = 10_000;

pub(super) fn check(data_dir: &Path) -> Check {
    judge(clock::now(), newest(data_dir))
}

fn judge(now: Timestamp, newest: Timestamp) -> Check {
    const ADVICE: &str = "set the clock, and keep it with NTP";
    if now < FLOOR {
        return Check::fail(NAME, format!("it says {}", clock::show(now)), ADVICE);
    }
    if now.plus(SLACK) < newest {
        let behind = newest.since(now).s_ceil();
        let found = format!("{behind} s behind the newest file in the data directory");
        return Check::fail(NAME, found, ADVICE);
    }
    Check::ok(NAME, clock::show(now))
}

/// When the directory was last written, as its files say.
fn newest(data_dir: &Path) -> Timestamp {
    let mut newest = Timestamp::from_unix_s(0);
    let mut folders = vec![data_dir.to_owned()];
    let mut left = ENTRIES_MAX;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten().take(left) {
            left = left.saturating_sub(1);
            let Ok(meta) = entry.metadata() else { continue };
            newest = newest.max(meta.modified().map_or(newest, clock::of));
            if meta.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    newest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[test]
    fn a_clock_before_the_newest_file_fails() {
        let now = FLOOR.plus(Ttl::from_s(1_000));
        assert_eq!(judge(now, now.plus(Ttl::from_s(1))).status, Status::Ok);
        assert_eq!(judge(now, now.plus(Ttl::from_s(60))).status, Status::Fail);
        assert_eq!(
            judge(Timestamp::from_unix_s(0), Timestamp::from_unix_s(0)).status,
            Status::Fail
        );
    }
}
