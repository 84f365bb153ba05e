//! An outside witness, unmodified: `aics-witness` cosigns our heads as they grow, and refuses one that is stale or does not
//! follow (<https://c2sp.org/tlog-witness>).

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aegis_audit_chain::note::Verifier;
use aegis_audit_chain::{Hash, Head, tree};

use super::log::Log;
use super::peers::Aics;

struct Witness {
    child: Child,
    port: u16,
    _home: tempfile::TempDir,
}

impl Witness {
    fn start(aics: &Aics, origin: &str, vkey: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let config: PathBuf = home.path().join("witness.json");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let listen = format!("127.0.0.1:{port}");
        let command = |words: &[&str]| {
            let mut python = aics.module("aics_witness");
            python.args(words).arg("--config").arg(&config).stdout(Stdio::null());
            python.stderr(Stdio::null());
            python
        };
        run(&mut command(&["init", "--name", "witness.example/w1", "--listen", &listen]));
        run(&mut command(&["add-log", "--origin", origin, "--vkey", vkey]));
        let child = command(&["serve"]).spawn().unwrap();
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "the witness does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { child, port, _home: home }
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

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

#[test]
fn a_witness_cosigns_our_heads_as_they_grow_and_none_that_does_not_follow() {
    let Some(aics) = Aics::find() else { return };
    let log = Log::write();
    let key = Verifier::parse(&log.vkey).unwrap();
    let witness = Witness::start(&aics, key.name(), &log.vkey);
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

    let other = Witness::start(&aics, key.name(), &log.vkey);
    assert_eq!(other.add(0, &[], stale).0, 200);
    let mut forged = path(*first, old);
    forged[0] = Hash::ZERO;
    assert_eq!(other.add(*first, &forged, log.newest()).0, 422, "a proof that leads nowhere");
}
