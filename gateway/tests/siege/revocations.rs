//! Agents that enrol, call through every gateway, and are revoked: refused everywhere from then on, and for good.
//!
//! Not here: how a revocation travels (`agents/follow`). Invariant: a gateway that knows anything the ledger took after
//! a revocation was answered knows the revocation; whoever was refused once after that is never let in again.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use aegis_control_client::{Client, Conditions, client_assertion, enrolment_proof};
use aegis_domain::Jti;
use aegis_identity::{CLIENT_ASSERTION_TYPE, SigningKey};
use serde_json::json;

use crate::agents::{Call, fresh_trace, now};
use crate::doors::Street;
use crate::people::{Fate, fate};
use crate::stage::Stage;
use crate::town::{PATIENCE, Town};

/// How long an agent may take to be known everywhere before another is tried.
const KNOWN_WITHIN: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);
const EVERY: Duration = Duration::from_millis(1_500);
/// How many are enrolled before they are revoked.
const AHEAD: usize = 2;
/// Of how many that were revoked last it is asked whether they are out, where later news is in.
const LOOKED_BACK: usize = 3;

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
    enroller: JoinHandle<usize>,
    revoker: JoinHandle<()>,
    revoked: Arc<Mutex<Vec<Revoked>>>,
}

/// Those that were revoked, and how often a gateway that knew later news was found to know of one.
pub(crate) struct Out {
    pub(crate) revoked: Vec<Revoked>,
    pub(crate) overtaken: usize,
}

/// The tokens of those whose revocation was answered, in that order.
type Answered = Arc<Mutex<Vec<String>>>;

struct Enroller {
    stage: Arc<Stage>,
    street: Street,
    issuer: String,
    gateways: Vec<SocketAddr>,
    known: SyncSender<Box<Known>>,
    answered: Answered,
    turn: usize,
    overtaken: usize,
}

struct Revoker {
    stage: Arc<Stage>,
    gateways: Vec<SocketAddr>,
    known: Receiver<Box<Known>>,
    answered: Answered,
    revoked: Arc<Mutex<Vec<Revoked>>>,
}

pub(crate) fn start(stage: &Arc<Stage>, town: &Town) -> Revocations {
    let (revoked, answered) = (Arc::default(), Answered::default());
    let gateways: Vec<_> = town.gateways.iter().map(|house| house.at(house.port())).collect();
    // So that there is somebody to revoke also while nobody can enrol.
    let (told, known) = sync_channel(AHEAD);
    let enroller = Enroller {
        stage: Arc::clone(stage),
        street: town.street.clone(),
        issuer: town.voters[0].house.region().url().to_owned(),
        gateways: gateways.clone(),
        known: told,
        answered: Arc::clone(&answered),
        turn: 0,
        overtaken: 0,
    };
    let stage = Arc::clone(stage);
    let revoker = Revoker { stage, gateways, known, answered, revoked: Arc::clone(&revoked) };
    let enroller = std::thread::spawn(move || enroller.run());
    let revoker = std::thread::spawn(move || revoker.run());
    Revocations { enroller, revoker, revoked }
}

impl Revocations {
    /// Call after the stage has ended.
    pub(crate) fn join(self) -> Out {
        let overtaken = self.enroller.join().unwrap();
        self.revoker.join().unwrap();
        Out { revoked: std::mem::take(&mut *self.revoked.lock().unwrap()), overtaken }
    }
}

fn status(to: SocketAddr, token: &str) -> Option<u16> {
    let trace = fresh_trace();
    let body = json!({ "text": "revocable" });
    let call = Call { to, path: "/plain/x", token, trace: &trace, approval: None, body };
    call.send().ok().map(|heard| heard.status)
}

impl Enroller {
    fn run(mut self) -> usize {
        while !self.stage.is_over() {
            self.turn += 1;
            let (id, voter) = (format!("rover-{}", self.turn), self.street.pick(self.turn).client);
            let before: Vec<_> =
                self.answered.lock().unwrap().iter().rev().take(LOOKED_BACK).cloned().collect();
            let token = self.enrolled(&voter, &id).filter(|token| self.is_known(token, &before));
            let mut known = token.map(|token| Box::new(Known { id, token, voter }));
            while let Some(Err(TrySendError::Full(back))) =
                known.take().map(|one| self.known.try_send(one))
            {
                known = Some(back).filter(|_| !self.stage.is_over());
                std::thread::sleep(PAUSE);
            }
        }
        self.overtaken
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

    /// Whether every gateway lets it in before long. One that does has heard what the ledger took before it, and so that these
    /// were revoked.
    fn is_known(&mut self, token: &str, before: &[String]) -> bool {
        let begun = Instant::now();
        for gateway in &self.gateways {
            while status(*gateway, token) != Some(200) {
                if begun.elapsed() > KNOWN_WITHIN || self.stage.is_over() {
                    return false;
                }
                std::thread::sleep(PAUSE);
            }
            for revoked in before {
                let heard = status(*gateway, revoked);
                assert_ne!(heard, Some(200), "{gateway} knows later news, and not who was revoked");
                self.overtaken += 1;
            }
        }
        true
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
        self.answered.lock().unwrap().push(token.clone());
        let begun = Instant::now();
        for gateway in &self.gateways {
            // A gateway that does not answer lets nobody in.
            while status(*gateway, &token) == Some(200) {
                let took = begun.elapsed();
                assert!(took < PATIENCE, "{id} is let in by {gateway} after {took:?}");
                std::thread::sleep(PAUSE);
            }
        }
        let took = begun.elapsed();
        self.revoked.lock().unwrap().push(Revoked { id, token, took });
    }
}
