//! What earlier calls cost, read back from the records of earlier lives.
//!
//! Not here: whose hold is settled with it. Invariant: a decision that let its call through costs at least what its record
//! estimates, unless an outcome says otherwise; one without a record costs nothing, because it was never sent.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use aegis_audit_chain::frame::Frames;
use aegis_audit_chain::layout;
use aegis_audit_chain::record::{DecisionEntry, Entry, OutcomeDue, Record};
use aegis_domain::{DecisionId, MicroUsd, Timestamp};

type Costs = BTreeMap<DecisionId, MicroUsd>;

/// What the outcome records of these decisions say, from the newest stream back to the oldest that can hold one.
pub fn recorded_costs(
    audit: &Path,
    wanted: &BTreeSet<DecisionId>,
    oldest: Timestamp,
) -> std::io::Result<BTreeMap<DecisionId, MicroUsd>> {
    let mut costs = Costs::new();
    for stream in streams_newest_first(audit)? {
        let began = read_stream(&stream, wanted, &mut costs)?;
        if costs.len() == wanted.len() || began.is_some_and(|began| began < oldest) {
            break;
        }
    }
    Ok(costs)
}

fn streams_newest_first(audit: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut streams = Vec::new();
    for writer in names(&audit.join(layout::STREAMS_DIR))? {
        for stream in names(&writer)? {
            let number = stream.file_name().and_then(|name| name.to_str());
            if let Some(number) = number.and_then(layout::parse_incarnation_name) {
                streams.push((number, stream));
            }
        }
    }
    streams.sort();
    Ok(streams.into_iter().rev().map(|(_, stream)| stream).collect())
}

/// Notes the wanted outcomes of one stream; returns when it began.
fn read_stream(
    stream: &Path,
    wanted: &BTreeSet<DecisionId>,
    costs: &mut Costs,
) -> std::io::Result<Option<Timestamp>> {
    let mut began = None;
    for file in names(&stream.join("wal"))? {
        let bytes = std::fs::read(&file)?;
        // What is torn was never promised to anyone.
        let Ok((_, frames)) = Frames::open(&bytes) else { continue };
        for frame in frames.map_while(Result::ok) {
            let Ok(Record { head, entry }) = Record::parse(frame.record) else { continue };
            began = began.or(Some(Timestamp::from_unix_ns(head.ts)));
            match entry {
                Entry::Outcome(outcome) if wanted.contains(&outcome.of.id) => {
                    costs.insert(outcome.of.id, outcome.cost);
                }
                // Let through, and nobody wrote how it ended: it may have been sent.
                Entry::Decision(decision) if sent_for(&decision, wanted) => {
                    costs.entry(decision.id).or_insert(decision.est_cost);
                }
                _ => {}
            }
        }
    }
    Ok(began)
}

fn sent_for(decision: &DecisionEntry, wanted: &BTreeSet<DecisionId>) -> bool {
    decision.outcome == OutcomeDue::Follows && wanted.contains(&decision.id)
}

/// What lies in a folder, by name; a folder that is not there holds nothing.
fn names(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    names.sort();
    Ok(names)
}
