//! Can the data directory be written, and how long does the disk take to keep a promise?
//!
//! Not here: how full it is. Invariant: what is written is removed, also when the measurement fails.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use super::Check;
use crate::clock;

const NAME: &str = "data directory";
const WRITES: usize = 33;
const BLOCK: [u8; 4_096] = [0; 4_096];
/// Every call waits for one such write; beyond this the disk is what callers feel.
const SLOW: Duration = Duration::from_millis(10);

pub(super) fn check(data_dir: &Path) -> Check {
    let Ok(tag) = clock::random::<8>() else {
        return Check::fail(NAME, "the system gives no randomness", "look at the system log");
    };
    let path = data_dir.join(format!(".doctor-{:016x}", u64::from_be_bytes(tag)));
    let measured = measure(&path);
    fs::remove_file(&path).ok();
    match measured {
        Ok(times) => judge(times),
        Err(error) => {
            let found = format!("{}: {error}", data_dir.display());
            Check::fail(NAME, found, "let the gateway's user own the directory")
        }
    }
}

fn measure(path: &Path) -> io::Result<Vec<Duration>> {
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    (0..WRITES).map(|_| synced_write(&file)).collect()
}

fn synced_write(mut file: &File) -> io::Result<Duration> {
    let started = Instant::now();
    file.write_all(&BLOCK)?;
    file.sync_data()?;
    Ok(started.elapsed())
}

fn judge(mut times: Vec<Duration>) -> Check {
    times.sort();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    let worst = times.last().copied().unwrap_or_default();
    let found = format!(
        "writable; fdatasync median {:.2} ms, worst {:.2} ms",
        1e3 * median.as_secs_f64(),
        1e3 * worst.as_secs_f64()
    );
    if median > SLOW {
        Check::warn(NAME, found, "move it to a faster disk: every call waits for one write")
    } else {
        Check::ok(NAME, found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[test]
    fn a_slow_disk_is_a_warning_and_a_single_slow_write_is_not() {
        let fast = Duration::from_micros(300);
        assert_eq!(judge(vec![fast, fast, SLOW * 9]).status, Status::Ok);
        assert_eq!(judge(vec![fast, SLOW * 2, SLOW * 9]).status, Status::Warn);
    }

    #[test]
    fn nothing_is_left_behind() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(check(home.path()).status, Status::Ok);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }
}
