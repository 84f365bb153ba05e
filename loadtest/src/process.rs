//! What a process costs: CPU time from `/proc/<pid>/stat`, resident memory from `/proc/<pid>/status`.
//!
//! Not here: starting processes (`peers`). Invariant: a number that cannot be read is an error, never zero.

use std::path::PathBuf;
use std::time::Duration;

/// Why a process cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("{path} cannot be read")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} does not hold {what}")]
    Form { path: PathBuf, what: &'static str },
}

/// User and system time the process has used so far, all threads together, and the processes it started; exact to one
/// clock tick for each.
pub fn cpu_time(pid: u32) -> Result<Duration, ProcessError> {
    let mut ticks: u64 = 0;
    let mut family = vec![pid];
    while let Some(pid) = family.pop() {
        let (path, text) = read(pid, "stat")?;
        let own =
            cpu_ticks(&text).ok_or(ProcessError::Form { path, what: "user and system time" })?;
        ticks = ticks.saturating_add(own);
        family.extend(children(pid)?);
    }
    let ticks_per_s = rustix::param::clock_ticks_per_second().max(1);
    let ns = u128::from(ticks).saturating_mul(1_000_000_000) / u128::from(ticks_per_s);
    Ok(Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX)))
}

/// Whom the main thread of a process has started (proc_tid_children(5)): programs of helpers fork there.
fn children(pid: u32) -> Result<Vec<u32>, ProcessError> {
    let (path, text) = read(pid, &format!("task/{pid}/children"))?;
    let children = text.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>();
    children.map_err(|_| ProcessError::Form { path, what: "process ids" })
}

/// Resident memory in bytes.
pub fn resident_bytes(pid: u32) -> Result<u64, ProcessError> {
    let (path, text) = read(pid, "status")?;
    vm_rss_bytes(&text).ok_or(ProcessError::Form { path, what: "VmRSS" })
}

fn read(pid: u32, name: &str) -> Result<(PathBuf, String), ProcessError> {
    let path = PathBuf::from(format!("/proc/{pid}/{name}"));
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok((path, text)),
        Err(source) => Err(ProcessError::Read { path, source }),
    }
}

/// Fields 14 and 15 of proc_pid_stat(5). Field 2 is a name that may hold blanks and brackets, so counting begins after
/// its last bracket, with field 3.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(14 - 3);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

fn vm_rss_bytes(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_user_and_system_time_whatever_the_name() {
        let tail = "S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 9 0 100 0 0";
        for name in ["(a)", "(a b)", "(a) S 9 9 9 (b)"] {
            assert_eq!(cpu_ticks(&format!("42 {name} {tail}")), Some(300), "{name}");
        }
        assert_eq!(cpu_ticks("42 (a) S 1 2"), None);
        assert_eq!(cpu_ticks("42 (a) S 1 2 3 4 5 6 7 8 9 10 -1 50"), None);
        assert_eq!(cpu_ticks(""), None);
    }

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(vm_rss_bytes("VmHWM:\t 9 kB\nVmRSS:\t    2048 kB\n"), Some(2_097_152));
        assert_eq!(vm_rss_bytes("VmRSS:\t 2048\n"), None);
        assert_eq!(vm_rss_bytes("Name:\tx\n"), None);
    }

    #[test]
    fn this_process_can_be_read() {
        let pid = std::process::id();
        assert!(cpu_time(pid).is_ok());
        assert!(resident_bytes(pid).unwrap() > 100_000);
        assert!(matches!(cpu_time(u32::MAX), Err(ProcessError::Read { .. })));
    }
}
