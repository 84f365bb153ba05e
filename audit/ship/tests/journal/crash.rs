//! A real process, killed at a random moment: every record it was told is durable is there, unchanged.

use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use aegis_audit_chain::Hash;
use aegis_audit_ship::{Journal, Tail};
use aegis_audit_verify::Verdict;

use crate::support::{config, decision, verify};

const DIR: &str = "AEGIS_TEST_JOURNAL_DIR";

/// Not a test of its own: the child process of the test below. Four threads append and print what was acknowledged.
#[test]
fn child_that_appends_until_it_is_killed() {
    let Some(dir) = env::var_os(DIR).map(PathBuf::from) else { return };
    let (journal, _) = Journal::open(config(&dir)).unwrap();
    let journal = Arc::new(journal);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let journal = Arc::clone(&journal);
            scope.spawn(move || {
                for n in 0.. {
                    let draft = decision(n * 4 + thread).draft().unwrap();
                    let pending = journal.append_blocking(draft).unwrap();
                    let sealed = pending.durable_blocking().unwrap();
                    let place = sealed.position();
                    let line = format!("ack {} {}\n", place.seq, place.leaf);
                    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                }
            });
        }
    });
}

#[test]
fn a_killed_process_loses_no_acknowledged_record() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<(u64, u64, Hash)> = Vec::new();
    for life in 1..=6_u64 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "crash::child_that_appends_until_it_is_killed", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Killed after a number of acknowledgements that differs between lives, while others are on their way.
        for (count, line) in lines.enumerate() {
            let Ok(line) = line else { break };
            // The last line may be cut short by the kill.
            let words: Vec<&str> = line.split(' ').collect();
            if let ["ack", seq, leaf] = words[..]
                && let Some(leaf) = Hash::parse(leaf)
            {
                acknowledged.push((life, seq.parse().unwrap(), leaf));
            }
            if count as u64 == 20 + 37 * life {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
    }

    let (journal, recovered) = Journal::open(config(dir.path())).unwrap();
    assert_eq!(recovered.streams.len(), 1, "each life closes the one before it");
    journal.close().unwrap();
    let stored = Tail::new(dir.path(), None).read(usize::MAX).unwrap();
    for (life, seq, leaf) in &acknowledged {
        let found = stored.iter().find(|one| one.origin.incarnation() == *life && one.seq == *seq);
        assert_eq!(
            found.map(|one| Hash::leaf(&one.bytes)),
            Some(*leaf),
            "life {life} record {seq}"
        );
    }
    assert!(acknowledged.len() > 6 * 20);
    let report = verify(dir.path());
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
    assert_eq!(report.unsettled_count, 0);
}
