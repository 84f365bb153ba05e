//! After a start: what an earlier life held is settled by what its records say.
//!
//! Not here: reading the journal in full and writing unknown outcomes (`audit/ship`), charging (`state`). Invariant: a
//! call that was let through and whose end is unknown is charged its estimate; a hold that no record lets through was
//! never sent, so it is given back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use aegis_audit_chain::frame::Frames;
use aegis_audit_chain::layout;
use aegis_audit_chain::record::{DecisionEntry, Entry, OutcomeDue, Record};
use aegis_domain::{DecisionId, MicroUsd, Timestamp};
use anyhow::Context as _;

use crate::clock;
use crate::wire::{Gateway, Recovery};

type Costs = BTreeMap<DecisionId, MicroUsd>;

/// Settles every hold that was open when the earlier life ended.
pub async fn settle(gateway: &Gateway, recovery: Recovery) -> anyhow::Result<()> {
    for stream in &recovery.records.streams {
        let (origin, size) = (stream.origin.as_str(), stream.size);
        tracing::warn!(origin, size, how = ?stream.how, "an earlier life did not end in order");
    }
    let holds = recovery.holds;
    let Some(oldest) = holds.iter().map(|hold| hold.decided_at).min() else { return Ok(()) };
    let wanted = holds.iter().map(|hold| hold.id).collect();
    let audit = gateway.config.data_dir.join("audit");
    let costs = recorded_costs(&audit, &wanted, oldest)
        .context("the records of an earlier life cannot be read, so its holds cannot be settled")?;
    for hold in &holds {
        let cost = costs.get(&hold.id).copied().unwrap_or(MicroUsd::ZERO);
        let settled = gateway.state.settle(hold, cost, clock::now()).await;
        settled.with_context(|| format!("the hold of decision {} cannot be settled", hold.id))?;
    }
    tracing::warn!(holds = holds.len(), "holds of an earlier life were settled from its records");
    Ok(())
}

/// What the outcome records of these decisions say, from the newest stream back to the oldest that can hold one.
fn recorded_costs(
    audit: &Path,
    wanted: &BTreeSet<DecisionId>,
    oldest: Timestamp,
) -> std::io::Result<Costs> {
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
