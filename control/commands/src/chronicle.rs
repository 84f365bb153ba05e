//! The seam between changes and the audit log: who changed what, on record before it is answered.
//!
//! Not here: the log (`audit/ship`), and the changes themselves (`ledger`). Invariant: where a log is kept, nothing is
//! proposed that it could not take, and nothing is answered as done that it did not. A disk that hangs keeps nobody waiting for
//! longer than `RECORD_WITHIN`, and what was begun is written when it goes on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aegis_domain::TenantId;
use aegis_ledger::{Action, ApprovalAct, SessionAct};
use aegis_raft_store::Node;
use aegis_registry::{Action as Act, Actor, AgentName, Event, Part, Target};
use async_trait::async_trait;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::ledger::{Ledger, LedgerError, Proposal, Reading};
use crate::under_way::Begun;

/// How long a change that was made waits for its record before its sender is told that nobody knows. Together with what a proposal
/// waits for a quorum it is well below what clients wait for an answer.
pub const RECORD_WITHIN: Duration = Duration::from_secs(5);

/// One change, as it is put on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Whose thing was changed; `None` where it was the region's.
    pub tenant: Option<TenantId>,
    /// How many commands the region's ledger had applied here by then.
    pub revision: u64,
    pub by: Actor,
    /// The part of the ledger, and what was done there: `registry.revoke`.
    pub act: String,
    /// What it was done to, by a name that may be told.
    pub target: Option<String>,
    /// SHA-256 of the command as the ledger keeps it.
    pub command: [u8; 32],
}

/// The audit log takes no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit log takes no record")]
pub struct ChronicleError;

/// Puts changes on record.
#[async_trait]
pub trait Chronicle: Send + Sync + fmt::Debug {
    /// Takes a change on, where its record would be taken now.
    fn begin(&self) -> Result<Begun, ChronicleError>;

    /// Returns when the record is where it cannot be lost.
    async fn note(&self, change: Changed) -> Result<(), ChronicleError>;
}

/// Proposes nothing that could not be put on record, and puts on record what came of it.
pub async fn chronicled<T, E, F>(
    chronicle: &Arc<dyn Chronicle>,
    node: &Node,
    (by, action): (Actor, Action),
    propose: F,
) -> Result<T, E>
where
    E: From<LedgerError>,
    F: Future<Output = Result<T, E>>,
{
    recorded((chronicle, node), |revision| describe(by, &action, revision), propose).await
}

/// What is done to a region beside the commands of its ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    pub by: Actor,
    /// The part of the region, and what was done there: `voter.promote`.
    pub act: &'static str,
    pub target: Option<String>,
}

impl Deed {
    /// As it is put on record. No command of the ledger is behind it, so its digest is of what is told here.
    pub fn changed(self, revision: u64) -> Changed {
        let Self { by, act, target } = self;
        let told = serde_json::json!({ "act": act, "target": target }).to_string();
        let (act, command) = (act.to_owned(), Sha256::digest(told).into());
        Changed { tenant: None, revision, by, act, target, command }
    }
}

/// Does nothing that could not be put on record, and puts it there once it is done.
pub async fn done<T, E, F>(
    chronicle: &Arc<dyn Chronicle>,
    node: &Node,
    deed: Deed,
    work: F,
) -> Result<T, E>
where
    E: From<LedgerError>,
    F: Future<Output = Result<T, E>>,
{
    recorded((chronicle, node), |revision| deed.changed(revision), work).await
}

async fn recorded<T, E, F>(
    (chronicle, node): (&Arc<dyn Chronicle>, &Node),
    change: impl FnOnce(u64) -> Changed,
    work: F,
) -> Result<T, E>
where
    E: From<LedgerError>,
    F: Future<Output = Result<T, E>>,
{
    let begun = chronicle.begin().map_err(LedgerError::NoRecord)?;
    let done = work.await?;
    let change = change(node.ledger().revision());
    note(chronicle, begun, change).await?;
    Ok(done)
}

/// The record is waited for so long, and written also after that: the change is under way until it is.
async fn note(
    chronicle: &Arc<dyn Chronicle>,
    begun: Begun,
    change: Changed,
) -> Result<(), LedgerError> {
    let chronicle = Arc::clone(chronicle);
    let noting = tokio::spawn(async move {
        let noted = chronicle.note(change).await;
        drop(begun);
        noted
    });
    match tokio::time::timeout(RECORD_WITHIN, noting).await {
        Ok(Ok(noted)) => noted.map_err(LedgerError::Unrecorded),
        // It ended half-way, as when the process does.
        Ok(Err(_)) => Err(LedgerError::Unrecorded(ChronicleError)),
        Err(_) => Err(LedgerError::RecordUnknown),
    }
}

fn describe(by: Actor, action: &Action, revision: u64) -> Changed {
    // No part of a command fails to be written; the ledger keeps it in this very form.
    let written = serde_json::to_value(action).unwrap_or_default();
    let bytes = serde_json::to_vec(action).unwrap_or_default();
    let (part, act, body) = names(&written);
    let (tenant, target) = match action {
        Action::Registry(act) => of_registry(act),
        Action::Approval(act) => of_approval(act),
        Action::Session(SessionAct::Open { jti, .. } | SessionAct::End { jti }) => {
            (None, Some(format!("session {jti}")))
        }
        Action::Tenant(_) => (tenant_in(body), None),
        Action::Release(_) => (body.and_then(|body| tenant_in(body.get("line"))), line(body)),
        Action::Stream(_) | Action::Voter(_) => (None, None),
    };
    let command = Sha256::digest(bytes).into();
    Changed { tenant, revision, by, act: format!("{part}.{act}"), target, command }
}

/// The part, what is done there, and with what: a command is written as one member within another.
fn names(written: &Value) -> (&str, &str, Option<&Value>) {
    let Some((part, body)) = only_member(written) else { return ("", "", None) };
    match only_member(body) {
        Some((act, body)) => (part, act, Some(body)),
        None => (part, body.as_str().unwrap_or_default(), None),
    }
}

fn only_member(value: &Value) -> Option<(&String, &Value)> {
    value.as_object()?.iter().next()
}

fn tenant_in(value: Option<&Value>) -> Option<TenantId> {
    TenantId::parse(value?.get("tenant")?.as_str()?).ok()
}

fn line(body: Option<&Value>) -> Option<String> {
    let environment = body?.get("line")?.get("environment")?.as_str()?;
    Some(format!("policy {environment}"))
}

type Whose = (Option<TenantId>, Option<String>);

fn of_registry(act: &Act) -> Whose {
    let agent = |name: &AgentName| {
        (Some(name.tenant.clone()), Some(format!("agent {}/{}", name.tenant, name.id)))
    };
    match act {
        Act::Register { agent: new, .. } => {
            agent(&AgentName { tenant: new.tenant.clone(), id: new.id.clone() })
        }
        Act::Amend { agent: name, .. }
        | Act::SetStanding { agent: name, .. }
        | Act::IssueCode { agent: name, .. } => agent(name),
        // Which agent it is stands in the code, which nobody is told.
        Act::Enrol { key, .. } => (None, Some(format!("key {}", key.id()))),
        Act::AddKey { key, .. } => (None, Some(format!("key {}", key.id()))),
        Act::EndKeys { signer } => (None, Some(format!("keys of signer {signer}"))),
        Act::RetireKey { id, .. } => (None, Some(format!("key {id}"))),
        Act::Revoke { target, .. } => match target {
            // A token's own id is never told in a record.
            Target::Token { tenant, .. } => (Some(tenant.clone()), Some("token".to_owned())),
            Target::Agent(name) => agent(name),
            Target::Key(id) => (None, Some(format!("key {id}"))),
            Target::Tenant(tenant) => (Some(tenant.clone()), Some(format!("tenant {tenant}"))),
        },
        Act::SetBudget { budget, .. } | Act::Adjust { budget, .. } => {
            (Some(budget.tenant.clone()), Some(format!("budget {budget}")))
        }
        Act::Define { of, .. } => {
            let what = match &of.part {
                Part::Limits => format!("limits of {}", of.tenant),
                Part::Tool(name) => format!("tool {}/{name}", of.tenant),
            };
            (Some(of.tenant.clone()), Some(what))
        }
        Act::NoteAdjusted { id } => (None, Some(format!("adjustment {id}"))),
    }
}

fn of_approval(act: &ApprovalAct) -> Whose {
    let key = match act {
        ApprovalAct::Ask { key, .. }
        | ApprovalAct::Grant { key }
        | ApprovalAct::Deny { key }
        | ApprovalAct::Override { key, .. }
        | ApprovalAct::Consume { key, .. } => key,
    };
    (Some(key.tenant.clone()), Some(format!("approval {}", key.id)))
}

/// The registry, with a record of each change.
#[derive(Debug)]
pub struct Chronicled {
    pub ledger: Arc<dyn Ledger>,
    pub chronicle: Arc<dyn Chronicle>,
    pub node: Node,
}

#[async_trait]
impl Ledger for Chronicled {
    async fn propose(&self, proposal: Proposal) -> Result<Event, LedgerError> {
        let action = Action::Registry(Box::new(proposal.action.clone()));
        let what = (proposal.by.clone(), action);
        let done = self.ledger.propose(proposal);
        chronicled(&self.chronicle, &self.node, what, done).await
    }

    fn read(&self) -> Reading<'_> {
        self.ledger.read()
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.ledger.watch()
    }

    fn events_after(&self, serial: u64, max: usize) -> Option<Vec<Event>> {
        self.ledger.events_after(serial, max)
    }
}
