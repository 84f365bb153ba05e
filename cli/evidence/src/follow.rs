//! What is shipped into a bucket, while it is being shipped.
//!
//! Not here: the journals of gateways on this machine (`cli/journal`), and showing records (`cli`). Invariant: a record is handed
//! out once, from a segment whose manifest a trusted key signed.

use std::collections::BTreeMap;

use aegis_audit_chain::frame::Frames;
use aegis_audit_chain::source::{LogSource, SourceError};
use aegis_audit_chain::{Origin, layout, record};
use aegis_audit_ship::{Log, Staying};
use aegis_audit_trust::Trust;

use crate::EvidenceError;

/// Takes a record's stream and its bytes.
type Take<'t> = dyn FnMut(&Origin, &[u8]) -> Result<(), EvidenceError> + 't;

/// A bucket, and how far each of its streams was read.
#[derive(Debug)]
pub struct Follower<'l> {
    log: &'l Log,
    trust: &'l Trust,
    /// What was listed so far; none before the first time.
    logs: Vec<Staying<'l>>,
    /// By the stream's directory: the number of the first record that was not handed out.
    next: BTreeMap<String, u64>,
}

/// What came of looking once more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Whether anything was handed out.
    pub is_new: bool,
    /// Why something could not be read now.
    pub trouble: Option<String>,
}

impl<'l> Follower<'l> {
    pub fn new(log: &'l Log, trust: &'l Trust) -> Self {
        Self { log, trust, logs: Vec::new(), next: BTreeMap::new() }
    }

    /// Hands out what came since the last time; the first time, the newest segment of each stream. What cannot be read now is
    /// read the next time. What was listed once is not listed again.
    pub fn read(&mut self, take: &mut Take<'_>) -> Result<Looked, EvidenceError> {
        let has_begun = !self.logs.is_empty();
        let mut looked = Looked::default();
        if !has_begun {
            self.logs = self.log.stay(self.trust)?;
        }
        for log in &mut self.logs {
            // A store that is away keeps nobody from waiting for it, once it was there.
            if has_begun && let Err(error) = log.refresh() {
                looked.trouble = Some(error.to_string());
                continue;
            }
            for dir in stream_dirs(log.source())? {
                let from = self.next.get(&dir).copied();
                let from = if has_begun { from.or(Some(0)) } else { from };
                match stream(log.source(), (&dir, from), take) {
                    Ok(to) => {
                        looked.is_new |= Some(to) != from;
                        self.next.insert(dir, to);
                    }
                    Err(Stop::Later(why)) => looked.trouble = Some(why),
                    Err(Stop::Error(error)) => return Err(error),
                }
            }
        }
        Ok(looked)
    }
}

enum Stop {
    Later(String),
    Error(EvidenceError),
}

fn stream_dirs(source: &dyn LogSource) -> Result<Vec<String>, EvidenceError> {
    let list = |dir: &str| {
        source.list(dir).map_err(|error| EvidenceError::invalid("the audit log", error))
    };
    let mut dirs = Vec::new();
    for writer in list(layout::STREAMS_DIR)? {
        let dir = format!("{}/{writer}", layout::STREAMS_DIR);
        dirs.extend(list(&dir)?.into_iter().map(|life| format!("{dir}/{life}")));
    }
    Ok(dirs)
}

/// Hands out a stream's records from `from` on, or those of its newest file; says where it stands behind them.
fn stream(
    source: &dyn LogSource,
    (dir, from): (&str, Option<u64>),
    take: &mut Take<'_>,
) -> Result<u64, Stop> {
    let wal = format!("{dir}/wal");
    let names = source.list(&wal).map_err(stop)?;
    let mut firsts: Vec<u64> =
        names.iter().filter_map(|name| layout::parse_wal_name(name)).collect();
    firsts.sort_unstable();
    let newest = firsts.last().copied().unwrap_or(0);
    let mut next = from.unwrap_or(newest);
    // A piece of a bucket was read whole, and does not grow.
    let is_read = source.pieces().is_some() && from.is_some();
    // The file that holds the next record, and those behind it.
    let begin = match is_read {
        true => firsts.partition_point(|first| *first < next),
        false => firsts.partition_point(|first| *first <= next).saturating_sub(1),
    };
    for first in firsts.into_iter().skip(begin) {
        let bytes = source.read(&format!("{wal}/{first:020}.wal")).map_err(stop)?;
        let bytes = bytes.unwrap_or_default();
        let Ok((header, frames)) = Frames::open(&bytes) else { continue };
        for frame in frames.map_while(Result::ok) {
            let seq = record::Head::parse(frame.record).map_or(0, |head| head.seq);
            if seq >= next {
                take(&header.origin, frame.record).map_err(Stop::Error)?;
                next = seq.saturating_add(1);
            }
        }
    }
    Ok(next)
}

fn stop(error: SourceError) -> Stop {
    match error {
        SourceError::Unreadable { .. } => Stop::Later(error.to_string()),
        SourceError::Broken { .. } => Stop::Error(EvidenceError::invalid("the audit log", error)),
    }
}
