//! Clients of real voters, what they saw, and whether a ledger could have answered so.
//!
//! Not here: what happens to the voters meanwhile (`main`). Invariant: a call whose answer did not come is unknown; instants are
//! nanoseconds of this process's monotonic clock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use aegis_audit_chain::Hash;
use aegis_domain::{DecisionId, ParamsHash, Region, RuleId, TenantId, Timestamp, Ttl};
use aegis_ledger::{
    Action, Answer, ApprovalAct, ApprovalKey, ApprovalRefusal, ApprovalState, Choice, Environment,
    Ledger, LineKey, Outcome, Refusal, ReleaseAct, ReleaseRefusal, Residency, TenantAct,
};
use aegis_linear::{
    Grant, GrantCall, GrantReply, Of, Operation, Pointer, PointerCall, PointerReply, check_by,
};
use aegis_voters::{Said, Told};

use crate::cluster::{Cluster, Talk};

const LINES: u64 = 3;
const VERSIONS: u32 = 3;
const CONFIGURATIONS_MAX: usize = 5_000_000;
const BUNDLE: &[u8] = b"a bundle";

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

pub(crate) fn line(number: u64) -> LineKey {
    let tenant = tenant(&format!("line-{number}"));
    LineKey { tenant, environment: Environment::parse("prod").unwrap() }
}

fn grant(number: u64) -> ApprovalKey {
    ApprovalKey { tenant: tenant("grants"), id: DecisionId::new(number, [0; 10]) }
}

pub(crate) fn swing(number: u64, seen: u64, active: u32) -> Action {
    let choice = Choice { active, shadow: None };
    Action::Release(ReleaseAct::Activate { line: line(number), seen, choice })
}

pub(crate) fn place_of(tenant: &TenantId) -> Action {
    let home = Region::parse("eu-west-1").unwrap();
    let residency = Residency { allowed: BTreeSet::from([home.clone()]), home };
    Action::Tenant(TenantAct::Place { tenant: tenant.clone(), seen: 0, residency })
}

/// What must be there before pointers can be swung.
pub(crate) fn prepare(lines: u64) -> impl Iterator<Item = Action> {
    let (digest, content) = (Hash::of(BUNDLE), BUNDLE.to_vec());
    let store = Action::Release(ReleaseAct::Store { digest, content });
    let publish = (0..lines).flat_map(move |of| {
        let (bundle, source) = (digest, digest);
        (1..=VERSIONS).map(move |number| {
            Action::Release(ReleaseAct::Publish { line: line(of), number, bundle, source })
        })
    });
    std::iter::once(store).chain(publish)
}

#[derive(Default)]
struct Seen {
    pointers: Vec<(u64, Of<Pointer>)>,
    grants: Vec<(u64, Of<Grant>)>,
    placed: BTreeSet<String>,
    not_placed: BTreeSet<String>,
}

/// What all clients saw.
pub(crate) struct History(Seen);

struct Shared {
    begun: Instant,
    doors: Mutex<BTreeMap<u64, SocketAddr>>,
    seen: Mutex<Seen>,
    answered: AtomicU64,
    unknown: AtomicU64,
    is_over: AtomicBool,
}

pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    pub(crate) fn start(cluster: &Cluster, clients: u64) -> Self {
        let mut talk = Talk::with(cluster.control(cluster.leader())).unwrap();
        for action in prepare(LINES) {
            let said = talk.ask(&Told::Propose { by: "prepare".into(), action });
            assert!(matches!(said, Some(Said::Answer(Ok(_)))), "{said:?}");
        }
        let doors = cluster.ids().into_iter().map(|id| (id, cluster.control(id))).collect();
        let shared = Arc::new(Shared {
            begun: Instant::now(),
            doors: Mutex::new(doors),
            seen: Mutex::default(),
            answered: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        });
        let clients = (0..clients).map(|number| {
            let client =
                Client { shared: Arc::clone(&shared), number, asked: 0, talks: BTreeMap::new() };
            std::thread::spawn(move || client.run())
        });
        let clients = clients.collect();
        Self { shared, clients }
    }

    pub(crate) fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::SeqCst)
    }

    pub(crate) fn meet(&self, id: u64, door: SocketAddr) {
        self.shared.doors.lock().unwrap().insert(id, door);
    }

    pub(crate) fn forget(&self, id: u64) {
        self.shared.doors.lock().unwrap().remove(&id);
    }

    pub(crate) fn stop(self) -> History {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.clients.into_iter().for_each(|client| client.join().unwrap());
        let unknown = self.shared.unknown.load(Ordering::SeqCst);
        eprintln!(
            "{} calls answered, {unknown} of unknown fate",
            self.shared.answered.load(Ordering::SeqCst)
        );
        History(std::mem::take(&mut *self.shared.seen.lock().unwrap()))
    }
}

struct Client {
    shared: Arc<Shared>,
    number: u64,
    asked: u64,
    talks: BTreeMap<u64, Talk>,
}

/// A reply that was heard or not; not even this much where the call was not sent.
type Fate<T> = Option<Option<T>>;

impl Client {
    fn run(mut self) {
        let mut seen = BTreeMap::new();
        while !self.shared.is_over.load(Ordering::SeqCst) {
            self.asked += 1;
            let (asked, number) = (self.asked, self.number);
            let key = asked / 40 + number % 2;
            match (asked + number) % 9 {
                0..3 => self.swing((asked * 7 + number) % LINES, &mut seen),
                3 => self.read((asked * 5 + number) % LINES, &mut seen),
                4 => self.on_grant(key, GrantCall::Give),
                5 | 6 => self.on_grant(key, GrantCall::Use),
                7 => self.look(key),
                _ => self.place(),
            }
            std::thread::sleep(Duration::from_millis(5 + (asked * 13 + number * 7) % 25));
        }
    }

    fn instant(&self) -> u64 {
        self.shared.begun.elapsed().as_nanos().try_into().unwrap()
    }

    /// Asks some voter.
    fn ask(&mut self, told: &Told) -> Fate<Said> {
        let doors: Vec<_> =
            self.shared.doors.lock().unwrap().iter().map(|(id, door)| (*id, *door)).collect();
        let nth = usize::try_from(self.asked * 31 + self.number).unwrap() % doors.len();
        let (id, door) = doors[nth];
        let mut talk = match self.talks.remove(&id) {
            Some(talk) => talk,
            None => Talk::with(door)?,
        };
        let said = talk.ask(told);
        if said.is_some() {
            self.talks.insert(id, talk);
        }
        Some(said)
    }

    fn propose(&mut self, action: Action) -> Fate<Answer> {
        let by = format!("client-{}-{}", self.number, self.asked);
        match self.ask(&Told::Propose { by, action })? {
            Some(Said::Answer(answer)) => {
                self.shared.answered.fetch_add(1, Ordering::SeqCst);
                Some(Some(answer))
            }
            Some(Said::NotSent) => None,
            Some(Said::Unknown) | None => {
                self.shared.unknown.fetch_add(1, Ordering::SeqCst);
                Some(None)
            }
            Some(other) => panic!("{other:?}"),
        }
    }

    fn swing(&mut self, number: u64, seen_at: &mut BTreeMap<u64, u64>) {
        let seen = seen_at.get(&number).copied().unwrap_or_default();
        let to = u32::try_from(self.asked % u64::from(VERSIONS)).unwrap() + 1;
        let called_at = self.instant();
        let Some(answer) = self.propose(swing(number, seen, to)) else { return };
        let reply = answer.map(|answer| match answer {
            Ok(Outcome::Epoch(epoch)) => PointerReply::Swung(epoch),
            Err(Refusal::Release(ReleaseRefusal::Moved { .. })) => PointerReply::Moved,
            other => panic!("{other:?}"),
        });
        if let Some(PointerReply::Swung(epoch)) = reply {
            seen_at.insert(number, epoch);
        }
        if reply == Some(PointerReply::Moved) {
            self.note_pointer(number, PointerCall::Swing { seen, to }, called_at, reply);
            return self.read(number, seen_at);
        }
        self.note_pointer(number, PointerCall::Swing { seen, to }, called_at, reply);
    }

    fn read(&mut self, number: u64, seen_at: &mut BTreeMap<u64, u64>) {
        let called_at = self.instant();
        let Some(Some(Said::Pointer { epoch, active })) = self.ask(&Told::Pointer(line(number)))
        else {
            return;
        };
        seen_at.insert(number, epoch);
        let reply = PointerReply::At { epoch, version: active };
        self.note_pointer(number, PointerCall::Read, called_at, Some(reply));
    }

    fn note_pointer(
        &self,
        key: u64,
        call: PointerCall,
        called_at: u64,
        reply: Option<PointerReply>,
    ) {
        let reply = reply.map(|reply| (reply, self.instant()));
        self.shared.seen.lock().unwrap().pointers.push((key, Operation { call, called_at, reply }));
    }

    fn note_grant(&self, key: u64, call: GrantCall, called_at: u64, reply: Option<GrantReply>) {
        let reply = reply.map(|reply| (reply, self.instant()));
        self.shared.seen.lock().unwrap().grants.push((key, Operation { call, called_at, reply }));
    }

    fn on_grant(&mut self, number: u64, call: GrantCall) {
        let (key, params) = (grant(number), ParamsHash::of(b"call"));
        let rules = BTreeSet::from([RuleId::parse("big-payment").unwrap()]);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let expires_at = Timestamp::from_unix_s(now).plus(Ttl::from_s(3 * 24 * 60 * 60));
        let action = Action::Approval(match call {
            GrantCall::Give => ApprovalAct::Override { key, params, rules, expires_at },
            GrantCall::Use | GrantCall::Look => ApprovalAct::Consume { key, params, rules },
        });
        let called_at = self.instant();
        let Some(answer) = self.propose(action) else { return };
        let reply = answer.map(|answer| match answer {
            Ok(Outcome::Done) => GrantReply::Done,
            Err(Refusal::Approval(ApprovalRefusal::Exists)) => GrantReply::Present,
            Err(Refusal::Approval(ApprovalRefusal::Unknown)) => GrantReply::Absent,
            Err(Refusal::Approval(ApprovalRefusal::Used)) => GrantReply::Used,
            other => panic!("{other:?}"),
        });
        self.note_grant(number, call, called_at, reply);
    }

    fn look(&mut self, number: u64) {
        let called_at = self.instant();
        let Some(Some(Said::Override(state))) = self.ask(&Told::Override(grant(number))) else {
            return;
        };
        let reply = match state {
            None => GrantReply::Absent,
            Some(ApprovalState::Consumed { .. }) => GrantReply::Used,
            Some(_) => GrantReply::Present,
        };
        self.note_grant(number, GrantCall::Look, called_at, Some(reply));
    }

    fn place(&mut self) {
        let name = format!("c{}-{}", self.number, self.asked);
        let fate = self.propose(place_of(&tenant(&name)));
        let mut seen = self.shared.seen.lock().unwrap();
        match fate {
            Some(Some(answer)) => {
                assert_eq!(answer, Ok(Outcome::Done), "{name}");
                seen.placed.insert(name);
            }
            Some(None) => {}
            None => {
                seen.not_placed.insert(name);
            }
        }
    }
}

impl History {
    /// Nothing that was answered is lost, nothing that was not sent is there, no override was used twice, and some order
    /// explains every answer.
    pub(crate) fn judge(self, held: &Ledger) {
        let Seen { pointers, grants, placed, not_placed } = self.0;
        let is_there = |name: &String| held.tenants().get(&tenant(name)).is_some();
        let lost: Vec<_> = placed.iter().filter(|name| !is_there(name)).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        let there: Vec<_> = not_placed.iter().filter(|name| is_there(name)).collect();
        assert!(there.is_empty(), "said not to be sent, and there: {there:?}");
        let mut used = BTreeMap::<u64, u64>::new();
        for (key, operation) in &grants {
            let reply = operation.reply.map(|(reply, _)| reply);
            if (operation.call, reply) == (GrantCall::Use, Some(GrantReply::Done)) {
                *used.entry(*key).or_default() += 1;
                let state = held.approvals().get(&grant(*key)).map(|approval| &approval.state);
                assert!(matches!(state, Some(ApprovalState::Consumed { .. })), "{key} came back");
            }
        }
        assert!(used.values().all(|times| *times == 1), "used twice: {used:?}");
        eprintln!(
            "{} calls on pointers, {} on overrides, {} of them used, {} tenants placed",
            pointers.len(),
            grants.len(),
            used.len(),
            placed.len()
        );
        let wrong = check_by(&Pointer, pointers, CONFIGURATIONS_MAX);
        assert!(wrong.is_empty(), "pointers are not linearizable: {wrong:#?}");
        let wrong = check_by(&Grant, grants, CONFIGURATIONS_MAX);
        assert!(wrong.is_empty(), "overrides are not linearizable: {wrong:#?}");
    }
}
