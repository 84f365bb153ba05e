//! How long decisions took, as the gateway's own audit log says: `eval_us`, from identify to judge.
//!
//! Not here: the log's format. This reads two fields of its JSON and nothing else, so it needs no crate of the gateway.
//! Invariant: only decisions inside the window count.

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use memchr::memmem;

use crate::tally::{Latencies, Quantiles};

const TIME: &[u8] = br#","ts":""#;
const TAKEN: &[u8] = br#","eval_us":"#;
const WAL: &str = "wal";

/// When something ran.
pub(crate) type Window = Range<SystemTime>;

/// Decision latency of what was recorded within each set of windows, over all log files below a folder.
pub(crate) fn latencies(journal: &Path, runs: &[Vec<Window>]) -> anyhow::Result<Vec<Quantiles>> {
    let mut found = runs.iter().map(|run| Bin::new(run)).collect::<Result<Vec<_>, _>>()?;
    read_folder(journal, &mut found)?;
    Ok(found.iter().map(|bin| bin.latencies.quantiles()).collect())
}

/// The decisions of one set of windows.
struct Bin {
    windows_ns: Vec<Range<u64>>,
    latencies: Latencies,
}

impl Bin {
    fn new(windows: &[Window]) -> anyhow::Result<Self> {
        let windows_ns =
            windows.iter().map(|window| anyhow::Ok(unix_ns(window.start)?..unix_ns(window.end)?));
        Ok(Self { windows_ns: windows_ns.collect::<Result<_, _>>()?, latencies: Latencies::new()? })
    }

    fn offer(&mut self, at_ns: u64, taken: Duration) {
        if self.windows_ns.iter().any(|window| window.contains(&at_ns)) {
            self.latencies.record(taken);
        }
    }
}

fn unix_ns(time: SystemTime) -> anyhow::Result<u64> {
    Ok(u64::try_from(time.duration_since(UNIX_EPOCH)?.as_nanos())?)
}

fn read_folder(folder: &Path, found: &mut [Bin]) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder);
    for entry in entries.with_context(|| format!("{} cannot be read", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            read_folder(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == WAL) {
            let bytes = std::fs::read(&path);
            let bytes = bytes.with_context(|| format!("{} cannot be read", path.display()))?;
            for (at_ns, taken) in decisions(&bytes) {
                found.iter_mut().for_each(|bin| bin.offer(at_ns, taken));
            }
        }
    }
    Ok(())
}

/// When each decision was recorded, and how long it took. Quotes inside texts are escaped, so a name is a name.
fn decisions(bytes: &[u8]) -> impl Iterator<Item = (u64, Duration)> {
    let starts = memmem::find_iter(bytes, TIME);
    let ends = memmem::find_iter(bytes, TIME).skip(1).chain([bytes.len()]);
    starts.zip(ends).filter_map(move |(start, end)| {
        let record = bytes.get(start..end)?;
        let taken = record.get(memmem::find(record, TAKEN)?..)?.strip_prefix(TAKEN)?;
        Some((number(record.strip_prefix(TIME)?)?, Duration::from_micros(number(taken)?)))
    })
}

fn number(bytes: &[u8]) -> Option<u64> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(bytes.get(..digits)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_inside_the_window_are_read_and_outcomes_are_not() {
        let log = concat!(
            r#"....{"seq":"1","ts":"1000","k":"decision","eval_us":120,"outcome":"sent"}"#,
            r#"....{"seq":"2","ts":"2000","k":"outcome","dur_us":900}"#,
            r#"....{"seq":"3","ts":"3000","k":"decision","eval_us":80}....{"seq":"4","ts":"40"#,
        );
        let all: Vec<_> = decisions(log.as_bytes()).collect();
        assert_eq!(all, [(1_000, Duration::from_micros(120)), (3_000, Duration::from_micros(80))]);

        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("stream")).unwrap();
        std::fs::write(folder.path().join("stream/0.wal"), log).unwrap();
        let at = |ns| UNIX_EPOCH + Duration::from_nanos(ns);
        let runs = [vec![at(2_500)..at(9_000)], vec![at(0)..at(1), at(900)..at(9_000)], vec![]];
        let found = latencies(folder.path(), &runs).unwrap();
        assert_eq!([found[0].count, found[1].count, found[2].count], [1, 2, 0]);
        assert!((found[0].p50_ms - 0.08).abs() < 0.001, "{found:?}");
    }
}
