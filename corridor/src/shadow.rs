//! What a candidate version would have said of calls it does not decide: asked once they are answered, on a thread of
//! its own.
//!
//! Not here: which calls (`policies`), the ways to differ (`decide`). Invariant: nothing waits for it, and nothing comes
//! of it but counters and records of mode `shadow`: no budget, no approval, no answer. A full queue drops, and counts.

use std::sync::Arc;
use std::thread::JoinHandle;

use aegis_audit_chain::record::{DecisionEntry, Mode, OutcomeDue};
use aegis_audit_ship::{JournalError, Pending};
use aegis_decide::{Case, Difference, NO_APPROVALS, OutageRule};
use aegis_domain::{
    AgentIdentity, Decision, DecisionId, EgressCall, Facts, Reason, ToolName, TraceContext, Verdict,
};
use aegis_policy::Snapshot;
use anyhow::Context as _;
use serde_json::Value;
use tokio::sync::{Notify, mpsc};

use crate::Corridor;
use crate::context::{CallContext, Identified, Read};

/// Calls that may wait to be asked about.
const QUEUE_MAX: usize = 1_024;
/// Calls whose records share one sync.
const BATCH_MAX: usize = 64;

/// Where calls wait.
#[derive(Debug)]
pub struct Shadow(mpsc::Sender<Job>);

/// One call and the verdict it got.
#[derive(Debug)]
pub struct Job {
    id: DecisionId,
    trace: TraceContext,
    call: Arc<EgressCall>,
    tool: Option<ToolName>,
    agent: Arc<AgentIdentity>,
    facts: Facts,
    outage: OutageRule,
    enforced: Arc<Snapshot>,
    verdict: Verdict,
    candidate: Arc<Snapshot>,
}

/// The thread, until it is dropped; then what waits is still asked.
pub struct ShadowThread {
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

impl Shadow {
    pub fn new() -> (Self, mpsc::Receiver<Job>) {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        (Self(sender), receiver)
    }

    pub fn ask(&self, corridor: &Corridor, job: Job) {
        let tenant = job.agent.tenant.clone();
        if self.0.try_send(job).is_err() {
            corridor.metrics.policy().shadow_dropped(&tenant);
        }
    }
}

impl Job {
    /// A judged call, when a candidate is to be asked about it.
    pub fn of(
        ctx: &CallContext,
        identified: &Identified,
        read: &Read,
        facts: &Facts,
        decision: &Decision,
    ) -> Option<Self> {
        let judges = &identified.judges;
        Some(Self {
            id: ctx.id,
            trace: ctx.trace,
            call: Arc::clone(&read.call),
            tool: read.tool.clone(),
            agent: Arc::clone(&identified.agent),
            facts: facts.clone(),
            outage: read.binding.outage,
            enforced: Arc::clone(&judges.enforced),
            verdict: decision.verdict.clone(),
            candidate: Arc::clone(judges.beside.as_ref()?),
        })
    }

    fn judge(&self, corridor: &Corridor) -> Decision {
        let tool = self.candidate.resolve(&self.call).cloned();
        let call = match self.call_as_read_by_candidate(tool.as_ref()) {
            Ok(call) => call,
            Err(reason) => return aegis_decide::refuse(self.id, reason),
        };
        let case = Case {
            id: self.id,
            call: &call,
            tool: tool.as_ref(),
            agent: &self.agent,
            facts: &self.facts,
            region: &corridor.config.region,
            outage: self.outage,
            approved: &NO_APPROVALS,
        };
        aegis_decide::judge(&case, &self.candidate)
    }

    /// The call with the parameters that the candidate finds in its path, and not those the enforced version found.
    fn call_as_read_by_candidate(&self, tool: Option<&ToolName>) -> Result<EgressCall, Reason> {
        let mut call = EgressCall::clone(&self.call);
        let found = |version: &Snapshot, tool: Option<&ToolName>| {
            tool.map(|tool| version.path_params(tool, &self.call.path)).unwrap_or_default()
        };
        for (name, _) in found(&self.enforced, self.tool.as_ref()) {
            call.params.remove(&name);
        }
        for (name, value) in found(&self.candidate, tool) {
            if call.params.insert(name, Value::String(value)).is_some() {
                return Err(Reason::UnreadableBody);
            }
        }
        Ok(call)
    }

    fn entry(&self, corridor: &Corridor, decision: &Decision) -> DecisionEntry {
        let agent = &self.agent;
        DecisionEntry {
            tenant: Some(agent.tenant.clone()),
            trace: Some(self.trace),
            org: Some(agent.org.clone()),
            agent: Some(agent.agent.clone()),
            parent_agent: agent.parent_agent.clone(),
            tool: self.candidate.resolve(&self.call).cloned(),
            route: Some(self.call.route.clone()),
            kind: Some(self.call.kind),
            policy: Some(self.candidate.policy_ref().clone()),
            mode: Mode::Shadow,
            outcome: OutcomeDue::None,
            ..DecisionEntry::of(decision, corridor.config.region.clone())
        }
    }
}

impl ShadowThread {
    pub fn start(corridor: Arc<Corridor>, jobs: mpsc::Receiver<Job>) -> anyhow::Result<Self> {
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("aegis-shadow".to_owned());
        let runtime = corridor.control.clone();
        let thread = thread
            .spawn(move || runtime.block_on(work(&corridor, jobs, &stopped)))
            .context("no thread for candidates in shadow")?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for ShadowThread {
    fn drop(&mut self) {
        self.stop.notify_one();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of candidates in shadow panicked");
        }
    }
}

async fn work(corridor: &Corridor, mut jobs: mpsc::Receiver<Job>, stop: &Notify) {
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            biased;
            _ = jobs.recv_many(&mut batch, BATCH_MAX) => {}
            () = stop.notified() => return,
        }
        let mut last = None;
        for job in batch.drain(..) {
            last = judge_beside(corridor, &job).await.or(last);
        }
        // One batch is on disk before the next begins, so records of shadows never crowd out those of calls.
        if let Some(pending) = last
            && let Err(error) = pending.durable().await
        {
            tracing::error!(%error, "what a candidate would have decided could not be recorded");
        }
    }
}

async fn judge_beside(corridor: &Corridor, job: &Job) -> Option<Pending> {
    let decision = job.judge(corridor);
    let (metrics, tenant) = (corridor.metrics.policy(), &job.agent.tenant);
    if decision.verdict == Verdict::Deny(Reason::PolicyEngine) {
        metrics.engine_error(tenant);
    }
    let difference = Difference::between(&job.verdict, &decision.verdict);
    metrics.shadow(tenant, difference.map_or("same", Difference::as_str));
    difference?;
    match record(corridor, &job.entry(corridor, &decision)).await {
        Ok(pending) => Some(pending),
        Err(error) => {
            tracing::error!(%error, "what a candidate would have decided could not be recorded");
            None
        }
    }
}

async fn record(corridor: &Corridor, entry: &DecisionEntry) -> Result<Pending, JournalError> {
    let draft = entry.draft().map_err(JournalError::from)?;
    corridor.journal.append_unhurried(draft).await
}
