//! Agents that enrol, call through every gateway, and are revoked: refused everywhere from then on, and for good.
//!
//! Not here: how a revocation travels (`agents/follow`). Invariant: the clock of a revocation starts when the voter has answered
//! it; an agent that was refused once after that is never let in again.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use aegis_control_client::{Client, Conditions, client_assertion, enrolment_proof};
use aegis_domain::Jti;
use aegis_identity::{CLIENT_ASSERTION_TYPE, SigningKey};
use serde_json::json;

use crate::Stage;
use crate::agents::{Call, fresh_trace, now};
use crate::doors::Street;
use crate::people::{Fate, fate};
use crate::town::Town;

/// A voter that stands still holds a follower's question for 30 s, and the next is asked within 2 s (`agents/follow`). Where all
/// voters were cut off from each other, it starts anew when they meet again; the longest fault takes 15 s.
pub(crate) const REFUSED_WITHIN: Duration = Duration::from_secs(30 + 2 + 15);
/// How long an agent may take to be known everywhere before another is tried.
const KNOWN_WITHIN: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);

/// One that was revoked.
pub(crate) struct Revoked {
    pub(crate) id: String,
    token: String,
    /// Until the last gateway refused it.
    pub(crate) took: Duration,
}

impl Revoked {
    /// Whether a gateway lets it in.
    pub(crate) fn is_let_in(&self, to: SocketAddr) -> bool {
        status(to, &self.token) == Some(200)
    }
}

pub(crate) struct Revocations {
    thread: JoinHandle<()>,
    revoked: Arc<Mutex<Vec<Revoked>>>,
    is_idle: Arc<AtomicBool>,
}

struct Revoker {
    stage: Arc<Stage>,
    street: Street,
    issuer: String,
    gateways: Vec<SocketAddr>,
    revoked: Arc<Mutex<Vec<Revoked>>>,
    is_idle: Arc<AtomicBool>,
    turn: usize,
}

pub(crate) fn start(stage: &Arc<Stage>, town: &Town) -> Revocations {
    let (revoked, is_idle) = (Arc::default(), Arc::default());
    let revoker = Revoker {
        stage: Arc::clone(stage),
        street: town.street.clone(),
        issuer: town.voters[0].house.region().url().to_owned(),
        gateways: town.gateways.iter().map(|house| house.at(house.port())).collect(),
        revoked: Arc::clone(&revoked),
        is_idle: Arc::clone(&is_idle),
        turn: 0,
    };
    let thread = std::thread::spawn(move || revoker.run());
    Revocations { thread, revoked, is_idle }
}

impl Revocations {
    /// Until no revocation is on its way any more.
    pub(crate) fn wait_until_idle(&self) {
        while !self.is_idle.load(Ordering::SeqCst) && !self.thread.is_finished() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Call after the stage has ended.
    pub(crate) fn join(self) -> Vec<Revoked> {
        self.thread.join().unwrap();
        std::mem::take(&mut *self.revoked.lock().unwrap())
    }
}

fn status(to: SocketAddr, token: &str) -> Option<u16> {
    let trace = fresh_trace();
    let body = json!({ "text": "revocable" });
    let call = Call { to, path: "/plain/x", token, trace: &trace, approval: None, body };
    call.send().ok().map(|heard| heard.status)
}

impl Revoker {
    fn run(mut self) {
        while !self.stage.is_over() {
            self.turn += 1;
            self.is_idle.store(false, Ordering::SeqCst);
            let id = format!("rover-{}", self.turn);
            if let Some(token) = self.enrolled(&id).filter(|token| self.is_known(token)) {
                self.revoke(id, token);
            }
            self.is_idle.store(true, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// One for everything about an agent: what it takes back reaches past what it gave.
    fn voter(&self) -> Client {
        self.street.pick(self.turn).client
    }

    /// A new agent's token. Whatever fails on the way, another agent is tried next.
    fn enrolled(&self, id: &str) -> Option<String> {
        let wanted = json!({
            "tenant": "acme", "id": id, "org": "acme", "groups": ["staff"], "scopes": ["pay:write"],
        });
        let made = self.voter().post("/v1/agents", &wanted, &Conditions::default());
        let Fate::Answered(made) = fate(made, |_, _| None) else { return None };
        let code = made.body["enrolment"]["code"].as_str()?.to_owned();
        let mut seed = [7; 32];
        seed[..8].copy_from_slice(&self.turn.to_le_bytes());
        let key = SigningKey::from_seed(seed);
        let proof = enrolment_proof(&key, &self.issuer, &code, now());
        let body = json!({ "code": code, "jwk": key.public_jwk(), "proof": proof });
        self.voter().post("/v1/enrol", &body, &Conditions::default()).ok()?;
        let (client, jti) = (format!("acme/{id}"), Jti::parse(&fresh_trace()).unwrap());
        let assertion = client_assertion(&key, &client, &self.issuer, &jti, now());
        let form = [
            ("grant_type", "client_credentials"),
            ("client_assertion_type", CLIENT_ASSERTION_TYPE),
            ("client_assertion", assertion.as_str()),
        ];
        let answer = self.voter().token(&form, None).ok()?;
        answer.body["access_token"].as_str().map(str::to_owned)
    }

    /// Whether every gateway lets it in before long.
    fn is_known(&self, token: &str) -> bool {
        let begun = Instant::now();
        self.gateways.iter().all(|gateway| {
            while status(*gateway, token) != Some(200) {
                if begun.elapsed() > KNOWN_WITHIN || self.stage.is_over() {
                    return false;
                }
                std::thread::sleep(PAUSE);
            }
            true
        })
    }

    fn revoke(&self, id: String, token: String) {
        let wish = json!({ "agent": { "tenant": "acme", "id": id } });
        let told = self.voter().post("/v1/revocations", &wish, &Conditions::default());
        let Fate::Answered(_) = fate(told, |_, _| None) else { return };
        let begun = Instant::now();
        for gateway in &self.gateways {
            // A gateway that does not answer lets nobody in.
            while status(*gateway, &token) == Some(200) {
                let took = begun.elapsed();
                assert!(took < REFUSED_WITHIN, "{id} is let in by {gateway} after {took:?}");
                std::thread::sleep(PAUSE);
            }
        }
        let took = begun.elapsed();
        self.revoked.lock().unwrap().push(Revoked { id, token, took });
    }
}
