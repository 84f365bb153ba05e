//! Overrides that people grant and that agents show at several gateways at once.
//!
//! Not here: whether one was used twice (`judgement`). Invariant: a use that was let through has a trace that names its override;
//! a refusal says nothing, since a gateway refuses too that has not heard of a grant, or not that it got it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use aegis_control_client::Conditions;
use aegis_linear::{Grant, GrantCall, GrantReply, Of, Operation};
use serde_json::json;

use crate::agents::{Call, Minter, fresh_trace};
use crate::doors::Street;
use crate::people::{Fate, fate};
use crate::stage::Stage;
use crate::town::Town;

const AMOUNT: u64 = 501;
const PAUSE: Duration = Duration::from_millis(700);
/// How often an override is shown everywhere until it is used.
const ROUNDS: usize = 4;

#[derive(Default)]
pub(crate) struct Overrides {
    /// By the names of overrides.
    pub(crate) history: Vec<(String, Of<Grant>)>,
    /// Which override each call showed, by its trace.
    pub(crate) shown: BTreeMap<String, String>,
}

pub(crate) struct Granters {
    pub(crate) seen: Arc<Mutex<Overrides>>,
    stage: Arc<Stage>,
    thread: JoinHandle<()>,
}

struct Granter {
    stage: Arc<Stage>,
    street: Street,
    gateways: Vec<SocketAddr>,
    minter: Minter,
    seen: Arc<Mutex<Overrides>>,
    turn: usize,
    params_hash: Option<String>,
}

pub(crate) fn start(stage: &Arc<Stage>, town: &Town) -> Granters {
    let seen = Arc::new(Mutex::new(Overrides::default()));
    let granter = Granter {
        stage: Arc::clone(stage),
        street: town.street.clone(),
        gateways: town.gateways.iter().map(|house| house.at(house.port())).collect(),
        minter: Minter::of(&town.voters[0].house),
        seen: Arc::clone(&seen),
        turn: 0,
        params_hash: None,
    };
    let thread = std::thread::spawn(move || granter.run());
    Granters { seen, stage: Arc::clone(stage), thread }
}

impl Granters {
    /// Call after the stage has ended: looks at last how every override stands.
    pub(crate) fn join(self, town: &Town) -> Overrides {
        self.thread.join().unwrap();
        let mut seen = std::mem::take(&mut *self.seen.lock().unwrap());
        let ids: Vec<_> = seen.history.iter().map(|(id, _)| id.clone()).collect();
        let client = town.voters[0].client();
        for id in std::collections::BTreeSet::from_iter(ids) {
            let called_at = self.stage.instant();
            let shown = client.get(&format!("/v1/approvals/acme/{id}")).unwrap();
            let reply = match shown.body["standing"].as_str() {
                Some("consumed") => GrantReply::Used,
                Some("granted") => GrantReply::Present,
                other => panic!("{id} is {other:?}"),
            };
            let reply = Some((reply, self.stage.instant()));
            seen.history.push((id, Operation { call: GrantCall::Look, called_at, reply }));
        }
        seen
    }
}

impl Granter {
    fn run(mut self) {
        while !self.stage.is_over() {
            self.turn += 1;
            if self.params_hash.is_none() {
                self.params_hash = self.ask();
            }
            if let Some(id) = self.grant() {
                let mut is_used = false;
                for _ in 0..ROUNDS {
                    is_used = is_used || self.show(&id);
                }
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// A call that waits for a person; how its parameters are called from then on.
    fn ask(&self) -> Option<String> {
        let (token, trace) = (self.minter.token(), fresh_trace());
        let to = self.street.pick(self.turn).agents;
        let body = json!({ "amount": AMOUNT });
        let path = "/pay/v1/out";
        let heard =
            Call { to, path, token: &token, trace: &trace, approval: None, body }.send().ok()?;
        heard.body["approval"]["params_hash"].as_str().map(str::to_owned)
    }

    fn grant(&self) -> Option<String> {
        let wish = json!({
            "tenant": "acme", "params_hash": self.params_hash.as_ref()?, "rules": ["high-value"],
            "ttl_s": 3 * 60 * 60,
        });
        let called_at = self.stage.instant();
        let voter = self.street.pick(self.turn * 5).client;
        let answer = voter.post("/v1/overrides", &wish, &Conditions::default());
        // One whose name is not known is shown by nobody.
        let Fate::Answered(answer) = fate(answer, |_, _| None) else { return None };
        let id = answer.body["id"].as_str()?.to_owned();
        let reply = Some((GrantReply::Done, self.stage.instant()));
        let given = Operation { call: GrantCall::Give, called_at, reply };
        self.seen.lock().unwrap().history.push((id.clone(), given));
        Some(id)
    }

    /// At two voters and two gateways at once. Whether one let it through.
    fn show(&self, id: &str) -> bool {
        let voter = |nth: usize| self.street.pick(self.turn + nth).agents;
        let gateway = |nth: usize| self.gateways[(self.turn + nth) % self.gateways.len()];
        let doors = [voter(0), voter(1), gateway(0), gateway(1)];
        std::thread::scope(|scope| {
            let uses = doors.map(|to| scope.spawn(move || self.use_at(to, id)));
            uses.map(|used| used.join().unwrap()).contains(&true)
        })
    }

    fn use_at(&self, to: SocketAddr, id: &str) -> bool {
        let (token, trace) = (self.minter.token(), fresh_trace());
        self.seen.lock().unwrap().shown.insert(trace.clone(), id.to_owned());
        let (path, body) = ("/pay/v1/out", json!({ "amount": AMOUNT }));
        let call = Call { to, path, token: &token, trace: &trace, approval: Some(id), body };
        let called_at = self.stage.instant();
        let reply = match call.send() {
            Ok(heard) if heard.status == 200 => Some((GrantReply::Done, self.stage.instant())),
            Ok(_) | Err(_) => None,
        };
        let is_used = reply.is_some();
        let used = Operation { call: GrantCall::Use, called_at, reply };
        self.seen.lock().unwrap().history.push((id.to_owned(), used));
        is_used
    }
}
