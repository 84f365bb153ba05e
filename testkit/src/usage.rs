//! What a process has cost so far, as the kernel counts it.
//!
//! Not here: what it may cost; tests say that. Invariant: CPU time is of all threads, user and system (proc(5)).

use std::time::Duration;

/// `USER_HZ`: the unit of `/proc/<pid>/stat`, the same on every Linux.
const TICKS_PER_S: u64 = 100;

/// CPU time and resident memory.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub cpu: Duration,
    pub resident_kib: u64,
}

impl Usage {
    pub(crate) fn of(pid: u32) -> Self {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
        let stat = read("stat");
        // The second field is a name in parentheses, which may hold spaces.
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        let status = read("status");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let resident = resident.trim().strip_suffix(" kB").unwrap();
        Self {
            cpu: Duration::from_millis(ticks * 1_000 / TICKS_PER_S),
            resident_kib: resident.parse().unwrap(),
        }
    }

    /// What was used since `before`.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            resident_kib: self.resident_kib.saturating_sub(before.resident_kib),
        }
    }
}
