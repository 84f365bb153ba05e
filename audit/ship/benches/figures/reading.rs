//! What is done with a log that is there: verifying it, proving one record, carrying it into a folder.
//!
//! Not here: appending (`load`). Always holds: the verifier must say PASS, or there is no figure.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aegis_audit_chain::layout;
use aegis_audit_chain::record::{Entry, Record};
use aegis_audit_chain::source::{LogSource, SourceError};
use aegis_audit_proof::prove;
use aegis_audit_ship::{Address, Bucket, BucketLog, Indexes, Journal, ShipConfig, start};
use aegis_audit_trust::Trust;
use aegis_audit_verify::{Alone, Crew, Depth, Options, Verdict, verify_region_with};

use crate::config;
use crate::load::cpu;
use crate::two::Two;

/// Decisions in the log that is read.
const RECORDS: u64 = 400_000;
/// Of each way to verify it.
const RUNS: usize = 5;

struct Dir(PathBuf);

impl LogSource for Dir {
    fn list(&self, dir: &str) -> Result<Vec<String>, SourceError> {
        let Ok(entries) = fs::read_dir(self.0.join(dir)) else { return Ok(Vec::new()) };
        Ok(entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect())
    }

    fn read(&self, path: &str) -> Result<Option<Cow<'_, [u8]>>, SourceError> {
        Ok(fs::read(self.0.join(path)).ok().map(Cow::Owned))
    }
}

pub(crate) fn figures(dir: &Path) {
    let (log, bucket) = (dir.join("log"), dir.join("bucket"));
    let stream = write(&log, &bucket);
    let stored = bytes_below(&log.join("streams"));
    println!("| bytes a record, on disk | {} |", stored / RECORDS);
    println!("| bytes a record, shipped | {} |", bytes_below(&bucket) / RECORDS);

    for (depth, name) in [(Depth::Chain, "chain and tree"), (Depth::Schema, "with schema")] {
        verifying(&log, depth, name);
    }
    indexes(&log, &bucket);

    let trust = trust(&log);
    let wanted = &mut |_: &_, record: &Record| {
        matches!(record.entry, Entry::Decision(_)) && record.head.seq == RECORDS / 2
    };
    let begun = Instant::now();
    let proof = prove(&Dir(log.clone()), &trust, wanted).unwrap().pop().unwrap();
    let made = begun.elapsed();
    let text = proof.to_text();
    let begun = Instant::now();
    proof.check(&trust).unwrap();
    let checked = begun.elapsed();
    println!(
        "| proof of one of {stream} records, bytes | {} (path of {}) |",
        text.len(),
        proof.path.len()
    );
    println!("| proof, making it (reads the log), ms | {:.0} |", made.as_secs_f64() * 1e3);
    println!("| proof, checking it, ms | {:.2} |", checked.as_secs_f64() * 1e3);
    lag(dir);
}

/// Writes a log as fast as it goes, and ships it.
fn write(log: &Path, bucket: &Path) -> u64 {
    let journal = Journal::open(config(log)).unwrap().0;
    let shipper = start(shipping(log, bucket), &journal).unwrap();
    for n in 0..RECORDS {
        drop(journal.append_blocking(crate::decision(n).draft().unwrap()).unwrap());
    }
    journal.close().unwrap();
    let standing = shipper.stop(Duration::from_secs(120));
    assert_eq!((standing.trouble, standing.backlog_bytes), (None, 0));
    journal.head().size
}

fn shipping(log: &Path, bucket: &Path) -> ShipConfig {
    let url = format!("file://{}", bucket.display());
    ShipConfig::new(&config(log), Address { url, options: Vec::new() }).unwrap()
}

fn trust(log: &Path) -> Trust {
    let config = config(log);
    let name = config.registry().unwrap();
    Trust::of(config.region_key.verifier(name.as_str())).unwrap()
}

/// One thread and two over the same log, in turns; of the runs of each, the median one. CPU time, so that a busy machine does not
/// count, and the clock, by which two threads must be faster.
fn verifying(log: &Path, depth: Depth, name: &str) {
    let (mut alone, mut two) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        alone.push(verify(&Alone, log, depth));
        two.push(verify(&Two, log, depth));
    }
    for (runs, threads) in [(alone, "one thread"), (two, "two threads")] {
        let rate = |pick: fn(&(Duration, Duration)) -> Duration| {
            let mut took: Vec<Duration> = runs.iter().map(pick).collect();
            took.sort_unstable();
            RECORDS as f64 / took[took.len() / 2].as_secs_f64()
        };
        println!(
            "| verify, {name}, {threads}, records a second of CPU time | {:.0} |",
            rate(|run| run.0)
        );
        println!("| verify, {name}, {threads}, records a second | {:.0} |", rate(|run| run.1));
    }
}

/// What it costs to hold each segment's index against its records, in CPU time of one thread; in turns, the median of each.
fn indexes(log: &Path, bucket: &Path) {
    let bucket = Bucket::open(&Address::folder(bucket).unwrap()).unwrap();
    let (trust, mut took) = (trust(log), [Vec::new(), Vec::new()]);
    for _ in 0..RUNS {
        for (indexes, took) in [Indexes::Unread, Indexes::Checked].into_iter().zip(&mut took) {
            let options =
                Options { depth: Depth::Schema, remembered: Vec::new(), witnessed_since: None };
            let begun = cpu();
            let source = BucketLog::open(&bucket, &trust, indexes).unwrap();
            let report = verify_region_with(&Alone, &source, &trust, &options, &mut |_| {});
            took.push(cpu() - begun);
            assert_eq!(report.verdict(), Verdict::Pass);
        }
    }
    for (took, name) in took.iter_mut().zip(["not read", "checked"]) {
        took.sort_unstable();
        let rate = RECORDS as f64 / took[took.len() / 2].as_secs_f64();
        println!(
            "| verify, shipped, with schema, indexes {name}, records a second of CPU time | {rate:.0} |"
        );
    }
}

/// CPU time and time.
fn verify(crew: &dyn Crew, log: &Path, depth: Depth) -> (Duration, Duration) {
    let (cpu, begun) = (cpu(), Instant::now());
    let options = Options { depth, remembered: Vec::new(), witnessed_since: None };
    let source = Dir(log.to_path_buf());
    let report = verify_region_with(crew, &source, &trust(log), &options, &mut |_| {});
    assert_eq!(report.verdict(), Verdict::Pass);
    (self::cpu() - cpu, begun.elapsed())
}

/// How long after its append a record is in the folder, at 1,000 a second with segments every 10 s.
fn lag(dir: &Path) {
    let (log, bucket) = (dir.join("lag"), dir.join("lag-bucket"));
    let journal = Journal::open(config(&log)).unwrap().0;
    let shipper = start(shipping(&log, &bucket), &journal).unwrap();
    let seg = bucket.join(layout::bucket_dir(journal.origin())).join("seg");
    let (begun, mut appended, mut lags) = (Instant::now(), Vec::new(), Vec::new());
    while begun.elapsed() < Duration::from_secs(45) {
        for n in 0..20 {
            let pending = journal.append_blocking(crate::decision(n).draft().unwrap()).unwrap();
            appended.push((pending.position().seq, Instant::now()));
        }
        let names = fs::read_dir(&seg).into_iter().flatten().flatten();
        let sizes = names.filter_map(|one| layout::parse_manifest_name(one.file_name().to_str()?));
        let shipped = sizes.map(|(_, size)| size).max().unwrap_or(0);
        let there = appended.partition_point(|(seq, _)| *seq < shipped);
        lags.extend(appended.drain(..there).map(|(_, at)| at.elapsed()));
        std::thread::sleep(Duration::from_millis(20));
    }
    journal.close().unwrap();
    shipper.stop(Duration::from_secs(60));
    lags.sort_unstable();
    let at = |percent: usize| lags[(lags.len() * percent / 100).min(lags.len() - 1)].as_secs_f64();
    println!("| shipping lag at 1,000 records/s, s | P50 {:.1}, P99 {:.1} |", at(50), at(99));
}

fn bytes_below(dir: &Path) -> u64 {
    let sizes = fs::read_dir(dir).unwrap().map(|entry| {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        if meta.is_dir() { bytes_below(&entry.path()) } else { meta.len() }
    });
    sizes.sum()
}
