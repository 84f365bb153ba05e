//! A ledger that outlives its cluster: copied while it is in use, and taken over by one voter of a new cluster.
//!
//! Not here: who is invited to that cluster (`authority`). Invariant: what was taken over belongs to a cluster of another
//! name, so no voter of the old one, nor an old copy of this one's file, is ever listened to again; and it is taken over
//! in one transaction, or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use aegis_domain::Timestamp;
use aegis_ledger::Ledger;
use openraft::{BasicNode, CommittedLeaderId, EntryPayload};
use sha2::{Digest as _, Sha256};

use crate::disk::{DiskError, Identity, Offline};
use crate::node::{Node, NodeError};
use crate::types::{LogId, Membership, SnapshotMeta, Vote};

/// The state after one entry. It is written out twice, once to be measured, so that it is never in memory as a whole.
#[derive(Clone, Debug)]
pub struct Backup {
    pub cluster: String,
    pub node: u64,
    pub index: u64,
    pub revision: u64,
    /// The time of its last command.
    pub at: Timestamp,
    pub bytes: u64,
    pub sha256: [u8; 32],
    ledger: Ledger,
}

impl Backup {
    /// Writes the ledger, in pieces of a few bytes each. Blocks on whatever it is written to.
    pub fn write(&self, to: impl Write) -> io::Result<()> {
        Ok(serde_json::to_writer(to, &self.ledger)?)
    }
}

/// What is written is counted and forgotten.
#[derive(Default)]
struct Measure {
    bytes: u64,
    digest: Sha256,
}

impl Write for Measure {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.bytes = self.bytes.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        self.digest.update(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a survivor's file held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered {
    pub index: u64,
    /// Entries that this voter had and does not know to be agreed on. They count from now on.
    pub unconfirmed: u64,
}

impl Node {
    /// The state that was acknowledged before the call, or, while no quorum answers, the one this node has.
    pub async fn backup(&self) -> Result<Backup, NodeError> {
        if let Err(error) = self.catch_up().await {
            tracing::warn!(%error, "a backup is made of what this node has");
        }
        let identity = self.identity().clone();
        let (applied, ledger) = {
            let state = self.running().shared.read();
            (state.applied, state.ledger.clone())
        };
        let written = crate::host::blocking(move || {
            let mut measure = BufWriter::new(Measure::default());
            serde_json::to_writer(&mut measure, &ledger)?;
            let Measure { bytes, digest } =
                measure.into_inner().map_err(|error| NodeError::Raft(error.to_string()))?;
            let (revision, at) = (ledger.revision(), ledger.latest());
            let index = applied.map_or(0, |applied| applied.index);
            let Identity { cluster, node } = identity;
            let sha256 = digest.finalize().into();
            Ok(Backup { cluster, node, index, revision, at, bytes, sha256, ledger })
        });
        written.await.map_err(|error| NodeError::Raft(error.to_string()))?
    }
}

/// Makes a cluster of one out of a survivor's own file. Done before, it changes nothing. Blocks on the disk.
pub fn recover(
    directory: &Path,
    (from, to): (&Identity, &Identity),
    address: &str,
) -> Result<Recovered, DiskError> {
    let file = Offline::open(directory)?;
    if file.owner()?.as_ref() == Some(to) {
        return Ok(Recovered { index: 0, unconfirmed: 0 });
    }
    let found = file.found(from)?;
    let last = found.last.ok_or(DiskError::Damaged("there is nothing in it"))?;
    let snapshot = file.snapshot()?;
    let mut ledger = match &snapshot {
        None => Ledger::default(),
        Some(snapshot) => serde_json::from_slice(&snapshot.snapshot.0)?,
    };
    let next =
        snapshot.and_then(|it| it.meta.last_log_id).map_or(0, |id| id.index.saturating_add(1));
    for entry in file.entries_from(next)? {
        match &entry.payload {
            EntryPayload::Normal(batch) => drop(ledger.apply(batch)),
            EntryPayload::Blank | EntryPayload::Membership(_) => {}
        }
    }
    let committed = found.committed.max(found.snapshot).map_or(0, |committed| committed.index);
    take_over(&file, ledger, (to, address), last)?;
    Ok(Recovered { index: last.index, unconfirmed: last.index.saturating_sub(committed) })
}

/// Begins a cluster of one with the state of a backup. Done before, it changes nothing; a ledger that is there is never
/// written over. Blocks on the disk.
pub fn restore(
    directory: &Path,
    to: &Identity,
    address: &str,
    written: impl Read,
) -> Result<(), DiskError> {
    let ledger: Ledger = serde_json::from_reader(BufReader::new(written))?;
    let file = Offline::open(directory)?;
    match file.owner()? {
        Some(owner) if owner == *to && file.found(to)?.last.is_some() => Ok(()),
        Some(Identity { cluster, node: found }) if cluster != to.cluster || found != to.node => {
            Err(DiskError::Stranger { cluster, found })
        }
        Some(_) | None => {
            let first = LogId::new(CommittedLeaderId::new(1, to.node), 1);
            take_over(&file, ledger, (to, address), first)
        }
    }
}

fn take_over(
    file: &Offline,
    mut ledger: Ledger,
    (to, address): (&Identity, &str),
    last: LogId,
) -> Result<(), DiskError> {
    ledger.take_over((to.node, address), crate::host::now());
    let image = serde_json::to_vec(&ledger)?;
    let nodes = BTreeMap::from([(to.node, BasicNode::new(address))]);
    let members = openraft::Membership::new(vec![BTreeSet::from([to.node])], nodes);
    let meta = SnapshotMeta {
        last_log_id: Some(last),
        last_membership: Membership::new(Some(last), members),
        snapshot_id: format!("{}-taken-over", last.index),
    };
    // The next election must be in a later term than the last entry.
    let vote = Vote::new(last.leader_id.term, to.node);
    file.take_over(to, (&meta, &image), &vote)
}
