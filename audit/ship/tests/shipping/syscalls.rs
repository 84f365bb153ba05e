//! A kernel that fails: each call by which the journal, the spool and the folder are written returns an error, in a real process,
//! by `strace`; calls that fail at random, or write less than they were asked to, by `libfiu`. Nobody is told yes after a no, nothing that was promised is lost, and the next life goes on.
//!
//! The trait `Disk` is failed in `journal/faults.rs`; here nothing of ours knows that it is a test.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io::{IoSlice, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use aegis_audit_chain::Hash;
use aegis_audit_ship::{Journal, ShipConfig, Tail, start};
use aegis_audit_verify::Verdict;

use crate::support::{Place, address, config, decision, verify, verify_local, write_calls};

const DIRS: &str = "AEGIS_TEST_SYSCALLS_DIRS";
/// Set to fail each call of each thread: minutes.
const ALL: &str = "AEGIS_SYSCALLS";
/// Calls that write, make, name or promise, and whether the journal itself makes them; the others are the shipper's and the folder's.
const CALLS: [(&str, bool); 11] = [
    ("pwrite64", true),
    ("fdatasync", true),
    ("fsync", true),
    ("openat", true),
    ("rename", true),
    ("fallocate", true),
    ("ftruncate", true),
    ("mkdir", true),
    ("write", false),
    ("linkat", false),
    ("unlink", false),
];
/// How long a process may tell yes after the kernel told it no: the time between two anchors, and some for a busy machine.
const PROMISE: Duration = Duration::from_secs(3);

/// Not a test of its own: the process whose calls fail. It appends and ships for three seconds, or until it was refused
/// five times, and says what it was told. It says so by `writev`, which is not failed.
#[test]
fn child_that_says_what_it_was_promised() {
    let Some(dirs) = env::var_os(DIRS) else { return };
    let dirs: Vec<PathBuf> = env::split_paths(&dirs).collect();
    let mut out = File::from(std::io::stdout().as_fd().try_clone_to_owned().unwrap());
    let mut say = |line: String| {
        let line = format!("\n{line}\n");
        drop(out.write_vectored(&[IoSlice::new(line.as_bytes())]));
    };
    let mut settings = config(&dirs[0]);
    // Several files in one life.
    settings.file_bytes = 16 * 1024;
    let Ok((journal, _)) = Journal::open(settings.clone()) else { return say("closed".to_owned()) };
    let every = Duration::from_millis(100);
    let shipping = ShipConfig { every, ..ShipConfig::new(&settings, address(&dirs[1])).unwrap() };
    let shipper = start(shipping, &journal).ok();
    if shipper.is_none() {
        say("trouble".to_owned());
    }
    let (begun, mut refused) = (Instant::now(), 0);
    for n in 0.. {
        if begun.elapsed() > PROMISE || refused == 5 {
            break;
        }
        let placed = journal.append_blocking(decision(n).draft().unwrap());
        match placed.and_then(|pending| pending.durable_blocking()) {
            Ok(sealed) => {
                let place = sealed.position();
                say(format!("yes {} {} {}", place.origin.incarnation(), place.seq, place.leaf));
            }
            Err(_) => {
                refused += 1;
                say("no".to_owned());
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    say(if journal.close().is_ok() { "ended".to_owned() } else { "no".to_owned() });
    if shipper.is_some_and(|shipper| shipper.stop(Duration::from_secs(10)).trouble.is_some()) {
        say("trouble".to_owned());
    }
}

/// What a process was told.
#[derive(Debug, Default)]
struct Told {
    yes: Vec<(u64, u64, Hash)>,
    is_refused: bool,
    /// It ended in order.
    is_ended: bool,
    /// It could not ship.
    is_troubled: bool,
}

impl Told {
    fn read(said: &str) -> Self {
        let mut told = Self::default();
        for line in said.lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["yes", life, seq, leaf] => {
                    assert!(!told.is_refused, "a yes after a no: {said}");
                    let leaf = Hash::parse(leaf).unwrap();
                    told.yes.push((life.parse().unwrap(), seq.parse().unwrap(), leaf));
                }
                ["no" | "closed"] => told.is_refused = true,
                ["ended"] => told.is_ended = true,
                ["trouble"] => told.is_troubled = true,
                _ => {}
            }
        }
        told
    }
}

/// Runs the child under a program that makes its calls fail; hands out what it said.
fn child(place: &Place, under: &mut Command) -> String {
    let dirs = env::join_paths([place.dir.path(), place.bucket.path()]).unwrap();
    let output = under
        .arg(env::current_exe().unwrap())
        .args(["--exact", "syscalls::child_that_says_what_it_was_promised", "--nocapture"])
        .env(DIRS, &dirs)
        .stderr(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs the child with the `nth` of such a call failing in each of its threads; hands out what it was told, and which paths
/// the failures met.
fn run(place: &Place, (call, nth, error): (&str, usize, &str)) -> (Told, Vec<String>) {
    let trace = place.bucket.path().with_extension("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-y", "-s", "0", "-e", &format!("trace={call}"), "-e"]);
    strace.arg(format!("inject={call}:error={error}:when={nth}")).arg("-o").arg(&trace);
    if call == "write" {
        for file in written(place) {
            strace.arg("-P").arg(file);
        }
    }
    let told = Told::read(&child(place, &mut strace));
    let calls = fs::read_to_string(&trace).unwrap();
    fs::remove_file(trace).unwrap();
    let met = calls.lines().filter(|line| line.contains("(INJECTED)")).map(str::to_owned).collect();
    (told, met)
}

/// Files that are written by `write`. Threads wake each other by it as well, and would meet every failure first.
fn written(place: &Place) -> Vec<PathBuf> {
    let (ship, bucket) = (place.dir.path().join("ship"), place.bucket.path().join("v1/eu-west-1"));
    let first_life = |of: &str| format!("{of}/{:020}", 1);
    let files = ["gw-1", "registry.gw-1"].map(|of| {
        let receipts = ship.join(first_life(of)).join("receipts.jsonl");
        [receipts, bucket.join(first_life(of)).join("genesis.note#1")]
    });
    files.concat()
}

/// How many of the failures met a file or a folder of ours; the process has others, and what wakes a thread is a file to the kernel.
fn met_ours(place: &Place, met: &[String]) -> usize {
    let ours = [place.dir.path(), place.bucket.path()].map(|dir| dir.to_str().unwrap());
    met.iter().filter(|line| ours.iter().any(|dir| line.contains(dir))).count()
}

/// Whether one of the failures met what the journal itself writes.
fn met_the_journal(place: &Place, met: &[String]) -> bool {
    let below = |dir: &str| place.dir.path().join(dir).to_str().unwrap().to_owned();
    let (streams, registry) = (below("streams"), below("registry.gw-1"));
    // What is only read is not a promise, and a `.tmp` of an earlier life may be gone.
    let writes = |line: &&String| !line.contains("O_RDONLY") && !line.contains("unlink");
    met.iter().filter(writes).any(|line| line.contains(&streams) || line.contains(&registry))
}

/// Whether a program is there; where `CI` is set, absence is a failure.
#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
fn is_there(program: &str, version: &str) -> bool {
    let is_there = Command::new(program).arg(version).output().is_ok();
    assert!(is_there || env::var_os("CI").is_none(), "{program} is not installed");
    if !is_there {
        eprintln!("skipped: {program} is not installed");
    }
    is_there
}

/// Failures by name in libfiu, how likely each is, and whether the journal must live with it. Reduced writes that are not to a
/// position meet the wake-ups of the shipper's runtime too, which then ships nothing; what it wrote before must hold.
const CHANCES: [(&str, &str, bool); 7] = [
    ("rw/pwrite/reduce", "0.5", true),
    ("rw/write/reduce", "0.5", true),
    ("rw/pwrite", "0.02,failinfo=28", false),
    ("sync/fdatasync", "0.02,failinfo=5", false),
    ("sync/fsync", "0.02,failinfo=5", false),
    ("oc/open", "0.01,failinfo=24", false),
    ("dir/rename", "0.1,failinfo=5", false),
];

#[test]
fn calls_that_do_half_are_finished_and_calls_that_fail_at_random_lose_nothing_promised() {
    if !is_there("fiu-run", "-h") || !is_there("strace", "-V") {
        return;
    }
    std::thread::scope(|scope| {
        for chance in CHANCES {
            scope.spawn(move || {
                // Chance may pass by everything of ours; a failure that never comes would prove nothing.
                let is_met = (0..TRIES).any(|_| meets(chance));
                assert!(is_met, "{chance:?} never came");
            });
        }
    });
}

/// How often chance may pass by.
const TRIES: usize = 8;

/// Runs the child where calls fail at random; whether any did.
fn meets((name, chance, is_harmless): (&str, &str, bool)) -> bool {
    let place = Place::new();
    let fault = format!("enable_random name=posix/io/{name},probability={chance}");
    let fiu = ["fiu-run", "-x", "-f", "", "-c", &fault];
    let (told, is_met) = if is_harmless {
        let trace = place.bucket.path().with_extension("trace");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-y", "-s", "0", "-e", "trace=write,pwrite64,fdatasync,close"]);
        let told = Told::read(&child(&place, strace.arg("-o").arg(&trace).args(fiu)));
        let halves = halves(&place, &fs::read_to_string(&trace).unwrap());
        fs::remove_file(trace).unwrap();
        (told, halves > 0)
    } else {
        let told = Told::read(&child(&place, Command::new(fiu[0]).args(&fiu[1..])));
        let is_met = told.is_refused || told.is_troubled;
        (told, is_met)
    };
    assert!(told.is_ended || !is_harmless, "{name}: {told:?}");
    heals(&place, &told, name);
    is_met
}

/// How often a file of ours was written on with neither a sync nor an end in between: what the call before had left.
fn halves(place: &Place, calls: &str) -> usize {
    let ours = [place.dir.path(), place.bucket.path()].map(|dir| dir.to_str().unwrap());
    let (mut before, mut halves) = (BTreeMap::new(), 0);
    for line in calls.lines().filter(|line| ours.iter().any(|dir| line.contains(dir))) {
        let Some((call, file)) = line.split_once('(') else { continue };
        let call = call.rsplit(' ').next().unwrap_or_default().to_owned();
        let file = file.split('>').next().unwrap_or_default().to_owned();
        let is_write = call.contains("write");
        let last = before.insert(file, call.clone());
        halves += usize::from(is_write && last == Some(call));
    }
    halves
}

#[expect(clippy::print_stderr, reason = "a long run says what it did")]
#[test]
fn whichever_call_fails_nothing_promised_is_lost_and_the_next_life_goes_on() {
    if !is_there("strace", "-V") {
        return;
    }
    let nths: &[usize] = match env::var_os(ALL) {
        Some(_) => &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 16, 24, 30, 48, 96],
        None => &[1, 4, 12, 30],
    };
    let mut cases = Vec::new();
    for (n, (call, _)) in CALLS.into_iter().enumerate() {
        for (m, nth) in nths.iter().enumerate() {
            cases.push((call, *nth, if (n + m) % 2 == 0 { "EIO" } else { "ENOSPC" }));
        }
    }
    let counts = parking_lot::Mutex::new(BTreeMap::<&str, [usize; 3]>::new());
    for cases in cases.chunks(4) {
        std::thread::scope(|scope| {
            for case in cases {
                scope.spawn(|| {
                    let met = survives(*case);
                    let mut counts = counts.lock();
                    let count = counts.entry(case.0).or_default();
                    count.iter_mut().zip(met).for_each(|(sum, one)| *sum += one);
                });
            }
        });
    }
    let counts = counts.into_inner();
    for (call, is_the_journals) in CALLS {
        let [failures, journal, yes] = counts[call];
        eprintln!("{call}: {failures} failures, {journal} lives refused, {yes} records promised");
        // A call of another name is made in its place, and what it does was never failed.
        assert!(failures > 0, "{call} is not called");
        assert_eq!(journal > 0, is_the_journals, "{call}");
    }
}

/// Counts the failures, whether the journal was met, and the records that were promised.
fn survives(case: (&str, usize, &str)) -> [usize; 3] {
    let place = Place::new();
    let (told, met) = run(&place, case);
    let is_met = met_the_journal(&place, &met);
    if is_met {
        assert!(told.is_refused || !told.is_ended, "{case:?}: {met:#?} {told:?}");
    }
    heals(&place, &told, &format!("{case:?}: {met:#?}"));
    [met_ours(&place, &met), usize::from(is_met), told.yes.len()]
}

/// The disk is well again: the next life begins, ships everything, and whatever was promised is there.
fn heals(place: &Place, told: &Told, of: &str) {
    let (journal, _) = Journal::open(config(place.dir.path()))
        .unwrap_or_else(|error| unreachable!("{of}: the next life does not begin: {error:?}"));
    let shipper = start(place.shipping(), &journal).unwrap();
    write_calls(&journal, 1);
    journal.close().unwrap();
    let standing = shipper.stop(Duration::from_secs(30));
    assert_eq!(standing.trouble, None, "{of}");
    holds(place, &told.yes, of);
}

/// Whether every promised record is there as promised, on disk and in the folder it was shipped to.
fn holds(place: &Place, yes: &[(u64, u64, Hash)], of: &str) {
    let stored = Tail::new(place.dir.path(), None).read(usize::MAX).unwrap();
    let stored: BTreeMap<(u64, u64), Hash> = stored
        .into_iter()
        .map(|one| ((one.origin.incarnation(), one.seq), Hash::leaf(&one.bytes)))
        .collect();
    for (life, seq, leaf) in yes {
        assert_eq!(stored.get(&(*life, *seq)), Some(leaf), "{of}: record {seq} of life {life}");
    }
    let local = verify_local(place.dir.path());
    assert_eq!(local.verdict(), Verdict::Pass, "{of}: {local:#?}");
    let shipped = verify(&address(Path::new(place.bucket.path())));
    assert_eq!(shipped.verdict(), Verdict::Pass, "{of}: {shipped:#?}");
}
