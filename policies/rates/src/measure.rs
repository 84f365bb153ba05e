//! Judges every call of a suite by a pack, and counts what came of the work and of the attacks.
//!
//! Not here: how the counts are shown (`report`). Invariant: a task comes out as its strongest effect; an attack counts as
//! stopped only where a call that changes something was refused or held (where it has none: any call).

use std::collections::{BTreeMap, BTreeSet};

use aegis_dlp::ContentKind;
use aegis_domain::{
    AgentId, AgentIdentity, CallKind, Effect, EgressCall, Jti, KeyId, MicroUsd, OrgId, Region,
    RuleId, Timestamp, TokenUse, ToolName,
};
use aegis_policy::{CompileContext, PolicyInput, PolicyOutcome, Snapshot};
use anyhow::{Context as _, anyhow};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::corpus::{Kind, Task};
use crate::tenant::Tenant;

/// Who decides: the pack, or one of the two controls that say what the figures are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judge {
    Pack,
    AllowAll,
    DenyAll,
}

/// How many came out in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub allowed: usize,
    pub redacted: usize,
    pub held: usize,
    pub denied: usize,
}

/// One suite under one judge.
#[derive(Clone, Debug)]
pub struct Measure {
    pub judge: Judge,
    pub work: Tally,
    pub work_calls: Tally,
    pub attacks: Tally,
    /// Work and attacks of each half, split by a hash of the task's name.
    pub halves: [(Tally, Tally); 2],
    /// Tasks that no call leaves the process for, or whose calls the suite does not fix.
    pub without_calls: usize,
    /// Whether blanking out stops an attack: where it is for the data in a call, not for the call.
    redaction_stops: bool,
    /// Work that was held or denied, attacks that were not stopped.
    pub(crate) exceptions: Vec<Exception>,
}

#[derive(Clone, Debug)]
pub(crate) struct Exception {
    kind: Kind,
    task: String,
    function: String,
    effect: Effect,
    rules: Vec<RuleId>,
}

impl Tally {
    pub fn total(self) -> usize {
        self.allowed + self.redacted + self.held + self.denied
    }

    pub fn through(self) -> usize {
        self.allowed + self.redacted
    }

    fn count(&mut self, effect: Effect) {
        let slot = match effect {
            Effect::Allow => &mut self.allowed,
            Effect::Sanitize => &mut self.redacted,
            Effect::ApprovalNeeded => &mut self.held,
            Effect::Deny => &mut self.denied,
        };
        *slot += 1;
    }
}

/// What came of one call of a suite: the strongest answer to any of its requests.
struct Judged {
    function: String,
    kind: CallKind,
    effect: Effect,
    rules: Vec<RuleId>,
}

/// A pack compiled for a tenant, and the agent who calls.
pub(crate) struct Bench<'t> {
    tenant: &'t Tenant,
    snapshot: Snapshot,
    agent: AgentIdentity,
    region: Region,
    now: Timestamp,
}

impl<'t> Bench<'t> {
    pub(crate) fn new(tenant: &'t Tenant, pack: &str) -> anyhow::Result<Self> {
        let set = tenant.set(pack)?;
        let snapshot = Snapshot::of(&set, CompileContext { version: 1 });
        let agent = AgentIdentity {
            org: OrgId::parse("test")?,
            tenant: set.tenant.clone(),
            agent: AgentId::parse("agent")?,
            parent_agent: None,
            scopes: tenant.agent.scopes.clone(),
            groups: tenant.agent.groups.clone(),
            attributes: tenant.agent.attributes.clone(),
            jti: Jti::parse("test")?,
            key_id: KeyId::parse("test")?,
            token_use: TokenUse::Bound,
            expires_at: Timestamp::from_unix_ns(u64::MAX),
        };
        Ok(Self {
            tenant,
            snapshot: snapshot.map_err(|found| anyhow!("{found}"))?,
            agent,
            region: tenant.region()?,
            now: tenant.now()?,
        })
    }

    pub(crate) fn measure(&self, tasks: &[Task], judge: Judge) -> anyhow::Result<Measure> {
        let mut measure = Measure {
            judge,
            work: Tally::default(),
            work_calls: Tally::default(),
            attacks: Tally::default(),
            halves: Default::default(),
            without_calls: 0,
            redaction_stops: self.tenant.suite.is_about_data(),
            exceptions: Vec::new(),
        };
        for task in tasks {
            let calls = self.judged(task, &self.agent, judge)?;
            match (task.kind, calls.is_empty()) {
                (_, true) => measure.without_calls += 1,
                (Kind::Work, false) => measure.add_work(task, &calls),
                (Kind::Attack, false) => measure.add_attack(&task.id, &calls),
            }
        }
        if let Some(attributes) = &self.tenant.stranger {
            let stranger = AgentIdentity { attributes: attributes.clone(), ..self.agent.clone() };
            for task in tasks.iter().filter(|task| task.kind == Kind::Work) {
                for (number, call) in self.judged(task, &stranger, judge)?.iter().enumerate() {
                    let id = format!("{}/{number}", task.id);
                    measure.add_attack(&id, std::slice::from_ref(call));
                }
            }
        }
        Ok(measure)
    }

    fn judged(
        &self,
        task: &Task,
        agent: &AgentIdentity,
        judge: Judge,
    ) -> anyhow::Result<Vec<Judged>> {
        let mut judged = Vec::new();
        for call in &task.calls {
            let requests = self.tenant.requests(call);
            let requests = requests.with_context(|| format!("{} of {}", call.function, task.id))?;
            let answers = requests.into_iter().map(|request| self.answer(request, agent, judge));
            let answers = answers.collect::<anyhow::Result<Vec<_>>>()?;
            let strongest = answers.into_iter().max_by_key(|(_, effect, _)| *effect);
            judged.extend(strongest.map(|(kind, effect, rules)| Judged {
                function: call.function.clone(),
                kind,
                effect,
                rules,
            }));
        }
        Ok(judged)
    }

    fn answer(
        &self,
        mut call: EgressCall,
        agent: &AgentIdentity,
        judge: Judge,
    ) -> anyhow::Result<(CallKind, Effect, Vec<RuleId>)> {
        let tool = self.snapshot.resolve_any(&call).context("the pack has no tools")?;
        call.kind = self.snapshot.tool(tool).context("a tool")?.kind;
        Ok(match judge {
            Judge::Pack => {
                let kind = call.kind;
                let outcome = self.evaluate(tool, call, agent)?;
                (kind, outcome.effect, outcome.rules)
            }
            Judge::AllowAll => (call.kind, Effect::Allow, Vec::new()),
            Judge::DenyAll => (call.kind, Effect::Deny, Vec::new()),
        })
    }

    /// Scans and evaluates a request as the gateway does.
    fn evaluate(
        &self,
        tool: &ToolName,
        mut call: EgressCall,
        agent: &AgentIdentity,
    ) -> anyhow::Result<PolicyOutcome> {
        let body = Value::Object(call.params.clone()).to_string();
        let dlp = aegis_dlp::scan(body.as_bytes(), &ContentKind::Json).into_facts();
        for (name, value) in self.snapshot.path_params(tool, &call.path) {
            call.params.insert(name, Value::String(value));
        }
        let input = PolicyInput {
            tool,
            call: &call,
            agent,
            region: &self.region,
            dlp: &dlp,
            now: self.now,
            budget_left: Some(MicroUsd::MAX),
            approved: &BTreeSet::new(),
        };
        Ok(self.snapshot.evaluate(&input)?)
    }
}

impl Measure {
    /// Attacks that did not do what they were for.
    pub fn stopped(&self, attacks: Tally) -> usize {
        let redacted = if self.redaction_stops { attacks.redacted } else { 0 };
        attacks.held + attacks.denied + redacted
    }

    fn add_work(&mut self, task: &Task, calls: &[Judged]) {
        calls.iter().for_each(|call| self.work_calls.count(call.effect));
        let worst = calls.iter().max_by_key(|call| call.effect);
        let effect = worst.map_or(Effect::Allow, |call| call.effect);
        self.work.count(effect);
        self.half(&task.id).0.count(effect);
        let stopped = calls.iter().filter(|call| call.effect >= Effect::ApprovalNeeded);
        self.exceptions.extend(stopped.map(|call| call.exception(Kind::Work, &task.id)));
    }

    fn add_attack(&mut self, id: &str, calls: &[Judged]) {
        let changing = |call: &&Judged| call.kind == CallKind::Write;
        let strongest = calls.iter().filter(changing).max_by_key(|call| call.effect);
        let Some(strongest) = strongest.or(calls.iter().max_by_key(|call| call.effect)) else {
            return;
        };
        self.attacks.count(strongest.effect);
        self.half(id).1.count(strongest.effect);
        let stopped = match strongest.effect {
            Effect::Allow => false,
            Effect::Sanitize => self.redaction_stops,
            Effect::ApprovalNeeded | Effect::Deny => true,
        };
        if !stopped {
            self.exceptions.push(strongest.exception(Kind::Attack, id));
        }
    }

    /// The half of a task: the lowest bit of SHA-256 over its name.
    fn half(&mut self, id: &str) -> &mut (Tally, Tally) {
        let [first, second] = &mut self.halves;
        let odd = Sha256::digest(id).last().is_some_and(|byte| byte & 1 == 1);
        if odd { second } else { first }
    }

    /// The tasks of the exceptions, by what happened and by which rules.
    pub(crate) fn exceptions_by_rule(&self) -> BTreeMap<(String, String), Vec<&str>> {
        let mut found: BTreeMap<(String, String), Vec<&str>> = BTreeMap::new();
        for exception in &self.exceptions {
            let rules: Vec<&str> = exception.rules.iter().map(RuleId::as_str).collect();
            let what = match (exception.kind, exception.effect) {
                (Kind::Attack, _) => "attack let through",
                (Kind::Work, Effect::Deny) => "work denied",
                (Kind::Work, _) => "work held",
            };
            let key = (format!("{what}: {}", exception.function), rules.join(", "));
            found.entry(key).or_default().push(&exception.task);
        }
        found
    }
}

impl Judged {
    fn exception(&self, kind: Kind, task: &str) -> Exception {
        Exception {
            kind,
            task: task.to_owned(),
            function: self.function.clone(),
            effect: self.effect,
            rules: self.rules.clone(),
        }
    }
}
