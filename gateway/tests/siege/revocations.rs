//! Agents that enrol, call through every gateway, and are revoked: refused everywhere from then on, and for good.
//!
//! Not here: how a revocation travels (`agents/follow`). Invariant: the clock of a revocation starts when the voter has answered
//! it; an agent that was refused once after that is never let in again.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
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
const EVERY: Duration = Duration::from_millis(1_500);
/// How many are enrolled before they are revoked.
const AHEAD: usize = 6;

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

/// One that every gateway lets in, and the voter that gave it its token: what that takes back reaches past what it gave.
struct Known {
    id: String,
    token: String,
    voter: Client,
}

pub(crate) struct Revocations {
    threads: [JoinHandle<()>; 2],
    revoked: Arc<Mutex<Vec<Revoked>>>,
}

struct Enroller {
    stage: Arc<Stage>,
    street: Street,
    issuer: String,
    gateways: Vec<SocketAddr>,
    known: SyncSender<Box<Known>>,
    turn: usize,
}

struct Revoker {
    stage: Arc<Stage>,
    gateways: Vec<SocketAddr>,
    known: Receiver<Box<Known>>,
    revoked: Arc<Mutex<Vec<Revoked>>>,
}

pub(crate) fn start(stage: &Arc<Stage>, town: &Town) -> Revocations {
    let revoked = Arc::default();
    let gateways: Vec<_> = town.gateways.iter().map(|house| house.at(house.port())).collect();
    // So that there is somebody to revoke also while nobody can enrol.
    let (told, known) = sync_channel(AHEAD);
    let enroller = Enroller {
        stage: Arc::clone(stage),
        street: town.street.clone(),
        issuer: town.voters[0].house.region().url().to_owned(),
        gateways: gateways.clone(),
        known: told,
        turn: 0,
    };
    let revoker =
        Revoker { stage: Arc::clone(stage), gateways, known, revoked: Arc::clone(&revoked) };
    let threads =
        [std::thread::spawn(move || enroller.run()), std::thread::spawn(move || revoker.run())];
    Revocations { threads, revoked }
}

impl Revocations {
    /// Call after the stage has ended.
    pub(crate) fn join(self) -> Vec<Revoked> {
        self.threads.into_iter().for_each(|it| it.join().unwrap());
        std::mem::take(&mut *self.revoked.lock().unwrap())
    }
}

fn status(to: SocketAddr, token: &str) -> Option<u16> {
    let trace = fresh_trace();
    let body = json!({ "text": "revocable" });
    let call = Call { to, path: "/plain/x", token, trace: &trace, approval: None, body };
    call.send().ok().map(|heard| heard.status)
}

impl Enroller {
    fn run(mut self) {
        while !self.stage.is_over() {
            self.turn += 1;
            let (id, voter) = (format!("rover-{}", self.turn), self.street.pick(self.turn).client);
            let token = self.enrolled(&voter, &id).filter(|token| self.is_known(token));
            let mut known = token.map(|token| Box::new(Known { id, token, voter }));
            while let Some(Err(TrySendError::Full(back))) =
                known.take().map(|one| self.known.try_send(one))
            {
                known = Some(back).filter(|_| !self.stage.is_over());
                std::thread::sleep(PAUSE);
            }
        }
    }

    /// A new agent's token. Whatever fails on the way, another agent is tried next.
    fn enrolled(&self, voter: &Client, id: &str) -> Option<String> {
        let wanted = json!({
            "tenant": "acme", "id": id, "org": "acme", "groups": ["staff"], "scopes": ["pay:write"],
        });
        let made = voter.post("/v1/agents", &wanted, &Conditions::default());
        let Fate::Answered(made) = fate(made, |_, _| None) else { return None };
        let code = made.body["enrolment"]["code"].as_str()?.to_owned();
        let mut seed = [7; 32];
        seed[..8].copy_from_slice(&self.turn.to_le_bytes());
        let key = SigningKey::from_seed(seed);
        let proof = enrolment_proof(&key, &self.issuer, &code, now());
        let body = json!({ "code": code, "jwk": key.public_jwk(), "proof": proof });
        voter.post("/v1/enrol", &body, &Conditions::default()).ok()?;
        let (client, jti) = (format!("acme/{id}"), Jti::parse(&fresh_trace()).unwrap());
        let assertion = client_assertion(&key, &client, &self.issuer, &jti, now());
        let form = [
            ("grant_type", "client_credentials"),
            ("client_assertion_type", CLIENT_ASSERTION_TYPE),
            ("client_assertion", assertion.as_str()),
        ];
        let answer = voter.token(&form, None).ok()?;
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
}

impl Revoker {
    fn run(self) {
        while !self.stage.is_over() {
            let Ok(known) = self.known.recv_timeout(EVERY) else { continue };
            self.revoke(*known);
            std::thread::sleep(EVERY);
        }
    }

    fn revoke(&self, Known { id, token, voter }: Known) {
        let wish = json!({ "agent": { "tenant": "acme", "id": id } });
        let told = voter.post("/v1/revocations", &wish, &Conditions::default());
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
