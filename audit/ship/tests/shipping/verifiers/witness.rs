//! An outside witness, unmodified: `aics-witness` cosigns our heads as they grow, and refuses one that is stale or does not
//! follow (<https://c2sp.org/tlog-witness>).

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aegis_audit_chain::note::Verifier;
use aegis_audit_chain::{Hash, Head, tree};

use super::log::Log;
use super::peers::Aics;

const NAME: &str = "witness.example/w1";

/// The program, as long as it runs, and what it keeps.
pub(crate) struct Witness {
    child: Child,
    port: u16,
    home: tempfile::TempDir,
    packages: Aics,
    vkey: String,
}

impl Witness {
    pub(crate) fn start(origin: &str, vkey: &str) -> Option<Self> {
        let packages = Aics::find()?;
        let home = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let listen = format!("127.0.0.1:{port}");
        let own =
            run(&mut command(&packages, &home, &["init", "--name", NAME, "--listen", &listen]));
        run(&mut command(&packages, &home, &["add-log", "--origin", origin, "--vkey", vkey]));
        let child = command(&packages, &home, &["serve"]).spawn().unwrap();
        let vkey = own.lines().find(|line| line.starts_with(NAME)).unwrap().to_owned();
        let witness = Self { child, port, home, packages, vkey };
        witness.wait();
        Some(witness)
    }

    fn wait(&self) {
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "the witness does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn vkey(&self) -> &str {
        &self.vkey
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Begins again with what it had seen.
    pub(crate) fn restart(&mut self) {
        self.child = command(&self.packages, &self.home, &["serve"]).spawn().unwrap();
        self.wait();
    }

    /// Asks for a cosignature of a head that follows the one of size `old`; hands out status and body.
    fn add(&self, old: u64, path: &[Hash], note: &str) -> (u16, String) {
        let path: String = path.iter().map(|hash| format!("{}\n", hash.standard())).collect();
        let body = format!("old {old}\n{path}\n{note}");
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let length = body.len();
        let head = "POST /add-checkpoint HTTP/1.1\r\nhost: witness\r\nconnection: close\r\n";
        write!(stream, "{head}content-length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn command(packages: &Aics, home: &tempfile::TempDir, words: &[&str]) -> Command {
    let mut python = packages.module("aics_witness");
    python.args(words).arg("--config").arg(home.path().join("witness.json"));
    python.stdout(Stdio::null()).stderr(Stdio::null());
    python
}

/// What a command prints.
fn run(command: &mut Command) -> String {
    let output = command.stdout(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{command:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_witness_cosigns_our_heads_as_they_grow_and_none_that_does_not_follow() {
    let log = Log::write();
    let key = Verifier::parse(&log.vkey).unwrap();
    let Some(witness) = Witness::start(key.name(), &log.vkey) else { return };
    let leaves: Vec<Hash> = log.records.iter().map(|record| Hash::leaf(record)).collect();
    let path = |old: u64, new: u64| match old {
        0 => Vec::new(),
        old => tree::consistency_proof(&leaves[..new as usize], old as usize).unwrap(),
    };
    let mut old = 0;
    for (size, note) in &log.heads {
        let (status, said) = witness.add(old, &path(old, *size), note);
        assert_eq!(status, 200, "{old} to {size}: {said}");
        // A head with a cosignature is still a head to us.
        let cosigned = format!("{note}{said}");
        assert_eq!(Head::open(&cosigned, &key).unwrap().size, *size);
        old = *size;
    }
    let ((first, stale), (second, _)) = (&log.heads[0], &log.heads[1]);
    assert_eq!(witness.add(0, &[], stale).0, 409, "a head it has gone past");
    assert_eq!(witness.add(*second, &path(*first, *second), stale).0, 400, "a tree that shrinks");

    let Some(other) = Witness::start(key.name(), &log.vkey) else { return };
    assert_eq!(other.add(0, &[], stale).0, 200);
    let mut forged = path(*first, old);
    forged[0] = Hash::ZERO;
    assert_eq!(other.add(*first, &forged, log.newest()).0, 422, "a proof that leads nowhere");
}
