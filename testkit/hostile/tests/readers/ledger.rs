//! The wire of the region's ledger and of the agents' registry: commands, snapshots, pages.
//!
//! Not here: the rules of a command (`ledger`, `agents/registry`). Invariant: what is read means the same when it is written
//! and read again, and applying it does not panic, whatever it says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use aegis_audit_chain::{Hash, Head, tree};
use aegis_domain::{
    AgentId, BudgetKey, DecisionId, MicroUsd, OrgId, Overrun, ParamsHash, Region, RuleId, TenantId,
    Timestamp, ToolName, Ttl,
};
use aegis_hostile::attack;
use aegis_ledger::{
    Action, ApprovalAct, ApprovalKey, Batch, Choice, Command, Environment, Ledger, LineKey,
    ReleaseAct, Residency, StreamAct, TenantAct, VoterAct, WaitingCall,
};
use aegis_registry::{
    Actor, AgentName, BudgetTerms, ClientId, CodeHash, Defined, DefinitionText, Definitions,
    Fingerprint, Limits, Mode, NewAgent, NewCode, Origin, Part, Registry, Scope, Standing, Target,
    View,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{leaves, stream, stream_key};

fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn at(s: u64) -> Timestamp {
    Timestamp::from_unix_s(1_800_000_000 + s)
}

fn line() -> LineKey {
    LineKey { tenant: tenant(), environment: Environment::parse("prod").unwrap() }
}

fn registry_acts() -> Vec<aegis_registry::Action> {
    use aegis_registry::Action as Act;
    let agent = AgentName { tenant: tenant(), id: AgentId::parse("pay-bot").unwrap() };
    let new = NewAgent {
        tenant: tenant(),
        id: agent.id.clone(),
        org: OrgId::parse("acme-org").unwrap(),
        parent: None,
        scopes: BTreeSet::from([Scope::parse("pay:write").unwrap()]),
        groups: BTreeSet::new(),
        attributes: BTreeMap::new(),
        mode: Mode::Bound,
        limits: Limits::default(),
        key: None,
    };
    let ttl = Ttl::from_s(600);
    let code = NewCode { hash: CodeHash::of("code"), ttl, overlap: Ttl::from_s(0) };
    let terms = BudgetTerms { limit: MicroUsd::new(9), warn_at: None, overrun: Overrun::Refuse };
    let budget = BudgetKey::parse(tenant(), "team:ops/24h").unwrap();
    let part = Part::Tool(ToolName::parse("crm").unwrap());
    let tool = Defined { tenant: tenant(), part };
    let limits = Defined { tenant: tenant(), part: Part::Limits };
    let text = |text: &str| Some(DefinitionText::parse(text).unwrap());
    vec![
        Act::Register { agent: Box::new(new), code: Some(code) },
        Act::SetStanding { agent: agent.clone(), seen: None, standing: Standing::Disabled },
        Act::SetBudget { budget, seen: None, terms: Some(terms) },
        Act::Define { of: tool, seen: Some(0), text: text("upstream: https://a.example\n") },
        Act::Define { of: limits, seen: None, text: text("in_flight: 4\n") },
        Act::Revoke { target: Target::Tenant(tenant()), issued: None },
    ]
}

fn ledger_acts() -> Vec<Action> {
    let key = ApprovalKey { tenant: tenant(), id: DecisionId::new(1, [0; 10]) };
    let rules = BTreeSet::from([RuleId::parse("big-payment").unwrap()]);
    let call = WaitingCall {
        agent: AgentId::parse("pay-bot").unwrap(),
        tool: ToolName::parse("payments").unwrap(),
        routes: ["fin".into()].into(),
    };
    let ask = ApprovalAct::Ask {
        key: key.clone(),
        params: ParamsHash::of(b"call"),
        rules,
        expires_at: at(900),
        call,
    };
    let region = |name: &str| Region::parse(name).unwrap();
    let allowed = [region("eu-west-1"), region("eu-north-1")].into();
    let residency = Residency { home: region("eu-west-1"), allowed };
    let bundle = b"bundle".to_vec();
    let digest = Hash::of(&bundle);
    let source = Hash::of(b"source");
    let log = leaves(7);
    let signer = stream_key();
    let origin: Box<str> = stream().as_str().into();
    let anchor = |size: usize, from: usize| {
        let root = tree::root(&log[..size]);
        let head = Head { origin: stream(), size: size as u64, root };
        let proof = tree::consistency_proof(&log[..size], from).unwrap_or_default();
        StreamAct::Anchor { note: head.note(&signer).into(), origin: origin.clone(), proof }
    };
    let mut acts: Vec<Action> =
        registry_acts().into_iter().map(Box::new).map(Action::Registry).collect();
    acts.extend([
        Action::Approval(ask),
        Action::Approval(ApprovalAct::Grant { key }),
        Action::Tenant(TenantAct::Place { tenant: tenant(), seen: 0, residency }),
        Action::Release(ReleaseAct::Store { digest, content: bundle }),
        Action::Release(ReleaseAct::Publish { line: line(), number: 1, bundle: digest, source }),
        Action::Release(ReleaseAct::Activate {
            line: line(),
            seen: 0,
            choice: Choice { active: 1, shadow: None },
        }),
        Action::Stream(StreamAct::Begin { key: signer.verifier().to_string().into() }),
        Action::Stream(anchor(3, 0)),
        Action::Stream(anchor(7, 3)),
        Action::Voter(VoterAct::Admit { address: "voter-1:7400".into() }),
    ]);
    acts
}

fn origin(serial: u64, action: &impl Debug) -> Origin {
    let request = Fingerprint::of(format!("{action:?}").as_bytes());
    Origin { client: ClientId::of(b"test"), serial, request }
}

fn batch() -> Batch {
    let by = |action: &Action| {
        let asks = matches!(action, Action::Approval(ApprovalAct::Ask { .. }));
        Actor::parse(if asks { "gateway" } else { "tester" }).unwrap()
    };
    let commands = (1..).zip(ledger_acts()).map(|(serial, action)| Command {
        origin: origin(serial, &action),
        by: by(&action),
        action,
    });
    Batch { at: at(0), commands: commands.collect() }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

/// What a text says, if it says the same once it is written anew.
fn read<T: Serialize + DeserializeOwned + PartialEq + Debug>(input: &[u8]) -> Option<T> {
    let value: T = serde_json::from_slice(input).ok()?;
    let written = json(&value);
    let again: T = serde_json::from_slice(&written).unwrap();
    assert_eq!(again, value);
    assert_eq!(json(&again), written);
    Some(value)
}

#[test]
fn commands_of_any_content_are_answered_and_leave_a_ledger_that_is_read_back() {
    let whole = batch();
    let answers = Ledger::default().apply(&whole);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let singles = whole.commands.iter().map(|one| Batch { at: at(0), commands: vec![one.clone()] });
    let mut artefacts: Vec<Vec<u8>> = singles.map(|batch| json(&batch)).collect();
    artefacts.push(json(&whole));
    attack(&artefacts, |input| {
        let Some(batch) = read::<Batch>(input) else { return };
        let mut ledger = Ledger::default();
        let answers = ledger.apply(&batch);
        assert_eq!(answers.len(), batch.commands.len());
        assert_eq!(read::<Ledger>(&json(&ledger)), Some(ledger));
    });
}

#[test]
fn a_ledger_of_any_content_takes_commands() {
    let (whole, mut ledger) = (batch(), Ledger::default());
    let later = |serial| {
        let mut batch = batch();
        batch.at = at(60);
        batch.commands.iter_mut().for_each(|command| command.origin.serial += serial);
        batch
    };
    ledger.apply(&whole);
    attack(&[json(&ledger), json(&Ledger::default())], |input| {
        let Some(mut ledger) = read::<Ledger>(input) else { return };
        let _hash = ledger.hash();
        let _answers = ledger.apply(&later(100));
    });
}

#[test]
fn a_registry_of_any_content_takes_commands() {
    let commands: Vec<aegis_registry::Command> = (1..)
        .zip(registry_acts())
        .map(|(serial, action)| aegis_registry::Command {
            origin: origin(serial, &action),
            by: Actor::parse("tester").unwrap(),
            action,
        })
        .collect();
    let mut registry = Registry::default();
    let events = commands.iter().map(|command| registry.apply(command, at(0)).unwrap());
    let event = events.last().unwrap();
    let mut artefacts: Vec<Vec<u8>> = commands.iter().map(json).collect();
    artefacts.push(json(&registry));
    artefacts.push(json(registry.view()));
    artefacts.push(json(&registry.defined()));
    attack(&artefacts, |input| {
        if let Some(command) = read::<aegis_registry::Command>(input) {
            let mut after = registry.clone();
            let _event = after.apply(&command, at(9));
            assert_eq!(read::<Registry>(&json(&after)), Some(after));
        }
        if let Some(mut found) = read::<Registry>(input) {
            for command in &commands {
                let _event = found.apply(command, at(9));
            }
        }
        if let Some(mut defined) = read::<Definitions>(input) {
            let _applied = defined.apply(&event);
        }
        if let Some(view) = read::<View>(input) {
            let (_revoked, _keys) = (view.taken_back(), view.key_set(at(9)));
        }
    });
}
