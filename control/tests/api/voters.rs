//! Control nodes over three voters: what one began, another goes on with.
//!
//! Not here: how voters agree (`raft-store`). Invariant: voters speak over real sockets with certificates of their own.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aegis_control::{
    Control, ControlConfig, Means, Memory, Replicated, Serving, SubjectSources, serve,
};
use aegis_control_client::{Client, Conditions};
use aegis_domain::Secret;
use aegis_raft_store::{Credentials, Door, Identity, Node, Pace, Settings};
use aegis_vault::{Files, Vault};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::node::{GATEWAY, region_key};
use crate::policies::{LINE, policy};
use crate::rollouts::{Fleet, stages};

const CLUSTER: &str = "eu-west-1";
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Voter {
    pub(crate) node: Node,
    pub(crate) admin: Client,
    url: String,
    token: String,
    _stop: oneshot::Sender<()>,
    _home: TempDir,
}

pub(crate) struct Region {
    pub(crate) runtime: Runtime,
    authority: CertifiedIssuer<'static, KeyPair>,
    vault: Arc<dyn Vault>,
    _vault: TempDir,
    fleet: Fleet,
    pub(crate) voters: Vec<Voter>,
    /// What each voter is made of besides.
    shape: Box<dyn Fn(Control) -> Control>,
}

fn home() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    home
}

impl Region {
    fn of(voters: u64) -> Self {
        Self::shaped(voters, |control| control)
    }

    pub(crate) fn shaped(voters: u64, shape: impl Fn(Control) -> Control + 'static) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let vault = home();
        let files = Files::open(&vault.path().join("vault")).unwrap();
        let mut region = Self {
            runtime: Runtime::new().unwrap(),
            authority,
            vault: Arc::new(files),
            _vault: vault,
            fleet: Fleet::default(),
            voters: Vec::new(),
            shape: Box::new(shape),
        };
        for _ in 0..voters {
            region.join();
        }
        region
    }

    fn credentials(&self, id: u64) -> Credentials {
        let mut params = CertificateParams::default();
        let uri = format!("aegis://{CLUSTER}/voters/{id}");
        params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().unwrap())];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        Credentials {
            authority: self.authority.pem().into_bytes(),
            certificate: params.signed_by(&key, &self.authority).unwrap().pem().into_bytes(),
            key: key.serialize_pem().into_bytes(),
        }
    }

    fn join(&mut self) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let leader = self.leader();
        let id = leader.as_ref().map_or(1, |leader| {
            self.runtime.block_on(self.voters[*leader].node.admit(&address)).unwrap()
        });
        let home = home();
        let settings = Settings {
            identity: Identity { cluster: CLUSTER.into(), node: id },
            directory: home.path().join("ledger"),
            door: Some(Door { listener, credentials: self.credentials(id) }),
            pace: Pace::default(),
            on_fatal: Arc::new(|fatal| panic!("{fatal}")),
        };
        let node = self.runtime.block_on(Node::start(settings)).unwrap();
        self.runtime.block_on(async {
            match leader {
                None => node.found(&address).await.unwrap(),
                Some(leader) => {
                    let leader = &self.voters[leader].node;
                    leader.teach(id).await.unwrap();
                    leader.promote(id).await.unwrap();
                    node.catch_up().await.unwrap();
                }
            }
        });
        let voter = self.serve(node, home);
        self.voters.push(voter);
    }

    fn serve(&self, node: Node, home: TempDir) -> Voter {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0");
        let listener = self.runtime.block_on(listener).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let config = ControlConfig {
            region: aegis_domain::Region::parse("eu-west-1").unwrap(),
            data_dir: home.path().join("control"),
            issuer: url.clone(),
            audiences: vec![GATEWAY.to_owned()],
            subjects: SubjectSources::default(),
            region_key: region_key(),
        };
        let means = Means {
            ledger: Arc::new(Replicated::of(node.clone())),
            node: node.clone(),
            vault: Arc::clone(&self.vault),
            replay: Arc::new(Memory::default()),
        };
        let control = Control::with(config, means).unwrap();
        let control = control.with_observations(Arc::new(self.fleet.clone()));
        let control = Arc::new((self.shape)(control));
        let (stop, stopped) = oneshot::channel::<()>();
        self.runtime.spawn(serve(listener, control, Serving::Plain, async move {
            stopped.await.ok();
        }));
        let token = std::fs::read_to_string(home.path().join("control/admin.token")).unwrap();
        let admin = Client::new(&url, Some(Secret::new(token.clone())), None).unwrap();
        Voter { node, admin, url, token, _stop: stop, _home: home }
    }

    pub(crate) fn leader(&self) -> Option<usize> {
        let begun = Instant::now();
        while !self.voters.is_empty() {
            let leads = |voter: &Voter| {
                let status = voter.node.status();
                status.leader == Some(status.node) && status.quorum_heard_ago.is_some()
            };
            if let Some(place) = self.voters.iter().position(leads) {
                return Some(place);
            }
            assert!(begun.elapsed() < PATIENCE, "nobody leads");
            std::thread::sleep(Duration::from_millis(50));
        }
        None
    }

    fn pointer(&self, voter: usize) -> Value {
        self.voters[voter].admin.get(&format!("{LINE}/pointer")).unwrap().body
    }
}

#[test]
fn a_rollout_goes_on_when_its_leader_is_gone_in_the_middle_of_a_stage() {
    let mut region = Region::of(3);
    region.fleet.sees(5, 0);
    let leader = region.leader().unwrap();
    // Any voter takes commands.
    let follower = &region.voters[(leader + 1) % 3].admin;
    for amount in [100, 200] {
        let body = json!({ "files": [{ "name": "a.yaml", "text": policy(amount, "enforce") }] });
        follower.post(&format!("{LINE}/versions"), &body, &Conditions::default()).unwrap();
    }
    let path = format!("{LINE}/pointer");
    let seen = |version| Conditions { version: Some(version), once: None };
    let active = follower.put(&path, &json!({ "active": 1 }), &seen("\"0\"")).unwrap().etag;
    let body = json!({ "candidate": 2, "stages": stages(3) });
    follower.post(&format!("{LINE}/rollout"), &body, &seen(&active.unwrap())).unwrap();

    let gone = region.voters.remove(leader);
    let begun = region.pointer(0);
    region.runtime.block_on(gone.node.stop()).unwrap();
    drop(gone);
    assert_eq!(
        (&begun["rollout"]["state"], &begun["rollout"]["stage"]),
        (&json!("running"), &json!(0))
    );

    let waited = Instant::now();
    let ended = loop {
        let pointer = region.pointer(0);
        if pointer["rollout"]["state"] == "complete" {
            break pointer;
        }
        assert!(waited.elapsed() < PATIENCE, "{pointer}");
        std::thread::sleep(Duration::from_millis(100));
    };
    assert_eq!(ended["rollout"]["id"], begun["rollout"]["id"]);
    assert_eq!(
        (&ended["active"], &ended["epoch"]),
        (&json!(2), &json!(4)),
        "each stage ended once"
    );
}

#[test]
fn a_read_holds_all_that_was_acknowledged_or_says_that_it_may_not() {
    let mut region = Region::of(3);
    let leader = region.leader().unwrap();
    let path = format!("{LINE}/pointer");
    let body = json!({ "files": [{ "name": "a.yaml", "text": policy(100, "enforce") }] });
    let writer = &region.voters[leader].admin;
    writer.post(&format!("{LINE}/versions"), &body, &Conditions::default()).unwrap();
    for epoch in 0..20 {
        let seen = format!("\"{epoch}\"");
        let sent = Conditions { version: Some(&seen), once: None };
        let writer = &region.voters[(leader + epoch) % 3].admin;
        writer.put(&path, &json!({ "active": 1 }), &sent).unwrap();
        for voter in &region.voters {
            let shown = voter.admin.get(&path).unwrap();
            assert_eq!(shown.read.as_deref(), Some("agreed"));
            assert_eq!(shown.body["epoch"], epoch + 1, "it was answered before");
        }
    }
    let alone = region.voters.remove(leader);
    region.voters.iter().for_each(|gone| region.runtime.block_on(gone.node.stop()).unwrap());
    let shown = alone.admin.get(&path).unwrap();
    assert_eq!((shown.read.as_deref(), &shown.body["epoch"]), (Some("own"), &json!(20)));
    let unknown = alone.admin.get("/v1/policies/acme/other/pointer");
    assert_eq!(crate::node::refusal(unknown), (503, "no-quorum".into()), "it may be elsewhere");
    let page = alone.admin.get("/v1/approvals").unwrap();
    assert_eq!(page.read.as_deref(), Some("own"));
}

fn answered(voter: &Voter, path: &str) -> ureq::http::Response<ureq::Body> {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let request = agent.get(format!("{}{path}", voter.url));
    request.header("authorization", format!("Bearer {}", voter.token.trim())).call().unwrap()
}

/// As of how long ago a voter says what it knows.
fn told_ago_s(voter: &Voter) -> u64 {
    let page = answered(voter, "/v1/feed").body_mut().read_to_string().unwrap();
    let payload = URL_SAFE_NO_PAD.decode(page.split('.').nth(1).unwrap()).unwrap();
    let page: Value = serde_json::from_slice(&payload).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    now.unwrap().as_secs() - page["whole"]["at_s"].as_u64().unwrap()
}

/// Status of an answer, and whether the connection ends with it.
fn asked(voter: &Voter, path: &str) -> (u16, bool) {
    let answer = answered(voter, path);
    (answer.status().as_u16(), answer.headers().get("connection").is_some_and(|it| it == "close"))
}

#[test]
fn a_voter_that_was_taken_out_sends_those_who_follow_it_to_another() {
    let region = Region::of(3);
    let leader = region.leader().unwrap();
    let (gone, left) = (&region.voters[(leader + 1) % 3], &region.voters[(leader + 2) % 3]);
    let id = gone.node.identity().node;
    region.runtime.block_on(region.voters[leader].node.remove(id)).unwrap();

    for feed in ["/v1/feed", "/v1/releases"] {
        let held = format!("{feed}?after=0");
        let begun = Instant::now();
        while asked(gone, &held).0 == 200 {
            assert!(
                begun.elapsed() < PATIENCE,
                "{feed}: nobody who follows it hears that it was taken out"
            );
        }
        assert_eq!(asked(gone, &held), (503, true), "{feed}");
        assert_eq!(asked(gone, feed).0, 200, "{feed}: who holds nothing is told what it knows");
        assert_eq!(asked(left, &held).0, 200, "{feed}");
    }
    let (gone, left) = (told_ago_s(gone), told_ago_s(left));
    assert!(gone >= 10 && left < 10, "{gone} s ago, {left} s ago");
}
