//! One record decided again: what can be replayed, what changes, and what is counted.
//!
//! Not here: reading records, and finding their inputs (`recorded`). Invariant: every decision is counted exactly once,
//! as replayed or under the reason why not.

use std::collections::{BTreeMap, BTreeSet};

use aegis_audit_chain::record::{DecisionEntry, Entry, Mode, Record};
use aegis_domain::{Degraded, Effect, Reason, Timestamp, ToolName};
use aegis_policy::replay::{Before, Impact, Key, Tally};
use aegis_policy::{PolicyOutcome, Projection};
use serde_json::Value;

use super::recorded::{Closed, Inputs};
use crate::failure::Failure;
use crate::policy::load::Policy;

/// Why a decision is not replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Skipped {
    BeforeSince,
    OtherTenant,
    NotEnforced,
    NotByPolicy,
    NoTool,
    OtherVersion,
    NotKept,
    Erased,
    Mismatched,
    ReadsMore,
}

impl Skipped {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Skipped::BeforeSince => "before_since",
            Skipped::OtherTenant => "other_tenant",
            Skipped::NotEnforced => "not_enforced",
            Skipped::NotByPolicy => "not_by_policy",
            Skipped::NoTool => "no_tool",
            Skipped::OtherVersion => "other_version",
            Skipped::NotKept => "not_kept",
            Skipped::Erased => "erased",
            Skipped::Mismatched => "mismatched",
            Skipped::ReadsMore => "reads_more",
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Skipped::BeforeSince => "decided before --since",
            Skipped::OtherTenant => "of another tenant",
            Skipped::NotEnforced => "not enforced, but shadow or dry run",
            Skipped::NotByPolicy => {
                "refused for another reason than the policy's, or let through without its facts"
            }
            Skipped::NoTool => "for no tool of the policy then in force",
            Skipped::OtherVersion => "decided under another version than the baseline",
            Skipped::NotKept => "recorded by a gateway that kept no inputs",
            Skipped::Erased => "the input was erased or lost",
            Skipped::Mismatched => "the input kept does not match the record",
            Skipped::ReadsMore => "the candidate reads what was not kept",
        }
    }
}

/// What came of some records.
pub(super) struct Counts {
    pub(super) tally: Tally,
    pub(super) decisions: u64,
    pub(super) replayed: u64,
    pub(super) skipped: BTreeMap<Skipped, u64>,
    /// Denied by the candidate because its program failed.
    pub(super) engine_errors: u64,
    /// The record says otherwise than the baseline.
    pub(super) baseline_differs: u64,
}

impl Counts {
    pub(super) fn merge(&mut self, other: Counts) {
        self.tally.merge(other.tally);
        self.decisions = self.decisions.saturating_add(other.decisions);
        self.replayed = self.replayed.saturating_add(other.replayed);
        for (why, count) in other.skipped {
            let sum = self.skipped.entry(why).or_default();
            *sum = sum.saturating_add(count);
        }
        self.engine_errors = self.engine_errors.saturating_add(other.engine_errors);
        self.baseline_differs = self.baseline_differs.saturating_add(other.baseline_differs);
    }
}

/// Decides records again.
pub(super) struct Judge<'p> {
    candidate: &'p Policy,
    baseline: Option<&'p Policy>,
    inputs: &'p Inputs,
    /// Tools of which the candidate reads what the baseline's records do not hold.
    reads_more: BTreeSet<ToolName>,
    since: Timestamp,
    examples_max: usize,
}

impl<'p> Judge<'p> {
    pub(super) fn new(
        candidate: &'p Policy,
        baseline: Option<&'p Policy>,
        inputs: &'p Inputs,
    ) -> Self {
        let reads_more = baseline.map(|baseline| reads_more(baseline, candidate));
        Self {
            candidate,
            baseline,
            inputs,
            reads_more: reads_more.unwrap_or_default(),
            since: Timestamp::from_unix_ns(0),
            examples_max: 0,
        }
    }

    pub(super) fn since(self, since: Option<Timestamp>) -> Self {
        Self { since: since.unwrap_or(self.since), ..self }
    }

    pub(super) fn with_examples(self, examples_max: usize) -> Self {
        Self { examples_max, ..self }
    }

    pub(super) fn nothing(&self) -> Counts {
        Counts {
            tally: Tally::new(self.examples_max),
            decisions: 0,
            replayed: 0,
            skipped: BTreeMap::new(),
            engine_errors: 0,
            baseline_differs: 0,
        }
    }

    /// Counts one record; other records than decisions do not count.
    pub(super) fn add(&self, record: &[u8], counts: &mut Counts) -> Result<(), Failure> {
        let parsed = Record::parse(record).map_err(|error| Failure::invalid("a record", error))?;
        let Entry::Decision(entry) = &parsed.entry else { return Ok(()) };
        counts.decisions = counts.decisions.saturating_add(1);
        let at = Timestamp::from_unix_ns(parsed.head.ts);
        let input = match self.replayable(at, entry) {
            Ok(tool) => {
                self.inputs.of(entry, at)?.map(|input| (tool, input)).map_err(|closed| match closed
                {
                    Closed::NotKept => Skipped::NotKept,
                    Closed::Erased => Skipped::Erased,
                    Closed::Mismatched => Skipped::Mismatched,
                })
            }
            Err(why) => Err(why),
        };
        match input {
            Ok((tool, input)) => self.replay(entry, tool, &input, counts),
            Err(why) => {
                let count = counts.skipped.entry(why).or_default();
                *count = count.saturating_add(1);
            }
        }
        Ok(())
    }

    /// The tool, if the policy decided this call and can decide it again.
    fn replayable<'e>(
        &self,
        at: Timestamp,
        entry: &'e DecisionEntry,
    ) -> Result<&'e ToolName, Skipped> {
        if at < self.since {
            return Err(Skipped::BeforeSince);
        }
        if entry.tenant.as_ref() != Some(self.candidate.snapshot.tenant()) {
            let known = entry.tenant.is_some();
            return Err(if known { Skipped::OtherTenant } else { Skipped::NotByPolicy });
        }
        if entry.mode != Mode::Enforce {
            return Err(Skipped::NotEnforced);
        }
        let Some(policy) = entry.policy.as_ref().filter(|_| is_by_policy(entry)) else {
            return Err(Skipped::NotByPolicy);
        };
        let tool = entry.tool.as_ref().ok_or(Skipped::NoTool)?;
        if self.baseline.is_some_and(|baseline| !is_version(&policy.revision, baseline)) {
            return Err(Skipped::OtherVersion);
        }
        if self.reads_more.contains(tool) { Err(Skipped::ReadsMore) } else { Ok(tool) }
    }

    fn replay(&self, entry: &DecisionEntry, tool: &ToolName, input: &Value, counts: &mut Counts) {
        counts.replayed = counts.replayed.saturating_add(1);
        let then = self.candidate.snapshot.evaluate_projected(tool, input);
        counts.engine_errors = counts.engine_errors.saturating_add(u64::from(then.is_err()));
        let then = then.ok();
        let now = self.baseline.map(|it| it.snapshot.evaluate_projected(tool, input).ok());
        let differs = now.as_ref().is_some_and(|now| effect(now.as_ref()) != entry.decision);
        counts.baseline_differs = counts.baseline_differs.saturating_add(u64::from(differs));
        let before = match &now {
            Some(now) => Before {
                effect: effect(now.as_ref()),
                obligations: now.as_ref().map(|outcome| outcome.obligations.as_slice()),
            },
            None => Before { effect: entry.decision, obligations: None },
        };
        let obligations = then.as_ref().map(|outcome| outcome.obligations.as_slice());
        let impact =
            Impact::between(before, effect(then.as_ref()), obligations.unwrap_or_default());
        if let Some(impact) = impact {
            let key = Key { impact, agent: entry.agent.clone(), tool: tool.clone() };
            counts.tally.add(key, entry.id);
        }
    }
}

/// An engine error is a denial.
fn effect(outcome: Option<&PolicyOutcome>) -> Effect {
    outcome.map_or(Effect::Deny, |outcome| outcome.effect)
}

/// Whether the policy's own word stands in the record: no limit, identity or outage spoke before or after it.
fn is_by_policy(entry: &DecisionEntry) -> bool {
    let reasons = [
        Reason::Allowed,
        Reason::Sanitized,
        Reason::ApprovalNeeded,
        Reason::PolicyDenied,
        Reason::DefaultDeny,
    ];
    reasons.contains(&entry.reason) && entry.degraded == Degraded::No
}

/// A revision is `<tenant>/<env>@<version>+<source digest>.<compiler>`.
fn is_version(revision: &str, policy: &Policy) -> bool {
    let source = |revision: &str| revision.split_once('+').map(|(_, source)| source.to_owned());
    source(revision) == source(&policy.snapshot.policy_ref().revision)
}

fn reads_more(baseline: &Policy, candidate: &Policy) -> BTreeSet<ToolName> {
    let lacks = |tool: &&ToolName| {
        let (kept, wanted) =
            (baseline.snapshot.projection(tool), candidate.snapshot.projection(tool));
        let lacking = |kept: &Projection, wanted| kept.lacks(wanted).next().is_some();
        kept.zip(wanted).is_some_and(|(kept, wanted)| lacking(kept, wanted))
    };
    candidate.snapshot.tools().map(|tool| &tool.name).filter(lacks).cloned().collect()
}
