//! Others' programs: found beside the build, where `make verifiers` puts them, or said to be absent.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use aegis_audit_chain::Hash;

use crate::support::trust;

/// Finds what `make verifiers` installed; where `CI` is set, absence is a failure.
#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
fn find(name: &str) -> Option<PathBuf> {
    let test = std::env::current_exe().ok()?;
    let places = test.ancestors().map(|folder| folder.join("verifiers").join(name));
    let found = places.into_iter().find(|path: &PathBuf| path.exists());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{name} is not installed");
        eprintln!("skipped: {name} is not installed (`make verifiers` does it)");
    }
    found
}

/// Whether a verifier passes what it was shown, and what it says.
type Answer = (bool, String);

fn answer(command: &mut Command) -> Answer {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    // A verifier that fell over has not judged.
    assert!(said.ends_with("PASS\n") || said.starts_with("FAIL "), "{said}");
    (status.success(), said)
}

/// `tlog.go` beside this file, over golang.org/x/mod.
pub(super) struct Go {
    program: PathBuf,
    dir: tempfile::TempDir,
}

impl Go {
    pub(super) fn find() -> Option<Self> {
        let go = Self { program: find("tlog-go")?, dir: tempfile::tempdir().unwrap() };
        go.file("trust", &trust().to_string());
        Some(go)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Checks a shipped folder, whole.
    pub(super) fn bucket(&self, folder: &Path) -> Answer {
        let trust = self.dir.path().join("trust");
        answer(Command::new(&self.program).arg("bucket").arg(trust).arg(folder))
    }

    /// Checks a tlog-proof.
    pub(super) fn proof(&self, text: &str) -> Answer {
        let (trust, proof) = (self.dir.path().join("trust"), self.file("proof", text));
        answer(Command::new(&self.program).arg("proof").arg(trust).arg(proof))
    }

    /// Checks the proof between two signed heads.
    pub(super) fn consistency(&self, vkey: &str, heads: (&str, &str), path: &[Hash]) -> Answer {
        let lines: String = path.iter().map(|hash| format!("{}\n", hash.standard())).collect();
        let (older, newer) = (self.file("older", heads.0), self.file("newer", heads.1));
        let proof = self.file("hashes", &lines);
        let mut go = Command::new(&self.program);
        answer(go.args(["consistency", vkey]).arg(older).arg(newer).arg(proof))
    }

    /// Checks a folder of tiles.
    pub(super) fn tiles(&self, vkey: &str, folder: &Path, seen: &str) -> Answer {
        let seen = self.file("seen", seen);
        answer(Command::new(&self.program).args(["tiles", vkey]).arg(folder).arg(seen))
    }
}

/// `aics.py` beside this file, over the Python package aics-tlog; aics-witness lies beside that.
pub(super) struct Aics {
    packages: PathBuf,
}

impl Aics {
    pub(super) fn find() -> Option<Self> {
        Some(Self { packages: find("aics")? })
    }

    /// One of the packages' own programs.
    pub(super) fn module(&self, name: &str) -> Command {
        let mut python = Command::new("python3");
        python.env("PYTHONPATH", &self.packages).args(["-m", name]);
        python
    }

    /// Checks a folder of tiles.
    pub(super) fn tiles(&self, vkey: &str, folder: &Path, seen: &str) -> Answer {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shipping/verifiers/aics.py");
        let note = tempfile::NamedTempFile::new().unwrap();
        fs::write(note.path(), seen).unwrap();
        let mut python = Command::new("python3");
        python.env("PYTHONPATH", &self.packages).arg(script);
        answer(python.arg(vkey).arg(folder).arg(note.path()))
    }
}
