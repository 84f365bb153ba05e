//! A gate on what a record costs: instructions to seal it, to put it in a frame and to verify it, as valgrind counts them.
//! Instructions do not wobble with the machine, so this can fail a change.
//!
//! Not here: time (`verifying`) and allocations (`tests/verifier/allocations.rs`). Invariant: a figure is the difference between
//! two runs that differ in nothing but how often the work is done, so start and fixtures cost nothing.
//!
//! `make instructions`, which counts a development build: CI has it anyway, and more work is more of it there too. Given what to do and how often, it does that and counts nothing: what the gate runs under valgrind.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench may fail loudly, it prints, and it runs valgrind"
)]

#[expect(dead_code, reason = "the tests of the same log use all of it")]
#[path = "../tests/verifier/region.rs"]
mod region;

use std::env;
use std::hint::black_box;
use std::process::Command;

use aegis_audit_chain::frame::push_frame;
use aegis_audit_chain::link::{Reading, Sequencer};
use aegis_audit_verify::{Alone, Depth, Options, Verdict, verify_region_with};
use aegis_domain::Timestamp;

use region::{Memory, Shape, Size, decision, region, trust};

/// Work, and the instructions that it takes a record. Move a figure on purpose: run `make instructions`, write down what it prints,
/// and say in the commit what the record got for it.
const COSTS: [(&str, u64); 4] =
    [("seal", 273_400), ("frame", 2_000), ("verify", 109_300), ("verify-schema", 212_100)];
/// How far a figure may be off, either way, in percent: a new compiler moves it by less.
const MARGIN_PERCENT: u64 = 5;
/// Records that the work is done for each time.
const RECORDS: u64 = 400;
/// How often it is done more in the second run.
const TIMES: u64 = 2;

fn main() {
    let words: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    match words.as_slice() {
        [what, times] => work(what, times.parse().unwrap()),
        _ => gate(),
    }
}

fn gate() {
    if !cfg!(target_arch = "x86_64") || Command::new("valgrind").arg("--version").output().is_err()
    {
        assert!(env::var_os("CI").is_none(), "valgrind is missing, and CI counts by it");
        println!("skipped: valgrind is absent, or its figures are another architecture's");
        return;
    }
    let mut moved = Vec::new();
    for (what, expected) in COSTS {
        let found = (counted(what, 1 + TIMES) - counted(what, 1)) / (TIMES * RECORDS);
        println!("{what}: {found} instructions a record, {expected} expected");
        if found.abs_diff(expected) * 100 > expected * MARGIN_PERCENT {
            moved.push(format!("{what}: {found} instead of {expected}"));
        }
    }
    let how =
        "if that is meant, write the new figures in COSTS of audit/verify/benches/instructions.rs";
    assert!(moved.is_empty(), "a record costs other than it did ({}); {how}", moved.join(", "));
}

/// The instructions of a run of this program.
fn counted(what: &str, times: u64) -> u64 {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    let run = valgrind.arg(env::current_exe().unwrap()).args([what, &times.to_string()]);
    let output = run.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let total = said.lines().find_map(|line| line.split_once("Collected : "));
    total.unwrap_or_else(|| panic!("no count: {said}")).1.trim().parse().unwrap()
}

fn work(what: &str, times: u64) {
    match what {
        "seal" => seal(times),
        "frame" => frame(times),
        "verify" => verify(times, Depth::Chain),
        "verify-schema" => verify(times, Depth::Schema),
        other => panic!("no work is called {other}"),
    }
}

fn shape() -> Shape {
    Shape {
        records_per_file: RECORDS,
        anchored_every: 100,
        settled_after: 50,
        size: Size::Full,
        ..Shape::default()
    }
}

fn reading(n: u64) -> Reading {
    Reading { wall: Timestamp::from_unix_ns(1_790_000_000_000_000_000 + n), mono_ns: n }
}

/// Writes a decision and gives it its place: what a call waits for before its record goes to disk.
fn seal(times: u64) {
    let entry = decision(7, shape());
    for _ in 0..times {
        let mut sequencer = Sequencer::new(region::registry());
        for n in 0..RECORDS {
            black_box(sequencer.place(entry.draft().unwrap(), reading(n)));
        }
    }
}

/// Puts a record into the batch that is written at once.
fn frame(times: u64) {
    let draft = decision(7, shape()).draft().unwrap();
    let record = Sequencer::new(region::registry()).place(draft, reading(0)).bytes;
    let mut batch = Vec::new();
    for _ in 0..times {
        for _ in 0..RECORDS {
            batch.clear();
            push_frame(black_box(&mut batch), black_box(&record));
        }
    }
}

fn verify(times: u64, depth: Depth) {
    let (log, trust): (Memory, _) = (region(shape()), trust());
    let options = Options { depth, remembered: Vec::new(), witnessed_since: None };
    for _ in 0..times {
        let report = verify_region_with(&Alone, &log, &trust, &options, &mut |_| {});
        assert_eq!(black_box(report).verdict(), Verdict::Pass);
    }
}
