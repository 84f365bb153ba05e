//! A control node for one test.
//!
//! Not here: what is asked of it. Invariant: the node is gone, and its port closed, when the value is dropped.

use std::path::Path;
use std::sync::Arc;

use aegis_control::{Control, ControlConfig, Serving, SubjectSources, serve};
use aegis_control_client::{
    Answer, Client, ClientError, Conditions, client_assertion, dpop_proof, enrolment_proof,
};
use aegis_domain::{Jti, Region, Secret, Timestamp};
use aegis_identity::{CLIENT_ASSERTION_TYPE, KeySet, SigningKey};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::openapi;

pub(crate) const GATEWAY: &str = "https://gw.example.com";

pub(crate) struct Node {
    pub(crate) url: String,
    pub(crate) home: tempfile::TempDir,
    pub(crate) admin: Client,
    control: Arc<Control>,
    stop: Option<oneshot::Sender<()>>,
    runtime: Option<Runtime>,
}

pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_unix_s(since.as_secs())
}

pub(crate) fn jti() -> Jti {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Jti::parse(&format!("{}-{number}", std::process::id())).unwrap()
}

pub(crate) fn region_key() -> SigningKey {
    SigningKey::from_seed([77; 32])
}

impl Node {
    pub(crate) fn start() -> Self {
        Self::with(tempfile::tempdir().unwrap(), SubjectSources::default())
    }

    /// One that takes proofs at its token endpoint with a nonce only.
    pub(crate) fn demanding_nonces() -> Self {
        let (home, subjects) = (tempfile::tempdir().unwrap(), SubjectSources::default());
        Self::shaped(home, subjects, Control::demanding_nonces)
    }

    pub(crate) fn with(home: tempfile::TempDir, subjects: SubjectSources) -> Self {
        Self::shaped(home, subjects, |control| control)
    }

    pub(crate) fn shaped(
        home: tempfile::TempDir,
        subjects: SubjectSources,
        shape: impl FnOnce(Control) -> Control,
    ) -> Self {
        Self::of((home, "eu-west-1", region_key()), subjects, shape)
    }

    /// A node of any region.
    pub(crate) fn of(
        (home, region, key): (tempfile::TempDir, &str, SigningKey),
        subjects: SubjectSources,
        shape: impl FnOnce(Control) -> Control,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let at = (home.path(), region, key);
        let control = runtime.block_on(open_in(at, &url, subjects));
        let control = Arc::new(shape(control));
        let (stop, stopped) = oneshot::channel();
        runtime.spawn(serve(listener, Arc::clone(&control), Serving::Plain, async move {
            stopped.await.ok();
        }));
        let token = std::fs::read_to_string(home.path().join("admin.token")).unwrap();
        let admin = Client::new(&url, Some(Secret::new(token)), None).unwrap();
        Self { url, home, admin, control, stop: Some(stop), runtime: Some(runtime) }
    }

    /// Ends the node and keeps what it left on disk.
    pub(crate) fn stop(mut self) -> tempfile::TempDir {
        self.end();
        std::mem::replace(&mut self.home, tempfile::tempdir().unwrap())
    }

    pub(crate) fn tell_to_stop(&mut self) {
        self.stop.take();
    }

    fn end(&mut self) {
        self.tell_to_stop();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(std::time::Duration::from_secs(5));
        }
    }

    /// A command of a voter, past the API.
    pub(crate) fn propose(&self, action: aegis_ledger::Action) -> aegis_ledger::Outcome {
        let by = aegis_registry::Actor::parse("tester").unwrap();
        let wish = aegis_raft_store::Wish { by, action, once: None };
        let runtime = self.runtime.as_ref().unwrap();
        runtime.block_on(self.control.node().propose(wish)).unwrap().unwrap()
    }

    /// How many events the registry has.
    pub(crate) fn serial(&self) -> u64 {
        *self.control.ledger().watch().borrow()
    }

    /// The epoch of a line's pointer, zero before the first.
    pub(crate) fn epoch(&self, line: &aegis_ledger::LineKey) -> u64 {
        let ledger = self.control.node().ledger();
        let pointer = ledger.releases().line(line).and_then(|line| line.pointer());
        pointer.map_or(0, |pointer| pointer.epoch)
    }

    /// The number of a line's next version.
    pub(crate) fn next(&self, line: &aegis_ledger::LineKey) -> u32 {
        let ledger = self.control.node().ledger();
        ledger.releases().line(line).map_or(Some(1), |line| line.next()).unwrap()
    }

    /// When a tenant was last placed, zero where it never was.
    pub(crate) fn placed(&self, tenant: &aegis_domain::TenantId) -> u64 {
        let ledger = self.control.node().ledger();
        ledger.tenants().get(tenant).map_or(0, |tenant| tenant.changed)
    }

    /// What a gateway says that it runs.
    pub(crate) fn hear(&self, gateway: &str, report: Value) {
        self.control.heard(gateway, serde_json::from_value(report).unwrap());
    }

    /// Anybody, without a token.
    pub(crate) fn anyone(&self) -> Client {
        Client::new(&self.url, None, None).unwrap()
    }

    /// A command of an administrator; the answer is held against the OpenAPI document.
    pub(crate) fn post(&self, path: &str, body: Value) -> Result<Answer, ClientError> {
        checked("post", path, self.admin.post(path, &body, &Conditions::default()))
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        checked("get", path, self.admin.get(path)).unwrap()
    }

    pub(crate) fn register(&self, id: &str, more: Value) -> Value {
        let mut body = json!({
            "tenant": "acme", "id": id, "org": "acme", "scopes": ["pay:read", "pay:write"],
        });
        body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        self.post("/v1/agents", body).unwrap().body
    }

    /// Registers an agent and enrols a key for it.
    pub(crate) fn agent(&self, id: &str, seed: u8, more: Value) -> SigningKey {
        let registered = self.register(id, more);
        let code = registered["enrolment"]["code"].as_str().unwrap().to_owned();
        let key = SigningKey::from_seed([seed; 32]);
        self.enrol(&code, &key).unwrap();
        key
    }

    pub(crate) fn enrol(&self, code: &str, key: &SigningKey) -> Result<Answer, ClientError> {
        let proof = enrolment_proof(key, &self.url, code, now());
        let body = json!({ "code": code, "jwk": key.public_jwk(), "proof": proof });
        checked("post", "/v1/enrol", self.anyone().post("/v1/enrol", &body, &Conditions::default()))
    }

    /// Client credentials by `private_key_jwt`.
    pub(crate) fn token(
        &self,
        id: &str,
        key: &SigningKey,
        more: &[(&str, &str)],
    ) -> Result<Answer, ClientError> {
        let assertion = client_assertion(key, &format!("acme/{id}"), &self.url, &jti(), now());
        self.ask(&assertion, more, None)
    }

    pub(crate) fn ask(
        &self,
        assertion: &str,
        more: &[(&str, &str)],
        proof: Option<&str>,
    ) -> Result<Answer, ClientError> {
        let mut form =
            vec![("client_assertion_type", CLIENT_ASSERTION_TYPE), ("client_assertion", assertion)];
        if !more.iter().any(|(name, _)| *name == "grant_type") {
            form.push(("grant_type", "client_credentials"));
        }
        form.extend(more);
        checked("post", "/oauth2/token", self.anyone().token(&form, proof))
    }

    pub(crate) fn proof(&self, key: &SigningKey) -> String {
        dpop_proof(key, &format!("{}/oauth2/token", self.url), None, &jti(), now())
    }

    pub(crate) fn jwks(&self) -> KeySet {
        let set = self.anyone().get("/.well-known/jwks.json").unwrap().body;
        KeySet::from_jwks(set.to_string().as_bytes()).unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end();
    }
}

pub(crate) async fn open(home: &Path, url: &str, subjects: SubjectSources) -> Control {
    open_in((home, "eu-west-1", region_key()), url, subjects).await
}

async fn open_in(
    (home, region, region_key): (&Path, &str, SigningKey),
    url: &str,
    subjects: SubjectSources,
) -> Control {
    let config = ControlConfig {
        data_dir: home.to_owned(),
        region: Region::parse(region).unwrap(),
        issuer: url.to_owned(),
        audiences: vec![GATEWAY.to_owned()],
        subjects,
        region_key,
    };
    Control::alone(config, Arc::new(|fatal| panic!("{fatal}"))).await.unwrap()
}

pub(crate) fn checked(
    method: &str,
    path: &str,
    answer: Result<Answer, ClientError>,
) -> Result<Answer, ClientError> {
    match &answer {
        Ok(answer) => openapi::check(method, path, answer.status, Some(&answer.body)),
        Err(ClientError::Refused { status, problem, .. }) => {
            openapi::check(method, path, *status, Some(problem));
        }
        Err(ClientError::NonceWanted { .. }) => openapi::check(method, path, 400, None),
        Err(error) => panic!("{method} {path}: {error}"),
    }
    answer
}

/// How a call was refused: status and kind.
pub(crate) fn refusal(answer: Result<Answer, ClientError>) -> (u16, String) {
    match answer {
        Err(ClientError::Refused { status, kind, .. }) => (status, kind),
        Err(ClientError::NonceWanted { .. }) => (400, "use_dpop_nonce".to_owned()),
        other => panic!("expected a refusal: {other:?}"),
    }
}
