//! A store as a process of its own: on a free port, waited for until it listens.
//!
//! Not here: which program it is, and what it answers. Invariant: it does not outlive the test; a program that is not installed is
//! said to be absent, and where `CI` is set that is a failure.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// A running store.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pub(crate) port: u16,
}

impl Process {
    /// Starts what `command` makes of a port, and waits until it listens there.
    pub(crate) fn start(name: &str, command: impl FnOnce(u16) -> Command) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = command(port);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Self { child: command.spawn().unwrap(), port };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < PATIENCE, "{name} does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        process
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The folder below one of the test's own where `make buckets` put a program, if it did: `file` is in it.
pub(crate) fn installed(folder: &str, file: &str) -> Option<PathBuf> {
    let test = std::env::current_exe().ok()?;
    let mut folders = test.ancestors().map(|above| above.join(folder));
    folders.find(|folder| folder.join(file).is_file())
}

/// Says that a program is not installed.
#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
pub(crate) fn absent<T>(name: &str) -> Option<T> {
    assert!(std::env::var_os("CI").is_none(), "{name} is not installed");
    eprintln!("skipped: {name} is not installed (`make buckets` does it)");
    None
}
