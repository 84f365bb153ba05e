//! Releases: a gateway that follows hears of an activation, holds what it took through a restart with nobody reachable, and
//! believes nothing that the region did not sign for it, nothing older, and no other bytes than were named.
//!
//! Not here: compiling bundles (`gateway/tests`): here a bundle is any bytes, and who installs it takes notes. Invariant: nodes
//! and followers are real and talk over sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aegis_audit_chain::Hash;
use aegis_domain::{Region, Secret, TenantId, VoterUrls};
use aegis_identity::{KeySet, SigningKey};
use aegis_ledger::{
    Action, Choice, Environment, LineKey, Outcome, ReleaseAct, Residency, TenantAct,
};
use aegis_policy_follow::{FollowConfig, Follower, Http, Installer, Ready, Release};
use aegis_policy_rollout::Observed;
use serde_json::json;

use crate::node::{Node, region_key};

/// Who installs releases, as a test sees it.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Noted>>);

/// Epoch and bundle, by tenant.
type Noted = BTreeMap<String, (u64, Vec<u8>)>;

/// What no gateway takes.
const BROKEN: &[u8] = b"broken";

impl Installer for Notes {
    fn clear(&self, release: &Release) -> Result<Ready, String> {
        let statement = release.statement();
        let bundle = release.bundle(statement.pointer.choice.active).unwrap().to_vec();
        if bundle == BROKEN {
            return Err("it is broken".to_owned());
        }
        let noted = (statement.pointer.epoch, bundle);
        let (notes, tenant) = (self.0.clone(), statement.line.tenant.to_string());
        Ok(Box::new(move || drop(notes.lock().unwrap().insert(tenant, noted))))
    }

    fn withdraw(&self, line: &LineKey) {
        self.0.lock().unwrap().remove(line.tenant.as_str());
    }

    fn observed(&self, _: &LineKey) -> Option<Observed> {
        None
    }
}

impl Notes {
    fn of(&self, tenant: &str) -> Option<(u64, Vec<u8>)> {
        self.0.lock().unwrap().get(tenant).cloned()
    }

    /// Waits until a tenant's calls are decided so; how long that took.
    fn wait(&self, tenant: &str, wanted: Option<(u64, &[u8])>) -> Duration {
        let begun = Instant::now();
        while self.of(tenant) != wanted.map(|(epoch, bundle)| (epoch, bundle.to_vec())) {
            let held = self.of(tenant);
            assert!(begun.elapsed() < Duration::from_secs(20), "{wanted:?} never came: {held:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
        begun.elapsed()
    }
}

fn line(tenant: &str) -> LineKey {
    let tenant = TenantId::parse(tenant).unwrap();
    LineKey { tenant, environment: Environment::parse("prod").unwrap() }
}

fn region(name: &str) -> Region {
    Region::parse(name).unwrap()
}

/// Stores a bundle, makes a version of it, and lets that decide.
fn release(node: &Node, tenant: &str, bundle: &[u8]) -> (u64, u32) {
    let digest = Hash::of(bundle);
    let act = |act| node.propose(Action::Release(act));
    act(ReleaseAct::Store { digest, content: bundle.to_vec() });
    let number = node.next(&line(tenant));
    let publish =
        ReleaseAct::Publish { line: line(tenant), number, bundle: digest, source: digest };
    let Outcome::Version(active) = act(publish) else { panic!("no version") };
    (activate(node, tenant, active), active)
}

fn activate(node: &Node, tenant: &str, active: u32) -> u64 {
    let seen = node.epoch(&line(tenant));
    let choice = Choice { active, shadow: None };
    let act = ReleaseAct::Activate { line: line(tenant), seen, choice };
    let Outcome::Epoch(epoch) = node.propose(Action::Release(act)) else { panic!("no epoch") };
    epoch
}

fn place(node: &Node, tenant: &str, regions: &[&str]) {
    let tenant = TenantId::parse(tenant).unwrap();
    let allowed: BTreeSet<_> = regions.iter().map(|name| region(name)).collect();
    let residency = Residency { home: region(regions[0]), allowed };
    let seen = node.placed(&tenant);
    node.propose(Action::Tenant(TenantAct::Place { tenant, seen, residency }));
}

/// Where a follower asks, and what it believes.
struct From<'a> {
    url: &'a str,
    node: &'a Node,
    key: SigningKey,
}

impl<'a> From<'a> {
    fn node(node: &'a Node) -> Self {
        Self { url: &node.url, node, key: region_key() }
    }

    fn at(self, url: &'a str) -> Self {
        Self { url, ..self }
    }

    fn follow(&self, directory: &Path, tenants: &[&str]) -> (Notes, Follower) {
        let notes = Notes::default();
        let token = fs::read_to_string(self.node.home.path().join("follower.token")).unwrap();
        let source = Http::new(VoterUrls::new(self.url, &[]), Secret::new(token), None).unwrap();
        let config = FollowConfig {
            gateway: "gw-1".to_owned(),
            build: "test".to_owned(),
            region: region("eu-west-1"),
            region_keys: KeySet::default().with(self.key.public_key().clone()).unwrap(),
            lines: tenants.iter().map(|tenant| line(tenant)).collect(),
            directory: directory.to_owned(),
            export: None,
        };
        let follower = Follower::start(config, Arc::new(source), Arc::new(notes.clone())).unwrap();
        (notes, follower)
    }
}

const NOBODY: &str = "http://127.0.0.1:1";

#[test]
fn a_follower_hears_of_each_activation_and_of_no_other_tenant() {
    let node = Node::start();
    let homes: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let followers: Vec<_> =
        homes.iter().map(|home| From::node(&node).follow(home.path(), &["acme"])).collect();
    release(&node, "acme", b"one");
    release(&node, "other", b"theirs");
    for (notes, _) in &followers {
        notes.wait("acme", Some((1, b"one")));
    }
    let (epoch, _) = release(&node, "acme", b"two");
    let took: Vec<_> =
        followers.iter().map(|(notes, _)| notes.wait("acme", Some((epoch, b"two")))).collect();
    println!("three followers decide by an activation after {took:?}");
    assert_eq!(followers[0].0.of("other"), None);
    let rolled_back = activate(&node, "acme", 1);
    followers[0].0.wait("acme", Some((rolled_back, b"one")));
}

#[test]
fn two_hundred_followers_hear_of_an_activation() {
    let node = Node::start();
    let home = tempfile::tempdir().unwrap();
    let (first, _) = release(&node, "acme", b"one");
    let followers: Vec<_> = (0..200)
        .map(|number| From::node(&node).follow(&home.path().join(number.to_string()), &["acme"]))
        .collect();
    for (notes, _) in &followers {
        notes.wait("acme", Some((first, b"one")));
    }
    for bundle in [b"two", b"san", b"fur"] {
        let (epoch, _) = release(&node, "acme", bundle);
        let activated = Instant::now();
        for (notes, _) in &followers {
            notes.wait("acme", Some((epoch, bundle)));
        }
        println!("the last of 200 followers has an activation after {:?}", activated.elapsed());
    }
}

#[test]
fn what_was_taken_decides_again_with_nobody_reachable_and_a_damaged_generation_gives_way() {
    // Arrange: four releases, of which the last three are kept.
    let node = Node::start();
    let home = tempfile::tempdir().unwrap();
    let (notes, follower) = From::node(&node).follow(home.path(), &["acme"]);
    for bundle in [b"one", b"two", b"san", b"fur"] {
        let (epoch, _) = release(&node, "acme", bundle);
        notes.wait("acme", Some((epoch, bundle)));
    }
    drop(follower);
    let kept = || {
        let names = fs::read_dir(home.path()).unwrap().map(|it| it.unwrap().path());
        let mut kept: Vec<_> = names.filter(|it| it.extension().unwrap() == "release").collect();
        kept.sort();
        kept
    };
    assert_eq!(kept().len(), 3);
    let again = || From::node(&node).at(NOBODY).follow(home.path(), &["acme"]).0;

    // Act and assert: whole, then with one byte changed, cut short, and emptied.
    assert_eq!(again().of("acme"), Some((4, b"fur".to_vec())));
    let damages: [fn(&mut Vec<u8>); 2] = [
        |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x81;
        },
        |bytes| bytes.truncate(bytes.len() - 9),
    ];
    for (damage, left) in damages.iter().zip([(3, b"san"), (2, b"two")]) {
        let newest = kept().pop().unwrap();
        let mut bytes = fs::read(&newest).unwrap();
        damage(&mut bytes);
        fs::write(&newest, bytes).unwrap();
        assert_eq!(again().of("acme"), Some((left.0, left.1.to_vec())));
        assert!(newest.with_extension("refused").exists(), "it can be looked at");
    }
    fs::write(kept().pop().unwrap(), "").unwrap();
    assert_eq!(again().of("acme"), None);
    let (notes, _follower) = From::node(&node).follow(home.path(), &["acme"]);
    notes.wait("acme", Some((4, b"fur")));
}

#[test]
fn a_release_that_is_refused_changes_nothing_and_the_region_hears_why() {
    let node = Node::start();
    let home = tempfile::tempdir().unwrap();
    let (notes, follower) = From::node(&node).follow(home.path(), &["acme"]);
    release(&node, "acme", b"good");
    notes.wait("acme", Some((1, b"good")));
    release(&node, "acme", BROKEN);
    let told = || node.get("/v1/fleet").body["gateways"][0].clone();
    let begun = Instant::now();
    while told()["lines"][0]["state"] != "refused" {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", told());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(notes.of("acme"), Some((1, b"good".to_vec())));
    let told = told();
    assert_eq!((&told["gateway"], &told["is_silent"]), (&json!("gw-1"), &json!(false)));
    let line = &told["lines"][0];
    assert_eq!((&line["version"], &line["epoch"]), (&json!(1), &json!(1)));
    assert_eq!(line["refused"], json!({ "epoch": 2, "why": "it is broken" }));
    assert_eq!(line["released"], json!({ "epoch": 2, "version": 2 }));
    drop(follower);
    // Nor does it push out what is good.
    let (again, _follower) = From::node(&node).at(NOBODY).follow(home.path(), &["acme"]);
    assert_eq!(again.of("acme"), Some((1, b"good".to_vec())));
    let (epoch, _) = release(&node, "acme", b"better");
    let (notes, _follower) = From::node(&node).follow(home.path(), &["acme"]);
    notes.wait("acme", Some((epoch, b"better")));
}

#[test]
fn a_tenant_is_released_only_where_it_may_be() {
    let node = Node::start();
    let homes: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let (here, _follower) = From::node(&node).follow(homes[0].path(), &["acme"]);
    release(&node, "acme", b"one");
    here.wait("acme", Some((1, b"one")));
    let pages = |region: &str| {
        let token = fs::read_to_string(node.home.path().join("follower.token")).unwrap();
        let source = Http::new(VoterUrls::new(&node.url, &[]), Secret::new(token), None).unwrap();
        let scope = aegis_policy_follow::Scope {
            region: Region::parse(region).unwrap(),
            tenants: BTreeSet::new(),
        };
        let page = aegis_policy_follow::Source::page(&source, &scope, None).unwrap();
        aegis_identity::inspect(&page).unwrap().unverified_payload["releases"].clone()
    };
    assert_eq!(pages("us-east-1"), json!([]), "without a residency it stays at home");
    place(&node, "acme", &["us-east-1"]);
    here.wait("acme", None);
    assert_eq!(pages("us-east-1").as_array().unwrap().len(), 1);
    assert_eq!(fs::read_dir(homes[0].path()).unwrap().count(), 0, "nor is it kept");
    place(&node, "acme", &["us-east-1", "eu-west-1"]);
    here.wait("acme", Some((1, b"one")));
}

#[test]
fn an_older_epoch_is_refused_also_after_a_restart() {
    let node = Node::start();
    let home = tempfile::tempdir().unwrap();
    let (notes, follower) = From::node(&node).follow(home.path(), &["acme"]);
    for bundle in [b"one", b"two"] {
        let (epoch, _) = release(&node, "acme", bundle);
        notes.wait("acme", Some((epoch, bundle)));
    }
    drop(follower);
    // A node with the same key that was set back: it signs, but what it says is old.
    let fresh = Node::start();
    release(&fresh, "acme", b"old");
    place(&fresh, "other", &["eu-west-1"]);
    for bundle in 0..20 {
        release(&fresh, "other", &[bundle]);
    }
    let (notes, _follower) = From::node(&fresh).follow(home.path(), &["acme"]);
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(notes.of("acme"), Some((2, b"two".to_vec())));
}

#[test]
fn a_page_of_another_key_and_a_content_of_other_bytes_are_refused() {
    let node = Node::start();
    let home = tempfile::tempdir().unwrap();
    release(&node, "acme", b"one");
    let stranger = From { key: SigningKey::from_seed([1; 32]), ..From::node(&node) };
    let (notes, follower) = stranger.follow(home.path(), &["acme"]);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(notes.of("acme"), None);
    drop(follower);
    let (relay, tampers) = tampering(&node);
    let (notes, _follower) = From::node(&node).at(&relay).follow(home.path(), &["acme"]);
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(notes.of("acme"), None);
    assert!(*tampers.lock().unwrap() > 0, "a content went by");
}

/// Someone between follower and node, who changes contents on their way, and counts them.
fn tampering(node: &Node) -> (String, Arc<Mutex<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (to, tampers) = (node.url.strip_prefix("http://").unwrap().to_owned(), Arc::default());
    let count: Arc<Mutex<usize>> = Arc::clone(&tampers);
    std::thread::spawn(move || {
        for near in listener.incoming() {
            let (to, count) = (to.clone(), Arc::clone(&count));
            std::thread::spawn(move || relay(near.unwrap(), &to, &count));
        }
    });
    (url, tampers)
}

/// Passes one request on, and its answer back.
fn relay(mut near: TcpStream, to: &str, tampers: &Mutex<usize>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if near.read(&mut byte).unwrap_or(0) == 0 {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let is_content = head.contains("/v1/contents/");
    let mut far = TcpStream::connect(to).unwrap();
    far.write_all(head.replacen("\r\n", "\r\nconnection: close\r\n", 1).as_bytes()).unwrap();
    let mut answer = Vec::new();
    far.read_to_end(&mut answer).ok();
    if let (true, Some(last)) = (is_content, answer.last_mut()) {
        *last ^= 1;
        *tampers.lock().unwrap() += 1;
    }
    near.write_all(&answer).ok();
}
