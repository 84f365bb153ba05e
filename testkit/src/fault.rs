//! Calls of the kernel that fail, or take their time, in a gateway that runs: `strace` stands between the two.
//!
//! Not here: what the gateway must do then. Invariant: a fault ends with its value, and is counted, so that none that never came
//! proves anything.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Building;

/// How long attaching to a process may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long letting go of one may take.
const LETS_GO_WITHIN: Duration = Duration::from_secs(10);

/// What happens to some calls of one process, until it is dropped.
pub struct Fault {
    strace: Child,
    folder: TempDir,
}

impl Fault {
    /// Whether this user may do that here; says so where not, which is a failure where `CI` is set.
    #[expect(clippy::print_stderr, reason = "a skipped test must say so")]
    pub fn is_possible() -> bool {
        let mut probe = Command::new("strace");
        probe.args(["-qq", "-o", "/dev/null", "-e", "inject=fdatasync:error=EIO", "true"]);
        let is_possible = probe.status().is_ok_and(|status| status.success());
        assert!(is_possible || std::env::var_os("CI").is_none(), "strace cannot be used here");
        if !is_possible {
            eprintln!("skipped: strace is not installed, or may not trace");
        }
        is_possible
    }

    /// Lets this happen to such calls (`fdatasync`) of a gateway: `error=EIO`. Where files are named, only to calls on them.
    pub async fn begin(
        building: &Building,
        (calls, what): (&str, &str),
        files: &[PathBuf],
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let process = building.process().to_string();
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-y", "-s", "0", "-p", &process]);
        strace.args(["-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:{what}")]);
        for file in files {
            strace.arg("-P").arg(file.canonicalize().unwrap());
        }
        strace.arg("-o").arg(folder.path().join("trace")).stdin(Stdio::null());
        let fault = Self { strace: strace.spawn().unwrap(), folder };
        let begun = Instant::now();
        while !is_traced(&process) {
            assert!(begun.elapsed() < PATIENCE, "strace does not attach");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        fault
    }

    /// The calls that it met by now, each with the file.
    pub fn met(&self) -> Vec<String> {
        let trace = std::fs::read_to_string(self.folder.path().join("trace")).unwrap();
        trace.lines().filter(|line| line.contains("sync(")).map(str::to_owned).collect()
    }

    /// Ends it: the calls that wait go on.
    pub fn end(mut self) -> Vec<String> {
        self.let_go();
        self.met()
    }

    fn let_go(&mut self) {
        if self.strace.try_wait().unwrap().is_none() {
            // SIGTERM lets go of the process; SIGKILL would leave it stopped.
            let id = self.strace.id().to_string();
            Command::new("kill").arg(&id).status().unwrap();
            let begun = Instant::now();
            while self.strace.try_wait().unwrap().is_none() {
                // It waits for ever for a process that ended while a call of it was held up.
                if begun.elapsed() > LETS_GO_WITHIN {
                    self.strace.kill().unwrap();
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// Whether every thread of a process has a tracer.
fn is_traced(process: &str) -> bool {
    let threads = std::fs::read_dir(Path::new("/proc").join(process).join("task"));
    let status = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("status"));
    threads.is_ok_and(|threads| {
        let is_alone = |status: String| status.contains("TracerPid:\t0\n");
        !threads.flatten().any(|thread| status(thread).is_ok_and(is_alone))
    })
}
