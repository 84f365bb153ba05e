//! The verifier's own figures, on logs in memory: CPU time of a record, with and without the schema pass. Run under
//! `valgrind --tool=callgrind --toggle-collect='*verify_region*'` it counts instructions, which do not wobble.
//!
//! Not a test: no figure fails anything. Not here: disks (`audit/ship` has a bench with one). Always holds: the verdict is PASS, or
//! there is no figure. Run `cargo bench -p aegis-audit-verify --bench verifying -- [<records> [<times> [<words of a row>]]]`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench may fail loudly, it prints, and it reads the kernel's clock of its own thread"
)]

#[path = "../tests/verifier/region.rs"]
mod region;
#[path = "../tests/verifier/two.rs"]
mod two;

use std::fs;
use std::thread;
use std::time::Instant;

use aegis_audit_verify::{Alone, Crew, Depth, Lead, Options, Verdict, verify_region_with};

use region::{End, Lie, Memory, Shape, Size, region, trust};
use two::Two;

fn main() {
    // A lie is what the tests of the same name tell.
    let _untold = [Lie::OutcomeAlone, Lie::OutcomeOther, Lie::OutcomeTwice, Lie::Sums, Lie::Clock];
    let _untold = ([Lie::Reference, Lie::Kind], End::Open);
    let words: Vec<String> =
        std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let number = |nth: usize| words.get(nth).and_then(|word| word.parse::<u64>().ok());
    let (records, times) = (number(0).unwrap_or(200_000), number(1).unwrap_or(11));
    let wanted = words.get(2).map_or("", String::as_str);
    println!("| verified in memory | bytes a record | ns a record, median | least | records/s |");
    println!("|---|---|---|---|---|");
    for (size, settled_after, name) in [
        (Size::Usual, 0, "decisions"),
        (Size::Usual, 50, "decisions and outcomes"),
        (Size::Full, 0, "decisions with every field"),
    ] {
        let depths = [(Depth::Chain, "chain and tree"), (Depth::Schema, "with schema")];
        let rows = depths.map(|(depth, deep)| (depth, format!("{name}, {deep}")));
        let rows: Vec<_> = rows.into_iter().filter(|(_, row)| row.contains(wanted)).collect();
        if rows.is_empty() {
            continue;
        }
        let log = region(Shape { records_per_file: records / 8, settled_after, size, ..usual() });
        rows.iter().for_each(|(depth, row)| measure(&log, (*depth, row), (records, times)));
    }
}

/// CPU time of one thread; then, for whoever runs it more than once, one thread and two by the clock.
fn measure(log: &Memory, (depth, row): (Depth, &str), (records, times): (u64, u64)) {
    let show = |what: &str, run: &dyn Fn() -> f64| {
        let mut took: Vec<f64> = (0..times).map(|_| run() / records as f64).collect();
        took.sort_unstable_by(f64::total_cmp);
        let (least, median) = (took[0], took[took.len() / 2]);
        let bytes = log.0.values().map(Vec::len).sum::<usize>() as u64 / records;
        println!("| {row}, {what} | {bytes} | {median:.0} | {least:.0} | {:.0} |", 1e9 / median);
    };
    show("CPU time", &|| verify(log, (&Alone, depth), &cpu_ns));
    if times > 1 {
        show("what cannot be shared, CPU time", &|| verify(log, (&Other, depth), &cpu_ns));
        let begun = Instant::now();
        let clock = || begun.elapsed().as_secs_f64() * 1e9;
        show("one thread", &|| verify(log, (&Alone, depth), &clock));
        show("two threads", &|| verify(log, (&Two, depth), &clock));
    }
}

fn usual() -> Shape {
    Shape { files: 8, anchored_every: 4_096, sealed_every: 5_000, ..Shape::default() }
}

/// Somebody else does every errand, so that the clock of the thread that leads counts only what it alone can do.
struct Other;

impl Crew for Other {
    fn run(&self, count: usize, errand: &(dyn Fn(usize) + Sync), lead: &mut Lead<'_>) {
        thread::scope(|scope| {
            scope.spawn(|| (0..count).for_each(errand));
        });
        lead(&|_| {});
    }
}

/// Nanoseconds, by that clock.
fn verify(log: &Memory, (crew, depth): (&dyn Crew, Depth), now: &dyn Fn() -> f64) -> f64 {
    let options = Options { depth, remembered: Vec::new(), witnessed_since: None };
    let begun = now();
    let report = verify_region_with(crew, log, &trust(), &options, &mut |_| {});
    let took = now() - begun;
    assert_eq!(report.verdict(), Verdict::Pass);
    took
}

/// What this thread has run, as the scheduler counts it.
fn cpu_ns() -> f64 {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse().unwrap()
}
