//! A witness that is nobody's of ours: `aics-witness`, as others run it.
//!
//! Not here: what it makes of our notes one by one (`audit/ship/tests`). Invariant: it keeps its key and what it has seen for as
//! long as this value lives, through any number of deaths.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const NAME: &str = "witness.example/w1";
const PATIENCE: Duration = Duration::from_secs(60);

/// The program, and what it keeps.
pub struct OutsideWitness {
    running: Option<Child>,
    packages: PathBuf,
    home: tempfile::TempDir,
    port: u16,
    vkey: String,
}

impl OutsideWitness {
    /// Starts one that knows a log. Where it is not installed the test is skipped, which fails where `CI` is set.
    #[expect(clippy::print_stderr, reason = "a skipped test must say so")]
    pub fn of(log_vkey: &str) -> Option<Self> {
        let Some(packages) = packages() else {
            assert!(std::env::var_os("CI").is_none(), "aics-witness is not installed");
            eprintln!("skipped: aics-witness is not installed (`make verifiers` does it)");
            return None;
        };
        let home = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut witness = Self { running: None, packages, home, port, vkey: String::new() };
        let listen = format!("127.0.0.1:{port}");
        let told = witness.says(&["init", "--name", NAME, "--listen", &listen]);
        witness.vkey = told.lines().find(|line| line.starts_with(NAME)).unwrap().to_owned();
        let origin = log_vkey.split('+').next().unwrap();
        witness.says(&["add-log", "--origin", origin, "--vkey", log_vkey]);
        witness.start();
        Some(witness)
    }

    pub fn vkey(&self) -> &str {
        &self.vkey
    }

    pub fn name(&self) -> &str {
        NAME
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Begins, or begins again with what it had seen.
    pub fn start(&mut self) {
        self.running = Some(self.command(&["serve"]).stdout(Stdio::null()).spawn().unwrap());
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(begun.elapsed() < PATIENCE, "the witness does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.running.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut python = Command::new("python3");
        python.env("PYTHONPATH", &self.packages).args(["-m", "aics_witness"]).args(words);
        python.arg("--config").arg(self.home.path().join("witness.json")).stderr(Stdio::null());
        python
    }

    fn says(&self, words: &[&str]) -> String {
        let output = self.command(words).output().unwrap();
        assert!(output.status.success(), "{words:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for OutsideWitness {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Where `make verifiers` puts it: beside the build.
fn packages() -> Option<PathBuf> {
    let test = std::env::current_exe().ok()?;
    let mut places = test.ancestors().map(|folder: &Path| folder.join("verifiers/aics"));
    places.find(|place| place.join("aics_witness").exists())
}
