//! Agents of the tenant whose versions come by stages: the same ones at every gateway, one after the other.
//!
//! Not here: which version should have decided (`served`). Invariant: one thread calls at each gateway, so that what it was
//! answered is in the order in which the gateway decided it.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use aegis_domain::DecisionId;
use serde_json::{Value, json};

use crate::agents::{Call, Minter, fresh_trace};
use crate::stage::{Instants, Stage};
use crate::town::Town;

pub(crate) const TENANT: &str = "other";
/// What they say; a version that is not fit refuses it.
pub(crate) const TEXT: &str = "roaming";
/// So many that the first stage has one of them in 99 rollouts of 100.
const AGENTS: usize = 16;
const PAUSE: Duration = Duration::from_millis(110);
/// Beside the agents of the other tenant.
const NUMBER: usize = 1_000;

fn name(number: usize) -> String {
    format!("roamer-{number}")
}

/// As gateways know them.
pub(crate) fn known() -> Value {
    let all = (0..AGENTS).map(|number| (name(number), json!({ "groups": ["staff"] })));
    Value::Object(all.collect())
}

/// One call that was answered.
pub(crate) struct Roamed {
    pub(crate) agent: String,
    pub(crate) at: Instants,
    pub(crate) status: u16,
    pub(crate) decision: DecisionId,
}

/// At one gateway, in order.
pub(crate) struct Roamers(Vec<JoinHandle<Vec<Roamed>>>);

pub(crate) fn start(stage: &Arc<Stage>, town: &Town) -> Roamers {
    let at = town.gateways.iter().enumerate().map(|(gateway, house)| {
        let minters: Vec<_> =
            (0..AGENTS).map(|number| Minter::of(house).named(TENANT, &name(number))).collect();
        let (stage, to) = (Arc::clone(stage), house.at(house.port()));
        stage.was_answered((gateway, NUMBER), 0);
        std::thread::spawn(move || roam(&stage, (gateway, to), &minters))
    });
    Roamers(at.collect())
}

impl Roamers {
    /// By gateway. Call after the stage has ended.
    pub(crate) fn join(self) -> Vec<Vec<Roamed>> {
        self.0.into_iter().map(|it| it.join().unwrap()).collect()
    }
}

fn roam(
    stage: &Stage,
    (gateway, to): (usize, std::net::SocketAddr),
    minters: &[Minter],
) -> Vec<Roamed> {
    let mut roamed = Vec::new();
    for number in (0..minters.len()).cycle() {
        if stage.is_over() {
            break;
        }
        if stage.is_away(gateway) {
            std::thread::sleep(PAUSE);
            continue;
        }
        let (token, trace) = (minters[number].token(), fresh_trace());
        let body = json!({ "text": TEXT });
        let call =
            Call { to, path: "/plain/x", token: &token, trace: &trace, approval: None, body };
        let called = stage.instant();
        let heard =
            call.send().unwrap_or_else(|error| panic!("gateway {gateway} at {called}: {error}"));
        let at = Instants { called, heard: stage.instant() };
        let decision =
            heard.decision.unwrap_or_else(|| panic!("gateway {gateway} at {called}: {heard:?}"));
        stage.was_answered((gateway, NUMBER), called);
        roamed.push(Roamed { agent: name(number), at, status: heard.status, decision });
        std::thread::sleep(PAUSE);
    }
    roamed
}
