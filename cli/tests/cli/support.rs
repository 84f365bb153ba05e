//! What the tests of `aegisctl` share: a data directory of their own and the real program.

use std::path::{Path, PathBuf};
use std::time::Duration;

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use tempfile::TempDir;

/// A command that takes longer waits for something that never comes.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Home(TempDir);

impl Home {
    /// A directory in which nothing is.
    pub(crate) fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A directory after `aegisctl init`.
    pub(crate) fn ready() -> Self {
        let home = Self::empty();
        home.run(&["init"]).success();
        home
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.0.path().join("data").join(below)
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Assert {
        self.run_with("", arguments)
    }

    pub(crate) fn run_with(&self, stdin: &str, arguments: &[&str]) -> Assert {
        let mut command = Command::cargo_bin("aegisctl").unwrap();
        command.env_remove("AEGIS_DATA").env_remove("NO_COLOR").write_stdin(stdin);
        command.timeout(PATIENCE).arg("--data").arg(self.path("")).args(arguments).assert()
    }
}

pub(crate) fn stdout(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

pub(crate) fn stderr(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

pub(crate) fn json(assert: &Assert) -> serde_json::Value {
    serde_json::from_str(&stdout(assert)).unwrap()
}

pub(crate) fn replace(file: &Path, old: &str, new: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains(old), "{old:?} is not in {}", file.display());
    std::fs::write(file, text.replace(old, new)).unwrap();
}
