//! Following: a gateway hears of a change within two seconds, knows it again after a start with nobody reachable, and
//! believes nothing that the region did not sign.
//!
//! Not here: what a gateway does with it. Invariant: followers and nodes are real and talk over sockets.

use std::path::Path;
use std::time::{Duration, Instant};

use aegis_control_client::Conditions;
use aegis_domain::{AgentId, BudgetKey, Secret, TenantId, Timestamp, VoterUrls};
use aegis_follow::{FeedConfig, Followed, Follower, SILENCE_MAX};
use aegis_identity::{KeySet, Revocations, SigningKey};
use aegis_registry::{Definitions, Standing, Target, View};
use serde_json::json;

use crate::node::{Node, region_key};

fn follow(node: &Node, url: &str, directory: &Path, region: &SigningKey) -> Follower {
    following(node, url, directory, region)
}

fn following<V: Followed>(
    node: &Node,
    url: &str,
    directory: &Path,
    region: &SigningKey,
) -> Follower<V> {
    let token = std::fs::read_to_string(node.home.path().join("follower.token")).unwrap();
    let config = FeedConfig {
        voters: VoterUrls::new(url, &[]),
        token: Secret::new(token),
        ca: None,
        issuer: node.url.clone(),
        region_keys: KeySet::default().with(region.public_key().clone()).unwrap(),
        directory: directory.to_owned(),
    };
    Follower::start(config).unwrap()
}

/// Waits until the follower's view is as wanted; how long that took.
fn wait<V: Followed>(follower: &Follower<V>, wanted: impl Fn(&V) -> bool) -> Duration {
    let begun = Instant::now();
    while !wanted(&follower.view()) {
        assert!(begun.elapsed() < Duration::from_secs(20), "the follower never heard of it");
        std::thread::sleep(Duration::from_millis(5));
    }
    begun.elapsed()
}

fn standing(view: &View) -> Option<Standing> {
    let (tenant, agent) = (TenantId::parse("acme").unwrap(), AgentId::parse("bot").unwrap());
    view.agent(&tenant, &agent).map(|agent| agent.standing)
}

#[test]
fn followers_hear_of_a_change_and_know_it_after_a_start_with_nobody_reachable() {
    let node = Node::start();
    let kept: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let followers: Vec<_> =
        kept.iter().map(|home| follow(&node, &node.url, home.path(), &region_key())).collect();
    node.agent("bot", 1, json!({}));
    for follower in &followers {
        wait(follower, |view| standing(view) == Some(Standing::Active));
    }
    node.post("/v1/agents/acme/bot/disable", json!({})).unwrap();
    node.post("/v1/revocations", json!({ "tenant": { "id": "acme" } })).unwrap();
    let revoked = Target::Tenant(TenantId::parse("acme").unwrap());
    let took: Vec<_> =
        followers.iter().map(|it| wait(it, |view| view.revocation(&revoked).is_some())).collect();
    println!("three followers heard of a revocation after {took:?}");
    let serial = followers[0].view().serial();
    drop(followers);

    for home in &kept {
        let follower = follow(&node, "http://127.0.0.1:1", home.path(), &region_key());
        let view = follower.view();
        assert_eq!((view.serial(), standing(&view)), (serial, Some(Standing::Disabled)));
        assert!(view.revocation(&revoked).is_some());
        assert!(follower.heard_at().is_some());
    }
}

#[test]
fn a_region_that_falls_silent_is_believed_for_a_day_and_what_it_revoked_for_good() {
    // Arrange: a follower that knows an agent, a key and revocations, and a region that is gone.
    let node = Node::start();
    let home = tempfile::tempdir().unwrap();
    node.agent("bot", 1, json!({}));
    let follower = follow(&node, &node.url, home.path(), &region_key());
    node.post("/v1/revocations", json!({ "tenant": { "id": "acme" } })).unwrap();
    let revoked = Target::Tenant(TenantId::parse("acme").unwrap());
    wait(&follower, |view| view.revocation(&revoked).is_some());
    let heard = follower.heard_at().unwrap();
    let gone = follow(&node, "http://127.0.0.1:1", home.path(), &region_key());
    let issuer = node.url.clone();
    drop(follower);
    drop(node);

    // Act and assert: by clocks that are right, stepped either way, and far on.
    let counts = |after_s: i64| {
        let now = heard.unix_s().checked_add_signed(after_s).unwrap();
        gone.is_believed(Timestamp::from_unix_s(now))
    };
    let day = i64::try_from(SILENCE_MAX.s_ceil()).unwrap();
    for (after_s, believed) in
        [(-600, true), (0, true), (600, true), (day - 1, true), (day, false), (10 * day, false)]
    {
        assert_eq!(counts(after_s), believed, "{after_s} s after {issuer} was last heard of");
    }
    let view = gone.view();
    assert!(view.revocation(&revoked).is_some());
    assert_ne!(view.taken_back().unwrap(), Revocations::default());
    assert_eq!(standing(&view), Some(Standing::Active));
}

#[test]
fn enrolment_codes_do_not_leave_in_the_feed() {
    let node = Node::start();
    let home = tempfile::tempdir().unwrap();
    let follower = follow(&node, &node.url, home.path(), &region_key());
    node.register("bot", json!({}));
    wait(&follower, |view| standing(view).is_some());
    let pages = std::fs::read_to_string(home.path().join("registry.pages")).unwrap();
    let payloads = pages
        .lines()
        .map(|page| format!("{:?}", aegis_identity::inspect(page).unwrap().unverified_payload));
    assert!(payloads.clone().any(|page| page.contains("bot")));
    assert!(!payloads.collect::<String>().contains("code"));
}

#[test]
fn followers_hear_of_the_limits_of_budgets() {
    let node = Node::start();
    let home = tempfile::tempdir().unwrap();
    let follower = follow(&node, &node.url, home.path(), &region_key());
    let key = BudgetKey::parse(TenantId::parse("acme").unwrap(), "team:ops/24h").unwrap();
    let limit = |view: &View| view.budget(&key).map(|budget| budget.terms.limit.micro_usd());
    let (path, any) = ("/v1/tenants/acme/budgets/team%3Aops%2F24h", Conditions::default());
    node.admin.put(path, &json!({ "limit_microusd": 7 }), &any).unwrap();
    wait(&follower, |view| limit(view) == Some(7));
    node.admin.delete(path, &any).unwrap();
    wait(&follower, |view| view.serial() > 1 && limit(view).is_none());
}

#[test]
fn a_page_of_another_key_is_never_shown() {
    let node = Node::start();
    let home = tempfile::tempdir().unwrap();
    let follower = follow(&node, &node.url, home.path(), &SigningKey::from_seed([1; 32]));
    node.register("bot", json!({}));
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(follower.view().serial(), 0);
    assert_eq!(follower.heard_at(), None);
}

#[test]
fn what_was_kept_and_tampered_with_is_set_aside() {
    let node = Node::start();
    let home = tempfile::tempdir().unwrap();
    let follower = follow(&node, &node.url, home.path(), &region_key());
    node.register("bot", json!({}));
    wait(&follower, |view| standing(view).is_some());
    drop(follower);
    let file = home.path().join("registry.pages");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let follower = follow(&node, "http://127.0.0.1:1", home.path(), &region_key());
    assert_eq!(follower.view().serial(), 0);
    assert!(home.path().join("registry.refused").exists());
    drop(follower);
    let follower = follow(&node, &node.url, home.path(), &region_key());
    wait(&follower, |view| standing(view).is_some());
}

#[test]
fn a_node_that_was_set_back_is_not_followed_back() {
    let node = Node::start();
    let home = tempfile::tempdir().unwrap();
    node.register("bot", json!({}));
    let follower = follow(&node, &node.url, home.path(), &region_key());
    wait(&follower, |view| standing(view).is_some());
    let serial = follower.view().serial();
    drop(follower);
    let fresh = Node::start();
    // The fresh node calls itself otherwise, but is as far behind as one restored from an old copy.
    let ahead = fresh.admin.get(&format!("/v1/feed?after={}", serial + 5));
    assert_eq!(crate::node::refusal(ahead), (409, "rewound".into()));
}

#[test]
fn followers_of_definitions_hear_of_each_change_and_know_it_after_a_start_with_nobody_reachable() {
    let node = Node::start();
    let home = tempfile::tempdir().unwrap();
    let define = |text: &str| {
        let (path, body) = ("/v1/tenants/acme/tools/pay", json!({ "text": text }));
        node.admin.put(path, &body, &Conditions::default()).unwrap();
    };
    let texts =
        |all: &Definitions| all.iter().map(|it| it.text.as_str().to_owned()).collect::<Vec<_>>();
    let (plain, priced) = (
        "upstream: https://a.example\n",
        "upstream: https://a.example\nprice: { per_call_usd: '1' }\n",
    );
    define(plain);
    let follower: Follower<Definitions> = following(&node, &node.url, home.path(), &region_key());
    let registry: Follower = follow(&node, &node.url, home.path(), &region_key());
    wait(&follower, |it| texts(it) == [plain]);
    // What does not concern it moves it on all the same.
    node.agent("bot", 1, json!({}));
    define(priced);
    wait(&follower, |it| texts(it) == [priced]);
    wait(&registry, |it| it.serial() == follower.view().serial());
    drop((follower, registry));
    let gone = following::<Definitions>(&node, "http://127.0.0.1:1", home.path(), &region_key());
    assert_eq!(texts(&gone.view()), [priced]);
    drop(gone);
    node.admin.delete("/v1/tenants/acme/tools/pay", &Conditions::default()).unwrap();
    let follower: Follower<Definitions> = following(&node, &node.url, home.path(), &region_key());
    wait(&follower, |it| texts(it).is_empty());
    let stranger = tempfile::tempdir().unwrap();
    let wrong = SigningKey::from_seed([78; 32]);
    let deaf: Follower<Definitions> = following(&node, &node.url, stranger.path(), &wrong);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!((deaf.heard_at(), deaf.view().serial()), (None, 0));
}
