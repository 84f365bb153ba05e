//! Proofs that single records are in the log, for those whose records they are, and for operators.
//!
//! Not here: the doors and their statuses (`door`), the proof itself (`audit/proof`). Invariant: an agent gets its own records
//! and nothing else, and learns nothing of which others there are.

use std::sync::Arc;

use aegis_audit_chain::Hash;
use aegis_audit_chain::record::{Entry, Record};
use aegis_audit_proof::Proof;
use aegis_audit_ship::{Inclusion, InclusionError};
use aegis_domain::{AgentId, AgentIdentity, TenantId};
use tokio::sync::Semaphore;

use crate::wire::Gateway;

/// Where proofs are asked for; agents put `/-` before it, because names that begin with `-` are not tools.
pub(crate) const PATH: &str = "/v1/audit/proof/";
/// Proofs that are made at once; each reads some files.
const AT_ONCE: usize = 2;
/// A head is signed at most a second after its records.
const NEXT_HEAD_S: u64 = 1;

/// Whose turn it is to have a proof made.
#[derive(Debug)]
pub struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

/// A record, by the SHA-256 of its log's name and its number there: `log` and `seq` of an attestation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    log: Hash,
    seq: u64,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) enum Asker {
    /// Sees the records of one agent.
    Agent(TenantId, AgentId),
    /// Sees them all, as it sees the files.
    Operator,
}

/// Why there is no proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoProof {
    #[error("there is no such record of yours in this gateway's log")]
    Unknown,
    #[error("no signed head covers the record yet; ask again in {wait_s} s")]
    Early { wait_s: u64 },
    #[error(
        "the log is not what was signed, and the record stands behind that; `aegisctl audit verify` says where"
    )]
    Uncovered,
    #[error("the record was shipped and deleted here; prove it from the audit bucket")]
    Deleted,
    #[error("the log is not what was signed; `aegisctl audit verify` says where")]
    Broken,
    #[error("other proofs are being made; ask again in a second")]
    Busy,
}

impl Asked {
    /// Reads `<log>/<seq>`.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let (log, seq) = path.split_once('/')?;
        let number: u64 = seq.parse().ok()?;
        (number.to_string() == seq).then_some(())?;
        Some(Self { log: Hash::parse(log)?, seq: number })
    }
}

impl Asker {
    pub(crate) fn agent(identity: &AgentIdentity) -> Self {
        Asker::Agent(identity.tenant.clone(), identity.agent.clone())
    }

    fn may_see(&self, record: &[u8]) -> bool {
        let Asker::Agent(tenant, agent) = self else { return true };
        let owner = match Record::parse(record).map(|record| record.entry) {
            Ok(Entry::Decision(decision)) => (decision.tenant, decision.agent),
            Ok(Entry::Outcome(outcome)) => (outcome.tenant, outcome.agent),
            Ok(_) | Err(_) => (None, None),
        };
        owner == (Some(tenant.clone()), Some(agent.clone()))
    }
}

/// The proof as a `c2sp.org/tlog-proof@v1` file, made off the threads that move bytes.
pub(crate) async fn prove(
    gateway: &Arc<Gateway>,
    asked: Option<Asked>,
    asker: Asker,
) -> Result<String, NoProof> {
    let Asked { log, seq } = asked.ok_or(NoProof::Unknown)?;
    let turn = Arc::clone(&gateway.proofs.0).try_acquire_owned().map_err(|_| NoProof::Busy)?;
    let gateway = Arc::clone(gateway);
    let work = gateway.corridor.control.clone().spawn_blocking(move || {
        let found = gateway.corridor.journal.inclusion(log, seq);
        drop(turn);
        found
    });
    let found = work.await.map_err(|_| NoProof::Broken)?;
    let Inclusion { record, index, path, checkpoint, birth } = found.map_err(told)?;
    // Whether there is a record of somebody else is nobody's business either.
    if !asker.may_see(&record) {
        return Err(NoProof::Unknown);
    }
    Ok(Proof { index, path, checkpoint, birth, record, end: None }.to_text())
}

fn told(error: InclusionError) -> NoProof {
    match error {
        InclusionError::Unknown => NoProof::Unknown,
        InclusionError::Early => NoProof::Early { wait_s: NEXT_HEAD_S },
        InclusionError::Uncovered => NoProof::Uncovered,
        InclusionError::Deleted => NoProof::Deleted,
        error @ (InclusionError::Changed | InclusionError::Io(_)) => {
            tracing::error!(%error, "a record cannot be proved");
            NoProof::Broken
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_one_address() {
        let log = Hash::of(b"d/r/gateway-1/1");
        assert_eq!(Asked::parse(&format!("{log}/7")), Some(Asked { log, seq: 7 }));
        for bad in [
            format!("{log}"),
            format!("{log}/"),
            format!("{log}/07"),
            format!("{log}/+7"),
            format!("{log}/7/"),
            "x/7".to_owned(),
            format!("{log}=/7"),
        ] {
            assert_eq!(Asked::parse(&bad), None, "{bad}");
        }
    }
}
