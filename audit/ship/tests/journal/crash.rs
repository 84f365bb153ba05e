//! A real process, killed at a random moment: every record it was told is durable is there, unchanged.

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

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
                    let life = place.origin.incarnation();
                    let line = format!("ack {life} {} {}\n", place.seq, place.leaf);
                    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                }
            });
        }
    });
}

/// How often the process is killed, where not `LIVES` times.
const KILLS: &str = "AEGIS_KILLS";
const LIVES: u64 = 50;
/// Lives in one directory.
const LIVES_TOGETHER: u64 = 100;

/// What the dead were told: life, number and leaf hash of a record.
type Told = Vec<(u64, u64, Hash)>;

/// Kills one life at a moment that `dice` chooses; adds what it was told.
fn live_and_die(dir: &Path, dice: u64, told: &mut Told) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "crash::child_that_appends_until_it_is_killed", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // Every fourth at any moment of its start, the others behind an acknowledgement while more are on their way.
    let by_count = if dice.is_multiple_of(4) { u64::MAX } else { dice / 4 % 300 };
    if by_count == u64::MAX {
        std::thread::sleep(Duration::from_micros(dice / 4 % 60_000));
        child.kill().unwrap();
    }
    for (count, line) in (0..).zip(lines.map_while(Result::ok)) {
        // The last line may be cut short by the kill.
        if let ["ack", life, seq, leaf] = line.split(' ').collect::<Vec<_>>()[..]
            && let Some(leaf) = Hash::parse(leaf)
        {
            told.push((life.parse().unwrap(), seq.parse().unwrap(), leaf));
        }
        if count == by_count {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
}

/// Opens the journal after the last death, and looks for every record that was acknowledged; hands out how many are there.
fn nothing_is_lost(dir: &Path, told: &Told) -> u64 {
    let (journal, recovered) = Journal::open(config(dir)).unwrap();
    assert!(recovered.streams.len() <= 1, "each life closes the one before it: {recovered:?}");
    journal.close().unwrap();
    let stored = Tail::new(dir, None).read(usize::MAX).unwrap();
    let stored: BTreeMap<(u64, u64), Hash> = stored
        .into_iter()
        .map(|one| ((one.origin.incarnation(), one.seq), Hash::leaf(&one.bytes)))
        .collect();
    for (life, seq, leaf) in told {
        assert_eq!(stored.get(&(*life, *seq)), Some(leaf), "life {life} record {seq}");
    }
    let report = verify(dir);
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
    assert_eq!(report.unsettled_count, 0);
    stored.len() as u64
}

#[test]
#[expect(clippy::print_stderr, reason = "a long run says what it did")]
fn a_killed_process_loses_no_acknowledged_record() {
    let lives = env::var(KILLS).map_or(LIVES, |lives| lives.parse().unwrap());
    let (mut dice, mut done, mut acknowledged, mut stored) = (0x9e37_79b9_7f4a_7c15, 0, 0, 0);
    while done < lives {
        let dir = tempfile::tempdir().unwrap();
        let mut told = Told::new();
        for _ in done..lives.min(done + LIVES_TOGETHER) {
            // Xorshift: the same moments in every run, as far as the machine has the same speed.
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            live_and_die(dir.path(), dice >> 8, &mut told);
        }
        done += LIVES_TOGETHER;
        acknowledged += told.len() as u64;
        stored += nothing_is_lost(dir.path(), &told);
    }
    assert!(acknowledged > lives * 20, "{acknowledged}");
    eprintln!("{lives} kills: {acknowledged} records acknowledged, {stored} on disk, none lost");
}
