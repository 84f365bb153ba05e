//! Two regions: what one authors decides in the other, which goes on without it and has the last word at home.
//!
//! Not here: gateways (`gateway/tests`), and the rules of the ledger (its own tests). Invariant: both regions are real nodes
//! that talk over sockets; only what is between them is in the test's hands.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aegis_audit_chain::Hash;
use aegis_control::{Control, PullFrom, SubjectSources};
use aegis_control_client::{Client, ClientError, Conditions};
use aegis_document::Document;
use aegis_domain::{Region, Secret, TenantId, VoterUrls};
use aegis_identity::{KeySet, SigningKey, inspect};
use aegis_ledger::{Action, Environment, LineKey, Outcome, ReleaseAct, TenantAct};
use aegis_policy::{CompileContext, SIGNATURE_TYPE, Snapshot};
use aegis_policy_follow::{Http, Report, Scope, Source, SourceError};
use serde_json::{Value, json};

use crate::node::{Node, refusal, region_key};
use crate::policies::{LINE, policy};
use crate::rollouts::stages;
use crate::voters;

const PATIENCE: Duration = Duration::from_secs(60);
const AUTHOR: &str = "eu-west-1";
const HERE: &str = "us-east-1";
const TOKEN: &str = "a token that another region has, and no one else";

/// The way to the author, which can be cut and lead elsewhere.
#[derive(Clone, Default)]
struct Way {
    to: Arc<Mutex<Option<Arc<Http>>>>,
    /// Contents that were asked for.
    contents: Arc<AtomicUsize>,
    /// While it is held by somebody, contents are on their way.
    gate: Arc<Mutex<()>>,
}

impl Way {
    fn to(node: &Node) -> Self {
        let way = Self::default();
        way.lead(node);
        way
    }

    fn lead(&self, node: &Node) {
        let http =
            Http::new(VoterUrls::new(&node.url, &[]), Secret::new(TOKEN.to_owned()), None).unwrap();
        *self.to.lock().unwrap() = Some(Arc::new(http));
    }

    fn cut(&self) {
        *self.to.lock().unwrap() = None;
    }

    fn http(&self) -> Result<Arc<Http>, SourceError> {
        self.to.lock().unwrap().clone().ok_or(SourceError::Status(504))
    }
}

impl Source for Way {
    fn page(&self, scope: &Scope, after: Option<u64>) -> Result<String, SourceError> {
        let page = self.http()?.page(scope, after)?;
        // What was on its way when the way was cut is lost.
        self.http().map(|_| page)
    }

    fn content(&self, digest: Hash) -> Result<Vec<u8>, SourceError> {
        self.contents.fetch_add(1, Ordering::SeqCst);
        drop(self.gate.lock().unwrap());
        self.http()?.content(digest)
    }

    fn report(&self, _: &str, _: &Report) -> Result<(), SourceError> {
        unreachable!("a region reports nothing to another")
    }
}

fn region(name: &str) -> Region {
    Region::parse(name).unwrap()
}

fn line(tenant: &str) -> LineKey {
    let tenant = TenantId::parse(tenant).unwrap();
    LineKey { tenant, environment: Environment::parse("prod").unwrap() }
}

fn give(control: Control) -> Control {
    control.giving([(region(HERE), Secret::new(TOKEN.to_owned()))])
}

fn author() -> Node {
    author_at(tempfile::tempdir().unwrap())
}

fn author_at(home: tempfile::TempDir) -> Node {
    Node::shaped(home, SubjectSources::default(), give)
}

fn from(way: &Way, tenants: &[&str]) -> PullFrom {
    let keys = KeySet::default().with(region_key().public_key().clone()).unwrap();
    PullFrom {
        region: region(AUTHOR),
        keys: keys.to_jwks_json(),
        source: Arc::new(way.clone()),
        tenants: tenants.iter().map(|name| TenantId::parse(name).unwrap()).collect(),
    }
}

/// A region that pulls.
fn follower(way: &Way) -> Node {
    follower_of(way, &[])
}

fn follower_of(way: &Way, tenants: &[&str]) -> Node {
    let home = tempfile::tempdir().unwrap();
    let (from, key) = (from(way, tenants), SigningKey::from_seed([88; 32]));
    Node::of((home, HERE, key), SubjectSources::default(), |it| it.pulling(from).unwrap())
}

impl Node {
    /// Lets a tenant be in regions, through the API.
    fn place(&self, tenant: &str, regions: &[&str]) {
        let path = format!("/v1/tenants/{tenant}/residency");
        let body = json!({ "home": regions[0], "allowed": regions });
        let placed = self.admin.put(&path, &body, &Conditions::default());
        crate::node::checked("put", &path, placed).unwrap();
    }

    fn decides(&self) -> Value {
        match self.admin.get(&format!("{LINE}/pointer")) {
            Ok(answer) => answer.body["active"].clone(),
            Err(ClientError::Refused { status: 404, .. }) => Value::Null,
            Err(error) => panic!("{error}"),
        }
    }

    fn until(&self, what: &str, mut is_so: impl FnMut(&Node) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            let told = self.get("/v1/fleet").body;
            assert!(begun.elapsed() < PATIENCE, "not after {PATIENCE:?}: {what}\n{told:#}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn until_decides(&self, version: u32) {
        self.until("it decides", |node| node.decides() == version);
    }

    /// The epoch of the author that is held here.
    fn held(&self) -> u64 {
        self.pointer().body["author"]["epoch"].as_u64().unwrap()
    }

    fn until_held(&self, author: &Node) {
        let epoch = author.epoch(&line("acme"));
        self.until("the author's epoch is held", |node| node.held() == epoch);
    }

    fn refused(&self) -> Value {
        self.get("/v1/fleet").body["author"]["refused"].clone()
    }

    fn plain(&self, what: &str) -> Result<aegis_control_client::Answer, ClientError> {
        self.turn(("post", what), None, json!({}))
    }
}

/// Two regions, of which one has released its first version to the other.
fn two() -> (Node, Way, Node) {
    let author = author();
    author.place("acme", &[AUTHOR, HERE]);
    author.pushed(3);
    author.activate(1);
    let way = Way::to(&author);
    let here = follower(&way);
    here.until_decides(1);
    (author, way, here)
}

#[test]
fn what_is_activated_in_one_region_decides_in_the_other_under_the_same_number_and_digest() {
    let (author, _way, here) = two();
    author.activate(3);
    let activated = Instant::now();
    here.until_decides(3);
    println!("the other region decides by an activation after {:?}", activated.elapsed());
    let shown = |node: &Node| node.get(&format!("{LINE}/versions/3")).body;
    let (theirs, ours) = (shown(&author), shown(&here));
    for same in ["version", "source_sha256", "archive_sha256", "bundle_sha256", "files"] {
        assert_eq!(theirs[same], ours[same], "{same}");
    }
    assert_eq!(ours["by"], "region eu-west-1");
    let origin = &ours["author"];
    assert_eq!((&origin["region"], &origin["epoch"]), (&json!(AUTHOR), &json!(2)));
    assert!(origin["heard_at"].is_string(), "{origin}");
    assert_eq!(theirs["author"], Value::Null);

    // A line of another region is pushed to and activated there alone, and the refusal says where.
    let pushed = here.push(&policy(900, "enforce"), None);
    let Err(ClientError::Refused { status, kind, problem, .. }) = pushed else { panic!("taken") };
    assert_eq!((status, kind.as_str()), (409, "authored-elsewhere"));
    assert!(problem["detail"].as_str().unwrap().contains(AUTHOR), "{problem}");
    let seen = here.pointer().etag;
    let activated = here.turn(("put", "pointer"), seen.as_deref(), json!({ "active": 1 }));
    assert_eq!(refusal(activated), (409, "authored-elsewhere".into()));
    assert_eq!(here.decides(), 3);
}

#[test]
fn gateways_of_the_other_region_are_told_the_authors_keys_by_their_own() {
    let (_author, _way, here) = two();
    let token = std::fs::read_to_string(here.home.path().join("follower.token")).unwrap();
    let source = Http::new(VoterUrls::new(&here.url, &[]), Secret::new(token), None).unwrap();
    let scope = Scope { region: region(HERE), tenants: BTreeSet::new() };
    let page = inspect(&source.page(&scope, None).unwrap()).unwrap().unverified_payload;
    let told = inspect(page["releases"][0].as_str().unwrap()).unwrap().unverified_payload;
    assert_eq!(told["region"], HERE);
    assert_eq!(told["author"]["region"], AUTHOR);
    let keys = KeySet::from_jwks(told["author"]["keys"].as_str().unwrap().as_bytes()).unwrap();
    let theirs = KeySet::default().with(region_key().public_key().clone()).unwrap();
    assert_eq!(keys.to_jwks_json(), theirs.to_jwks_json());
}

/// All that a region is told, byte for byte, and what the signed parts of it say.
fn told(way: &Way, after: Option<u64>) -> (String, u64) {
    let scope = Scope { region: region(HERE), tenants: BTreeSet::new() };
    let page = way.page(&scope, after).unwrap();
    let said = inspect(&page).unwrap().unverified_payload;
    let parts = said["releases"].as_array().unwrap().iter();
    let parts = parts.map(|it| inspect(it.as_str().unwrap()).unwrap().unverified_payload);
    let text = parts.map(|it| format!("{it:?}")).collect::<String>() + &format!("{said:?}") + &page;
    (text, said["revision"].as_u64().unwrap())
}

#[test]
fn of_a_tenant_that_may_not_be_there_nothing_arrives_in_the_other_region() {
    let (author, way, here) = two();
    let (_, revision) = told(&way, None);
    // One that was never placed, and one that is placed elsewhere.
    let mut digests = Vec::new();
    for tenant in ["secretive", "elsewhere"] {
        let content = tenant.as_bytes().to_vec();
        let digest = Hash::of(&content);
        author.propose(Action::Release(ReleaseAct::Store { digest, content }));
        let line = line(tenant);
        let publish =
            ReleaseAct::Publish { line: line.clone(), number: 1, bundle: digest, source: digest };
        author.propose(Action::Release(publish));
        let choice = aegis_ledger::Choice { active: 1, shadow: None };
        author.propose(Action::Release(ReleaseAct::Activate { line, seen: 0, choice }));
        digests.push(digest);
    }
    author.place("elsewhere", &[AUTHOR, "ap-south-1"]);
    for after in [None, Some(revision)] {
        let (told, _) = told(&way, after);
        for never in ["secretive", "elsewhere"] {
            assert!(!told.contains(never), "{told}");
        }
        for digest in &digests {
            assert!(!told.contains(&digest.to_string()), "{told}");
        }
    }
    for digest in digests {
        assert!(matches!(way.content(digest), Err(SourceError::Status(404))));
    }
    author.activate(2);
    here.until_decides(2);
    let ledger = here.get("/v1/policies/secretive/prod/versions").body;
    assert_eq!(ledger["versions"], json!([]));
}

#[test]
fn a_regions_token_is_for_what_is_released_to_it_and_for_nothing_else() {
    let author = author();
    let there = Client::new(&author.url, Some(Secret::new(TOKEN.to_owned())), None).unwrap();
    there.stream("/v1/releases").unwrap();
    there.stream("/v1/releases?region=us-east-1").unwrap();
    let other = there.stream("/v1/releases?region=ap-south-1").map(|_| ());
    let Err(ClientError::Refused { status, kind, .. }) = other else { panic!("it was told") };
    assert_eq!((status, kind.as_str()), (403, "other-region"));
    for path in ["/v1/feed", "/v1/fleet", "/v1/agents", "/v1/tenants", "/v1/releases/export"] {
        assert_eq!(refusal(there.get(path)).0, 403, "{path}");
    }
    let report = json!({ "build": "x", "region": HERE, "lines": [] });
    let reported = there.post("/v1/fleet/gw", &report, &Conditions::default());
    assert_eq!(refusal(reported), (403, "other-region".into()));
}

#[test]
fn a_region_that_asks_for_some_tenants_takes_no_others() {
    let author = author();
    author.place("acme", &[AUTHOR, HERE]);
    author.pushed(1);
    author.activate(1);
    let way = Way::to(&author);
    let here = follower_of(&way, &["other"]);
    here.until("it heard", |node| node.get("/v1/fleet").body["author"]["heard_at"].is_string());
    assert_eq!(here.decides(), Value::Null);
}

#[test]
fn a_region_whose_author_is_gone_pins_rolls_back_and_catches_up_later() {
    // Arrange: two versions have decided here.
    let (author, way, here) = two();
    author.activate(2);
    here.until_decides(2);

    // Act and assert: cut off, the region has what it needs, and says what it is cut off from.
    way.cut();
    here.until("it says so", |node| {
        node.get("/v1/fleet").body["author"]["why"].as_str().is_some_and(|why| why.contains("504"))
    });
    here.plain("pin").unwrap();
    here.plain("rollback").unwrap();
    assert_eq!(here.decides(), 1);
    here.post("/v1/revocations", json!({ "tenant": { "id": "acme" } })).unwrap();
    author.activate(3);

    // The author is back: the pin holds, and what it holds against is known.
    way.lead(&author);
    here.until_held(&author);
    assert_eq!(here.decides(), 1);
    assert_eq!(here.pointer().body["author"]["active"], 3);
    author.plain("rollback").unwrap();
    here.until_held(&author);
    assert_eq!(here.decides(), 1, "the author rolled back, and it is still pinned here");
    here.plain("unpin").unwrap();
    assert_eq!(here.decides(), 2, "where the author is now");
}

#[test]
fn what_was_rolled_back_here_comes_back_only_when_the_author_points_elsewhere() {
    let (author, _way, here) = two();
    author.activate(2);
    here.until_decides(2);
    here.plain("rollback").unwrap();
    let seen = author.pointer().etag;
    let shadow = json!({ "active": 2, "shadow": 3 });
    author.turn(("put", "pointer"), seen.as_deref(), shadow).unwrap();
    here.until_held(&author);
    assert_eq!(here.decides(), 1);
    assert_eq!(here.pointer().body["author"]["taken_back"], json!([2]));
    author.activate(3);
    here.until_decides(3);
}

#[test]
fn a_rollout_goes_through_its_authors_stages_here() {
    let (author, _way, here) = two();
    let body = json!({ "candidate": 2, "stages": stages(3_600) });
    author.turn(("post", "rollout"), Some("\"1\""), body).unwrap();
    here.until("the rollout is here", |node| node.pointer().body["rollout"].is_object());
    let rollout = |node: &Node| node.pointer().body["rollout"].clone();
    for same in ["id", "candidate", "stages", "state", "stage"] {
        assert_eq!(rollout(&here)[same], rollout(&author)[same], "{same}");
    }
    // Taken back here, it goes on there.
    here.plain("rollout/abort").unwrap();
    assert_eq!(rollout(&author)["state"], "running");
    author.plain("rollout/pause").unwrap();
    here.until_held(&author);
    assert_eq!(rollout(&here)["state"], "aborted");
    author.plain("rollout/abort").unwrap();
    author.activate(2);
    here.until_decides(2);
}

#[test]
fn a_bundle_that_another_key_signed_is_refused_and_the_line_stays_as_it_was() {
    let (author, _way, here) = two();
    let document = Document::parse("acme.yaml", &policy(50, "enforce")).unwrap();
    let snapshot = Snapshot::compile(&[document], CompileContext { version: 4 }).unwrap();
    let bundle = snapshot.bundle().clone();
    let stranger = SigningKey::from_seed([1; 32]);
    let jwt = stranger.sign(SIGNATURE_TYPE, bundle.signing_payload().as_bytes());
    let content = bundle.signed(jwt).archive().unwrap().bytes;
    let (digest, line) = (Hash::of(&content), line("acme"));
    author.propose(Action::Release(ReleaseAct::Store { digest, content }));
    let act = ReleaseAct::Publish { line: line.clone(), number: 4, bundle: digest, source: digest };
    assert_eq!(author.propose(Action::Release(act)), Outcome::Version(4));
    let choice = aegis_ledger::Choice { active: 4, shadow: None };
    author.propose(Action::Release(ReleaseAct::Activate { line, seen: 1, choice }));
    here.until("it is told", |node| node.refused()[0]["why"].is_string());
    let refused = here.refused();
    assert_eq!(refused[0]["epoch"], 2);
    assert!(
        refused[0]["why"].as_str().unwrap().contains("its signature does not hold"),
        "{refused}"
    );
    assert_eq!(here.pointer().body["author"]["refused"]["epoch"], 2);
    assert_eq!(here.decides(), 1);
    author.activate(3);
    here.until_decides(3);
    assert_eq!(here.refused(), json!([]));
}

#[test]
fn an_author_that_was_restored_from_an_older_state_is_refused_and_takes_nothing_away() {
    let (author, way, here) = two();
    for version in [2, 3] {
        author.activate(version);
    }
    here.until_held(&author);
    drop(author);

    // Its revision lies before what was taken.
    let older = self::author();
    way.lead(&older);
    here.until("it says so", |node| {
        let why = node.get("/v1/fleet").body["author"]["why"].clone();
        why.as_str().is_some_and(|why| why.contains("restored from an older state"))
    });
    assert_eq!(here.decides(), 3);

    // It has gone on since, and its epochs are lower all the same.
    older.place("acme", &[AUTHOR, HERE]);
    older.pushed(1);
    older.activate(1);
    let placed = TenantId::parse("other").unwrap();
    for _ in 0..20 {
        older.place("other", &[AUTHOR]);
        let seen = older.placed(&placed);
        older.propose(Action::Tenant(TenantAct::Remove { tenant: placed.clone(), seen }));
    }
    here.until("it is told", |node| node.refused()[0]["why"].is_string());
    let why = here.refused()[0]["why"].as_str().unwrap().to_owned();
    assert!(why.contains("restored from an older state"), "{why}");
    assert_eq!(here.decides(), 3);
}

#[test]
fn a_tenant_that_may_be_there_no_more_is_withdrawn_there_with_its_contents() {
    let (author, _way, here) = two();
    author.place("acme", &[AUTHOR]);
    here.until("it is withdrawn", |node| node.pointer().body["author"]["withdrawn"] == true);
    assert_eq!(here.get(&format!("{LINE}/versions/1")).body["held"], false);
    let token = std::fs::read_to_string(here.home.path().join("follower.token")).unwrap();
    let source = Http::new(VoterUrls::new(&here.url, &[]), Secret::new(token), None).unwrap();
    let scope = Scope { region: region(HERE), tenants: BTreeSet::new() };
    let page = inspect(&source.page(&scope, None).unwrap()).unwrap().unverified_payload;
    assert_eq!(page["releases"], json!([]));
    author.place("acme", &[AUTHOR, HERE]);
    here.until("it is back", |node| node.pointer().body["author"]["withdrawn"] == false);
    assert_eq!(here.get(&format!("{LINE}/versions/1")).body["held"], true);
}

#[test]
fn a_leader_that_is_gone_in_the_middle_of_a_pull_leaves_it_to_another_and_nothing_is_taken_twice() {
    // Arrange: three voters, whose author is the other of the two regions.
    let home = tempfile::tempdir().unwrap();
    let give = |control: Control| control.giving([(region(AUTHOR), Secret::new(TOKEN.to_owned()))]);
    let key = SigningKey::from_seed([99; 32]);
    let author = Node::of((home, HERE, key.clone()), SubjectSources::default(), give);
    author.place("acme", &[HERE, AUTHOR]);
    author.pushed(1);
    author.activate(1);
    let way = Way::to(&author);
    let (held, asked) = (way.clone(), Arc::clone(&way.contents));
    let gate = way.gate.lock().unwrap();
    let keys = KeySet::default().with(key.public_key().clone()).unwrap().to_jwks_json();
    let mut voters = voters::Region::shaped(3, move |control| {
        let source = Arc::new(held.clone());
        let (region, keys) = (region(HERE), keys.clone());
        control.pulling(PullFrom { region, keys, source, tenants: BTreeSet::new() }).unwrap()
    });
    let begun = Instant::now();
    while asked.load(Ordering::SeqCst) == 0 {
        assert!(begun.elapsed() < PATIENCE, "nobody asks");
        std::thread::sleep(Duration::from_millis(20));
    }

    // Act: a bundle is on its way when the leader goes.
    let leader = voters.leader().unwrap();
    let gone = voters.voters.remove(leader);
    voters.runtime.block_on(gone.node.stop()).unwrap();
    drop(gone);
    drop(gate);

    // Assert.
    let taken = || {
        let ledger = voters.voters[0].node.ledger();
        let held = ledger.releases().line(&line("acme"));
        held.and_then(|held| Some((held.pointer()?.epoch, held.versions().count())))
    };
    let begun = Instant::now();
    while taken().is_none() {
        assert!(begun.elapsed() < PATIENCE, "nobody went on");
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(taken(), Some((1, 1)), "once");
}
