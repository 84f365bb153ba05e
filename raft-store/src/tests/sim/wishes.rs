//! What the clients of a simulation wish for.
//!
//! Not here: when, and of whom (`clients`). Invariant: no two wishes are in one name, so that each can be found in the log.

use std::collections::BTreeSet;
use std::time::Duration;

use aegis_audit_chain::Hash;
use aegis_domain::{DecisionId, ParamsHash, Region, RuleId, TenantId, Timestamp, ToolName, Ttl};
use aegis_ledger::{
    Action, ApprovalAct, ApprovalKey, Choice, Environment, LineKey, ReleaseAct, Residency,
    TenantAct, VoterAct,
};
use aegis_registry::{Actor, Defined, DefinitionText, Part, Target};

use crate::Wish;

/// What the addresses of voters that clients wish for begin with.
pub(crate) const WISHED: &str = "wished-";
/// Every line has these.
pub(crate) const VERSIONS: u32 = 4;
const BUNDLE: &[u8] = b"a bundle";

pub(crate) fn wish(by: &str, action: Action) -> Wish {
    Wish { by: Actor::parse(by).unwrap(), action, once: None }
}

pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

pub(crate) fn line(number: u64) -> LineKey {
    let tenant = tenant(&format!("line-{number}"));
    LineKey { tenant, environment: Environment::parse("prod").unwrap() }
}

pub(crate) fn grant_key(number: u64) -> ApprovalKey {
    ApprovalKey { tenant: tenant("grants"), id: DecisionId::new(number, [0; 10]) }
}

pub(crate) fn store() -> Action {
    let (digest, content) = (Hash::of(BUNDLE), BUNDLE.to_vec());
    Action::Release(ReleaseAct::Store { digest, content })
}

pub(crate) fn publish(line_number: u64, number: u32) -> Action {
    let (bundle, source) = (Hash::of(BUNDLE), Hash::of(BUNDLE));
    Action::Release(ReleaseAct::Publish { line: line(line_number), number, bundle, source })
}

/// Gives out an id each time it is applied, to a voter that never comes.
pub(crate) fn admit(name: &str) -> Action {
    Action::Voter(VoterAct::Admit { address: format!("{WISHED}{name}").into() })
}

pub(crate) fn swing(number: u64, seen: u64, active: u32) -> Action {
    let choice = Choice { active, shadow: None };
    Action::Release(ReleaseAct::Activate { line: line(number), seen, choice })
}

pub(crate) fn overtake(number: u64, seen: u64, past: u64) -> Action {
    Action::Release(ReleaseAct::Overtake { line: line(number), seen: Some(seen), past })
}

fn rules() -> BTreeSet<RuleId> {
    BTreeSet::from([RuleId::parse("big-payment").unwrap()])
}

/// Far enough ahead that no clock of the simulation gets there.
pub(crate) fn give(number: u64, now: Timestamp) -> Action {
    let (key, params) = (grant_key(number), ParamsHash::of(b"call"));
    let expires_at = now.plus(Ttl::from_s(Duration::from_secs(3 * 24 * 60 * 60).as_secs()));
    Action::Approval(ApprovalAct::Override { key, params, rules: rules(), expires_at })
}

pub(crate) fn consume(number: u64) -> Action {
    let (key, params) = (grant_key(number), ParamsHash::of(b"call"));
    Action::Approval(ApprovalAct::Consume { key, params, rules: rules() })
}

pub(crate) fn place(name: &str) -> Action {
    let home = Region::parse("eu-west-1").unwrap();
    let residency = Residency { allowed: BTreeSet::from([home.clone()]), home };
    Action::Tenant(TenantAct::Place { tenant: tenant(name), seen: 0, residency })
}

/// A tool that nobody defined before: its text is what a snapshot has to carry.
pub(crate) fn define(name: &str) -> Action {
    let part = Part::Tool(ToolName::parse("pay").unwrap());
    let text = DefinitionText::parse(&format!("upstream: https://{name}.example\n")).unwrap();
    let of = Defined { tenant: tenant(name), part };
    let define = aegis_registry::Action::Define { of, seen: Some(0), text: Some(text) };
    Action::Registry(Box::new(define))
}

/// An event of the registry each time.
pub(crate) fn revoke(name: &str) -> Action {
    let target = Target::Tenant(tenant(name));
    Action::Registry(Box::new(aegis_registry::Action::Revoke { target, issued: None }))
}
