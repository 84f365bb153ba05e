//! kill -9 at any moment: what was answered is there afterwards, once.
//!
//! Not here: power cuts, which only `Durability::Strict` survives whole. Invariant: the child says what it is
//! about to do and what was answered, each as one line, so the parent knows all that may and all that must be.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::conformance::threads::Dice;
use crate::conformance::{at, budgets, id, is_granted, once, run, tenant_day, today, usd};
use aegis_domain::{HotAnswer, HotRefusal};
use aegis_state::{Ask, HotState as _};
use aegis_state_embedded::{EmbeddedConfig, EmbeddedState};

const DIRECTORY: &str = "AEGIS_STATE_CRASH_DIRECTORY";
const FIRST_ID: &str = "AEGIS_STATE_CRASH_FIRST_ID";
const KILLS: u64 = 30;
const IDS_PER_LIFE: u64 = 100_000;

fn open(directory: &Path) -> EmbeddedState {
    // Small, so that many kills hit a turn of the journal or a compaction.
    let config = EmbeddedConfig { compact_bytes: 8 << 10, ..EmbeddedConfig::new(directory.into()) };
    EmbeddedState::open(config).unwrap()
}

fn call(n: u64) -> Ask {
    let budgets = budgets([(tenant_day(), 1 << 50)]);
    Ask { estimate: usd(n % 50 + 1), budgets, ..once(n, &format!("j{n}")) }
}

/// What the child knew of a call when it was killed.
#[derive(Default)]
struct Story {
    granted: bool,
    /// The cost it set out to settle, and whether it heard that this was done.
    settling: Option<u64>,
    settled: bool,
}

/// The child: decides and settles until it is killed. Run by hand, it does nothing.
#[test]
fn crash_child() {
    let (Ok(directory), Ok(first)) = (std::env::var(DIRECTORY), std::env::var(FIRST_ID)) else {
        return;
    };
    let first: u64 = first.parse().unwrap();
    let state = open(Path::new(&directory));
    let mut dice = Dice::seeded(first);
    let mut out = std::io::stdout();
    for n in first..first + IDS_PER_LIFE {
        let call = call(n);
        assert!(is_granted(&run(state.decide(&call))));
        writeln!(out, "@granted {n} 0").unwrap();
        if dice.below(4) > 0 {
            let actual = dice.below(60);
            writeln!(out, "@settling {n} {actual}").unwrap();
            run(state.settle(&call.hold(), usd(actual), at(1))).unwrap();
            writeln!(out, "@settled {n} {actual}").unwrap();
        }
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "a failing run must show its seed")]
fn kill_9_neither_loses_nor_doubles_what_was_answered() {
    let directory = tempfile::tempdir().unwrap();
    let seed = u64::from(std::process::id());
    eprintln!("seed {seed}");
    let mut dice = Dice::seeded(seed);
    let mut stories: BTreeMap<u64, Story> = BTreeMap::new();
    for life in 0..KILLS {
        let lines = 1 + dice.below(600);
        live_and_die(directory.path(), life * IDS_PER_LIFE, lines, &mut stories);
        check(directory.path(), &stories);
    }
    assert!(stories.len() > 1_000, "the lives were too short to prove anything");
}

/// Starts the child, kills it after so many lines, and reads what it still had to say.
fn live_and_die(directory: &Path, first: u64, lines: u64, stories: &mut BTreeMap<u64, Story>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "embedded_crash::crash_child", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(FIRST_ID, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut seen = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let Some(event) = line.split_once('@').map(|(_, event)| event) else { continue };
        let words: Vec<&str> = event.split(' ').collect();
        let [what, n, actual] = words[..] else { continue };
        let (n, actual): (u64, u64) = (n.parse().unwrap(), actual.parse().unwrap());
        let story = stories.entry(n).or_default();
        match what {
            "granted" => story.granted = true,
            "settling" => story.settling = Some(actual),
            "settled" => story.settled = true,
            other => panic!("the child said {other}"),
        }
        seen += 1;
        if seen == lines {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
}

fn check(directory: &Path, stories: &BTreeMap<u64, Story>) {
    let state = open(directory);
    let open: BTreeMap<_, _> =
        state.open_holds().into_iter().map(|hold| (hold.id, hold.estimate.micro_usd())).collect();
    let mut spent = 0;
    for (n, story) in stories {
        assert!(story.granted);
        let is_open = open.contains_key(&id(*n));
        match story.settling {
            None => assert!(is_open, "the hold of call {n} was lost"),
            Some(_) if story.settled => assert!(!is_open, "the settlement of call {n} was lost"),
            Some(_) => {}
        }
        spent += story.settling.filter(|_| !is_open).unwrap_or(0);
        // The token of a granted call stays used, whoever died.
        let replay = run(state.decide(&Ask { id: id((1 << 40) + n), ..call(*n) }));
        assert_eq!(replay, HotAnswer::Refused(HotRefusal::Replayed));
    }
    // A grant may have been written that the child had no time to tell of; nothing else may differ.
    let held: u64 = open.values().sum();
    assert_eq!(run(today(&&state, at(0))), (spent, held));
    let told: BTreeSet<_> = stories.keys().map(|n| id(*n)).collect();
    let untold = open.keys().filter(|open| !told.contains(open)).count();
    assert!(untold <= KILLS as usize);
}
