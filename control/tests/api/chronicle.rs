//! Changes on record: each that was made, none that was refused, and none that could not be recorded.
//!
//! Not here: the audit log itself (`gateway`). Invariant: the record is there before the answer.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aegis_control::{Begun, Changed, Chronicle, ChronicleError, SubjectSources, UnderWay};
use aegis_control_client::Conditions;
use async_trait::async_trait;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::node::{Node, refusal};

/// A log that fails, or keeps a change waiting, where it is told to.
#[derive(Debug, Default)]
pub(crate) struct Log {
    changes: Mutex<Vec<Changed>>,
    fails: Mutex<Option<Fails>>,
    holds: Mutex<Option<Hold>>,
    begun: UnderWay,
}

/// Keeps records from being written until it is let go of.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    reached: Arc<Semaphore>,
    gate: Arc<Semaphore>,
}

impl Hold {
    /// Returns once a change is made and its record waits.
    pub(crate) fn reached(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.reached.try_acquire().is_err() {
            assert!(Instant::now() < deadline, "no record was to be written");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn let_go(self) {
        self.gate.close();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fails {
    Before,
    After,
}

#[async_trait]
impl Chronicle for Log {
    fn begin(&self) -> Result<Begun, ChronicleError> {
        let fails = *self.fails.lock().unwrap() == Some(Fails::Before);
        if fails { Err(ChronicleError) } else { self.begun.begin() }
    }

    async fn note(&self, change: Changed) -> Result<(), ChronicleError> {
        if *self.fails.lock().unwrap() == Some(Fails::After) {
            return Err(ChronicleError);
        }
        let hold = self.holds.lock().unwrap().clone();
        if let Some(hold) = hold {
            hold.reached.add_permits(1);
            hold.gate.acquire().await.unwrap_err();
        }
        self.changes.lock().unwrap().push(change);
        Ok(())
    }
}

impl Log {
    pub(crate) fn hold(&self) -> Hold {
        let shut = || Arc::new(Semaphore::new(0));
        let hold = Hold { reached: shut(), gate: shut() };
        *self.holds.lock().unwrap() = Some(hold.clone());
        hold
    }

    /// What was written since the last look: who, what, whose, to what.
    pub(crate) fn news(&self) -> Vec<(String, String, String, String)> {
        let changes = std::mem::take(&mut *self.changes.lock().unwrap());
        let told = changes.into_iter().map(|it| {
            let tenant = it.tenant.map(|tenant| tenant.to_string()).unwrap_or_default();
            (it.by.to_string(), it.act, tenant, it.target.unwrap_or_default())
        });
        told.collect()
    }
}

pub(crate) fn node() -> (Node, Arc<Log>) {
    let log = Arc::new(Log::default());
    let kept = Arc::clone(&log);
    let home = tempfile::tempdir().unwrap();
    let node =
        Node::shaped(home, SubjectSources::default(), |control| control.with_chronicle(kept));
    // The first token key is made before anything is answered.
    node.get("/v1/agents");
    (node, log)
}

#[test]
fn every_change_is_on_record_with_who_what_and_whose() {
    let (node, log) = node();
    let [first] = log.news().try_into().unwrap();
    assert_eq!((first.0.as_str(), first.1.as_str()), ("voter 1", "registry.add_key"));
    node.register("bot", json!({}));
    node.post("/v1/agents/acme/bot/disable", json!({})).unwrap();
    node.post("/v1/revocations", json!({ "token": { "tenant": "acme", "jti": "secret-jti" } }))
        .unwrap();
    let wish = json!({ "as": "alice", "roles": ["viewer"] });
    let id = node.post("/v1/sessions", wish).unwrap().body["session"]["id"].clone();
    node.get("/v1/agents");
    let admin = |act: &str, tenant: &str, target: &str| {
        let text = str::to_owned;
        (text("local admin"), text(act), text(tenant), text(target))
    };
    let session = format!("session {}", id.as_str().unwrap());
    assert_eq!(
        log.news(),
        [
            admin("registry.register", "acme", "agent acme/bot"),
            admin("registry.set_standing", "acme", "agent acme/bot"),
            admin("registry.revoke", "acme", "token"),
            admin("session.open", "", &session),
        ]
    );
}

#[test]
fn what_is_done_to_the_voters_is_on_record_by_whom_and_what_failed_is_not() {
    let (node, log) = node();
    log.news();
    node.post("/v1/cluster/raise", json!({})).unwrap();
    node.post("/v1/cluster/finish", json!({})).unwrap();
    let mut backup = node.admin.stream("/v1/cluster/backup").unwrap();
    std::io::copy(&mut backup, &mut std::io::sink()).unwrap();
    // It is alone, and nobody of that name is there.
    node.post("/v1/cluster/hand-over", json!({})).unwrap_err();
    node.post("/v1/cluster/members", json!({ "address": "b:7400" })).unwrap_err();
    node.post("/v1/cluster/members/9/promote", json!({})).unwrap_err();
    node.admin.delete("/v1/cluster/members/9", &Conditions::default()).unwrap_err();
    let done: Vec<_> = log.news().into_iter().map(|news| (news.0, news.1)).collect();
    let admin = |act: &str| ("local admin".to_owned(), act.to_owned());
    assert_eq!(done, ["voter.raise", "voter.finish", "voter.backup"].map(admin));

    *log.fails.lock().unwrap() = Some(Fails::Before);
    assert_eq!(refusal(node.post("/v1/cluster/raise", json!({}))), (503, "no-record".into()));
}

#[test]
fn what_was_refused_is_not_on_record_as_done() {
    let (node, log) = node();
    log.news();
    node.post("/v1/agents/acme/nobody/disable", json!({})).unwrap_err();
    node.post("/v1/sessions", json!({ "as": "x", "roles": [] })).unwrap_err();
    assert_eq!(log.news(), []);
}

#[test]
fn nothing_is_changed_while_no_record_can_be_written() {
    let (node, log) = node();
    *log.fails.lock().unwrap() = Some(Fails::Before);
    let body = json!({ "tenant": "acme", "id": "bot", "org": "acme" });
    let refused = node.post("/v1/agents", body.clone());
    assert_eq!(refusal(refused), (503, "no-record".into()));
    let session = node.post("/v1/sessions", json!({ "as": "x", "roles": ["viewer"] }));
    assert_eq!(refusal(session), (503, "no-record".into()));
    assert_eq!(node.get("/v1/agents").body["agents"], json!([]));
    assert_eq!(node.get("/v1/sessions").body["sessions"], json!([]));
}

#[test]
fn a_change_whose_record_was_lost_is_not_answered_as_done_and_is_recorded_when_sent_again() {
    let (node, log) = node();
    log.news();
    *log.fails.lock().unwrap() = Some(Fails::After);
    let body = json!({ "tenant": "acme", "id": "bot", "org": "acme" });
    let once = Conditions { version: None, once: Some("register-bot") };
    let lost = node.admin.post("/v1/agents", &body, &once);
    assert_eq!(refusal(lost), (503, "unrecorded".into()));
    *log.fails.lock().unwrap() = None;
    node.admin.post("/v1/agents", &body, &once).unwrap();
    let acts: Vec<_> = log.news().into_iter().map(|news| news.1).collect();
    assert_eq!(acts, ["registry.register"]);
}

#[test]
fn while_the_log_hangs_a_change_is_answered_in_time_as_unknown_and_goes_on_record_by_itself() {
    let (node, log) = node();
    log.news();
    let hold = log.hold();
    let body = json!({ "tenant": "acme", "id": "bot", "org": "acme" });
    let once = Conditions { version: None, once: Some("register-bot") };
    let unknown = node.admin.post("/v1/agents", &body, &once);
    assert_eq!(refusal(unknown), (503, "unknown".into()));
    // What is done beside the ledger, too.
    assert_eq!(refusal(node.post("/v1/cluster/finish", json!({}))), (503, "unknown".into()));
    assert_eq!(node.get("/v1/agents").body["agents"][0]["id"], "bot", "it was made");
    assert_eq!(log.news(), []);
    hold.let_go();
    let mut acts = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(20);
    while acts.len() < 2 {
        assert!(Instant::now() < deadline, "on record are only {acts:?}");
        acts.extend(log.news().into_iter().map(|news| news.1));
        std::thread::sleep(Duration::from_millis(20));
    }
    acts.sort_unstable();
    assert_eq!(acts, ["registry.register", "voter.finish"]);
    assert_eq!(node.admin.post("/v1/agents", &body, &once).unwrap().status, 201);
}

#[test]
fn a_change_whose_caller_hung_up_is_on_record_as_well() {
    let (node, log) = node();
    log.news();
    let hold = log.hold();
    let body = json!({ "tenant": "acme", "id": "bot", "org": "acme" }).to_string();
    let token = std::fs::read_to_string(node.home.path().join("admin.token")).unwrap();
    let address = node.url.strip_prefix("http://").unwrap();
    let mut caller = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /v1/agents HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        token.trim(),
        body.len(),
    );
    caller.write_all(head.as_bytes()).unwrap();
    hold.reached();
    caller.shutdown(Shutdown::Both).unwrap();
    drop(caller);
    // Long enough for the server to see it.
    std::thread::sleep(Duration::from_millis(300));
    hold.let_go();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let [(_, act, ..)] = log.news().as_slice() {
            assert_eq!(act, "registry.register");
            break;
        }
        assert!(Instant::now() < deadline, "the agent was registered, and it is on no record");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(node.get("/v1/agents").body["agents"][0]["id"], "bot");
}
