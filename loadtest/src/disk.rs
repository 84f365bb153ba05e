//! How fast the disk below the audit log syncs, so that latencies can be read on another machine.
//!
//! Not here: the journal. Invariant: the probe writes less than a megabyte and removes it.

use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;

use crate::tally::{Latencies, Quantiles};

const SYNCS: usize = 300;
/// About one audit record.
const APPEND_BYTES: usize = 1_024;

/// Appends and syncs (fdatasync) in a folder.
pub(crate) fn sync_latency(folder: &Path) -> anyhow::Result<Quantiles> {
    let mut file = tempfile::tempfile_in(folder)
        .with_context(|| format!("no file in {}", folder.display()))?;
    let mut latencies = Latencies::new()?;
    for _ in 0..SYNCS {
        let start = Instant::now();
        file.write_all(&[b'x'; APPEND_BYTES])?;
        file.sync_data()?;
        latencies.record(start.elapsed());
    }
    Ok(latencies.quantiles())
}
