//! An audit log with what the policy saw of each call, as the gateway keeps it.

use aegis_audit_chain::disclosure::{Disclosure, INPUT};
use aegis_audit_chain::record::DecisionEntry;
use aegis_audit_disclosures::Disclosures;
use aegis_document::Document;
use aegis_domain::{AgentId, DecisionId, Effect, Reason, Region, Timestamp};
use aegis_policy::cases::Scene;
use aegis_policy::{CompileContext, Snapshot};
use aegis_policy_language::{Example, PolicySet};

use crate::ledger::{Ledger, now};
use crate::support::Home;

pub(crate) struct Recorder {
    ledger: Ledger,
    disclosures: Disclosures,
    set: PolicySet,
    snapshot: Snapshot,
    made: u64,
}

/// What happens to the input of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    Kept,
    /// As by a gateway of before.
    NeverKept,
    /// The record's digest is kept, what opens it is not.
    Erased,
    /// Another value than the record was written for.
    Forged,
}

impl Recorder {
    pub(crate) fn open(home: &Home, policy: &str) -> Self {
        let set = PolicySet::parse(&[Document::parse("acme.yaml", policy).unwrap()]).unwrap();
        let snapshot = Snapshot::of(&set, CompileContext { version: 7 }).unwrap();
        let disclosures = Disclosures::new(home.path("disclosures"));
        Self { ledger: Ledger::open(home), disclosures, set, snapshot, made: 0 }
    }

    /// One call for each of the policy's tests, by the agent `tester`.
    pub(crate) fn tests(&mut self) {
        for example in self.set.examples.clone() {
            self.call("tester", &example, Input::Kept);
        }
    }

    /// The call of one test by its number.
    pub(crate) fn test(&mut self, agent: &str, number: usize, input: Input) -> DecisionId {
        let example = self.set.examples[number - 1].clone();
        self.call(agent, &example, input)
    }

    fn call(&mut self, agent: &str, example: &Example, input: Input) -> DecisionId {
        self.made += 1;
        let now = now();
        let id = DecisionId::new(now.unix_ms(), random(self.made));
        let scene = Scene::of(&self.set, example).unwrap();
        let outcome = self.snapshot.evaluate(&scene.input()).unwrap();
        let reason = match outcome.effect {
            Effect::Allow => Reason::Allowed,
            Effect::Sanitize => Reason::Sanitized,
            Effect::ApprovalNeeded => Reason::ApprovalNeeded,
            Effect::Deny => Reason::PolicyDenied,
        };
        let region = Region::parse("local").unwrap();
        let mut entry = DecisionEntry {
            tenant: Some(self.set.tenant.clone()),
            agent: Some(AgentId::parse(agent).unwrap()),
            tool: Some(example.tool.clone()),
            policy: Some(self.snapshot.policy_ref().clone()),
            rules: outcome.rules.clone(),
            ..DecisionEntry::new(id, region, outcome.effect, reason)
        };
        self.disclose(&mut entry, &scene, now, input);
        self.ledger.append(entry.draft().unwrap());
        id
    }

    fn disclose(&self, entry: &mut DecisionEntry, scene: &Scene, now: Timestamp, input: Input) {
        let salt = [entry.id.as_str().as_bytes()[25]; 16];
        let mut seen = self.snapshot.projected_input(&scene.input());
        let mut told = vec![Disclosure::new(salt, "jti", &"j".into())];
        if input != Input::NeverKept {
            let disclosure = Disclosure::new(salt, INPUT, &seen);
            entry.sd.push(disclosure.digest());
            told.push(disclosure);
        }
        if input == Input::Forged {
            seen["params"]["amount"] = 1.into();
            told.pop();
            told.push(Disclosure::new(salt, INPUT, &seen));
        }
        if input != Input::Erased {
            let tenant = entry.tenant.clone().unwrap();
            self.disclosures.keep(&tenant, now, entry.id, &told).unwrap();
        }
    }

    /// A record of another kind of decision.
    pub(crate) fn append(&mut self, entry: DecisionEntry) {
        self.ledger.append(entry.draft().unwrap());
    }

    pub(crate) fn close(self) {
        self.ledger.close();
    }
}

/// Ten bytes that differ from call to call and sort as the calls do.
fn random(made: u64) -> [u8; 10] {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&made.to_be_bytes());
    random
}
