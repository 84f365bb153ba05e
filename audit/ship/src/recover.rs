//! What an earlier life of this process left behind: how far its stream reaches, and what it never finished.
//!
//! Not here: putting that on record (`open`). Invariant: nothing is changed but the unused room after the last byte; what is found
//! is on the device before anyone signs for it; a stream that is not what was anchored is never taken for a crash.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use aegis_audit_chain::link::{Pruned, Walker};
use aegis_audit_chain::note::Verifier;
use aegis_audit_chain::record::{
    ClosedEntry, DecisionEntry, Ending, Entry, OutcomeDue, OutcomeEntry, TornTail,
};
use aegis_audit_chain::walk::{FileEnd, walk_file};
use aegis_audit_chain::{Origin, layout};
use aegis_audit_registry::{Registry, Stream};
use aegis_domain::Effect;

use crate::JournalError;
use crate::disk::{Disk, write_again};
use crate::error::io_error;
use crate::pruned;
use crate::stream_reader::wal_firsts;

/// A decision that let a call through, and whose outcome nobody wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct Unsettled {
    pub origin: Origin,
    pub seq: u64,
    pub decision: DecisionEntry,
}

/// How one earlier stream was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredStream {
    pub origin: Origin,
    pub how: Ending,
    pub size: u64,
    /// Bytes of records that nobody was told are durable.
    pub torn_bytes: u64,
}

/// What was found at start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recovered {
    pub streams: Vec<RecoveredStream>,
    /// Calls whose end is unknown. Their outcome records are already written, with the estimate as cost; the holds
    /// on their budgets are still to be settled.
    pub unsettled: Vec<Unsettled>,
}

/// The streams that did not end in order, closed as they were found.
pub(crate) struct Found {
    pub(crate) closed: Vec<ClosedEntry>,
    pub(crate) unsettled: Vec<Unsettled>,
}

type Open = BTreeMap<(Origin, u64), DecisionEntry>;

pub(crate) fn find(
    disk: &dyn Disk,
    (root, region): (&Path, &Verifier),
    registry: &Registry,
) -> Result<Found, JournalError> {
    let (mut closed, mut open) = (Vec::new(), Open::new());
    for stream in registry.streams().iter().filter(|stream| stream.closed.is_none()) {
        let pruned = pruned::read(root, &stream.born.origin, region)
            .map_err(io_error("reading where a stream begins"))?;
        closed.push(scan(disk, (root, pruned), (stream, &mut open))?);
    }
    let unsettled = open
        .into_iter()
        .map(|((origin, seq), decision)| Unsettled { origin, seq, decision })
        .collect();
    Ok(Found { closed, unsettled })
}

fn scan(
    disk: &dyn Disk,
    (root, pruned): (&Path, Option<Pruned>),
    (stream, open): (&Stream, &mut Open),
) -> Result<ClosedEntry, JournalError> {
    let origin = &stream.born.origin;
    let mut walker = pruned.map_or_else(|| Walker::new(origin.clone()), |pruned| pruned.walker);
    let begins = walker.size();
    let mut anchors = stream.anchors.iter().peekable();
    // Anchored was what a sync had answered for.
    let anchored = stream.anchors.last().map_or(0, |anchor| anchor.size);
    let (mut forked, mut torn) = (false, None);
    let firsts = wal_firsts(root, origin).map_err(io_error("listing a stream"))?;
    for first in firsts.into_iter().filter(|first| *first >= begins) {
        let path = root.join(layout::wal_file(origin, first));
        let bytes = fs::read(&path).map_err(io_error("reading a stream"))?;
        let (mut used, mut since) = (0, 0);
        let end = walk_file(&mut walker, (first, &bytes), &mut |before, step| {
            while anchors.next_if(|anchor| anchor.size < before.size()).is_some() {}
            if let Some(anchor) = anchors.next_if(|anchor| anchor.size == before.size()) {
                forked |= anchor.root != before.head().root;
            }
            used = step.end;
            if step.head.seq < anchored {
                since = step.end;
            }
            follow(open, origin, (step.head.seq, step.record));
        });
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let whole = matches!(end, FileEnd::Clean);
        if let FileEnd::Torn { tail, .. } = end {
            used = tail.offset.saturating_add(tail.bytes);
            torn = Some(tail);
        }
        // What is signed for must be on the device. A file whose whole rest is zero gives the room back; nothing that was ever
        // written is cut.
        let mut file = disk.reopen(&path).map_err(io_error("reopening a stream"))?;
        write_again(&mut *file, (&bytes, since)).map_err(io_error("writing a stream again"))?;
        if used > 0 && used < length && (whole || torn.is_some()) {
            file.trim(used).map_err(io_error("trimming a stream"))?;
        }
        if !whole {
            break;
        }
    }
    let head = walker.head();
    let tenants = walker.roster_lines().roster();
    let last = stream.anchors.last();
    let is_other = last.is_some_and(|anchor| {
        anchor.size == head.size && (anchor.root, anchor.tenants) != (head.root, tenants)
    });
    let failed = stream.failed.as_ref();
    let is_other =
        is_other || failed.is_some_and(|it| it.size == head.size && it.root != head.root);
    let how = match last {
        Some(anchor) if head.size < anchor.size => Ending::RolledBack,
        Some(_) | None if forked || is_other => Ending::Forked,
        Some(_) | None if failed.is_some() => Ending::IoError,
        Some(_) | None => Ending::Crashed,
    };
    let origin = head.origin;
    Ok(ClosedEntry { origin, how, size: head.size, root: head.root, tenants, torn })
}

/// Notes a decision that lets a call through, and crosses it out when its outcome comes.
fn follow(open: &mut Open, origin: &Origin, (seq, record): (u64, &[u8])) {
    match Entry::parse(record) {
        Ok(Entry::Decision(decision)) => {
            let sent = matches!(decision.decision, Effect::Allow | Effect::Sanitize);
            if sent && decision.outcome == OutcomeDue::Follows {
                open.insert((origin.clone(), seq), *decision);
            }
        }
        Ok(Entry::Outcome(outcome)) => {
            let OutcomeEntry { of, .. } = *outcome;
            open.remove(&(of.origin.unwrap_or_else(|| origin.clone()), of.seq));
        }
        // A record that does not parse was still written by the stream; the verifier names it.
        Ok(_) | Err(_) => {}
    }
}

impl RecoveredStream {
    pub(crate) fn of(closed: &ClosedEntry) -> Self {
        let torn_bytes = closed.torn.as_ref().map_or(0, |tail: &TornTail| tail.bytes);
        let (origin, how, size) = (closed.origin.clone(), closed.how, closed.size);
        Self { origin, how, size, torn_bytes }
    }
}
