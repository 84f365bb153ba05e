//! The rules of the ledger, one test a rule, and random histories that none of them may break.
//!
//! Not here: voters that agree (`raft-store`). Invariant: time is given, never read.

use std::collections::BTreeSet;

use aegis_audit_chain::note::{SecretKey, Signer};
use aegis_audit_chain::{Hash, Head, Origin, tree};
use aegis_domain::{
    AgentId, DecisionId, ParamsHash, Region, RuleId, TenantId, Timestamp, ToolName, Ttl,
};
use aegis_registry::{Actor, ClientId, Fingerprint, Origin as By};

use crate::*;

mod authored;
mod histories;
mod releases;
mod rollouts;
mod rules;
mod sessions;
mod streams;

pub(crate) fn at(s: u64) -> Timestamp {
    Timestamp::from_unix_s(1_800_000_000 + s)
}

pub(crate) fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

pub(crate) fn command(client: &str, serial: u64, action: Action) -> Command {
    let request = Fingerprint::of(format!("{action:?}").as_bytes());
    let origin = By { client: ClientId::of(client.as_bytes()), serial, request };
    // Who asks does not answer.
    let is_ask = matches!(action, Action::Approval(ApprovalAct::Ask { .. }));
    let by = Actor::parse(if is_ask { "gateway" } else { "tester" }).unwrap();
    Command { origin, by, action }
}

/// A ledger with a client that counts.
#[derive(Clone, Default)]
pub(crate) struct Desk {
    pub(crate) ledger: Ledger,
    pub(crate) serial: u64,
}

impl Desk {
    pub(crate) fn act(&mut self, action: Action, now: Timestamp) -> Answer {
        self.serial += 1;
        self.send(command("test", self.serial, action), now)
    }

    pub(crate) fn send(&mut self, command: Command, now: Timestamp) -> Answer {
        let batch = Batch { at: now, commands: vec![command] };
        self.ledger.apply(&batch).pop().unwrap()
    }
}

/// A ledger of one voter, which is all there is, at the newest level.
pub(crate) fn founded() -> Desk {
    founded_at(FEATURE_LEVEL)
}

pub(crate) fn founded_at(level: u32) -> Desk {
    let mut desk = Desk::default();
    desk.act(Action::Voter(VoterAct::Admit { address: "a:7400".into() }), at(1)).unwrap();
    desk.act(Action::Voter(VoterAct::Reads { id: 1, level }), at(1)).unwrap();
    desk.act(Action::Voter(VoterAct::Raise { level }), at(1)).unwrap();
    desk
}

pub(crate) fn key(number: u64) -> ApprovalKey {
    ApprovalKey { tenant: tenant(), id: DecisionId::new(number, [0; 10]) }
}

pub(crate) fn rules(names: &[&str]) -> BTreeSet<RuleId> {
    names.iter().map(|name| RuleId::parse(name).unwrap()).collect()
}

pub(crate) fn ask(number: u64, expires_at: Timestamp) -> Action {
    let (params, rules) = (ParamsHash::of(b"call"), rules(&["big-payment", "new-payee"]));
    let call = WaitingCall {
        agent: AgentId::parse("pay-bot").unwrap(),
        tool: ToolName::parse("payments").unwrap(),
        routes: ["fin".into()].into(),
    };
    Action::Approval(ApprovalAct::Ask { key: key(number), params, rules, expires_at, call })
}

pub(crate) fn grant(number: u64) -> Action {
    Action::Approval(ApprovalAct::Grant { key: key(number) })
}

pub(crate) fn consume(number: u64, call: &[u8], names: &[&str]) -> Action {
    let (params, rules) = (ParamsHash::of(call), rules(names));
    Action::Approval(ApprovalAct::Consume { key: key(number), params, rules })
}

pub(crate) fn place(seen: u64, home: &str, allowed: &[&str]) -> Action {
    let region = |name: &&str| Region::parse(name).unwrap();
    let residency =
        Residency { home: region(&home), allowed: allowed.iter().map(region).collect() };
    Action::Tenant(TenantAct::Place { tenant: tenant(), seen, residency })
}
