//! How long an activation takes: from its answer to the last of four gateways that decides by it, and to the last of two hundred
//! that only fetch, check and keep it.
//!
//! Not here: how long voters take to agree (`testkit/voters`). Invariant: nothing fails on a figure; every activation is of a
//! version that nobody has seen before, and everyone follows over TLS through the gatehouse.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aegis_control_client::{Client, Conditions};
use aegis_domain::{Region, Secret, VoterUrls};
use aegis_identity::KeySet;
use aegis_ledger::LineKey;
use aegis_policy_follow::{FollowConfig, Follower, Http, Installer, Ready, Release};
use aegis_policy_rollout::Observed;
use serde_json::json;

use crate::people::{LINE, policy};
use crate::town::{Disks, Town};

const FOLLOWERS: usize = 200;
/// One that misses an activation is asked for no longer than this.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(4);

fn activations() -> u32 {
    std::env::var("AEGIS_ACTIVATIONS").ok().and_then(|count| count.parse().ok()).unwrap_or(30)
}

/// Takes every release, and says which it took last.
#[derive(Default)]
struct Taken(Arc<AtomicU64>);

impl Installer for Taken {
    fn clear(&self, release: &Release) -> Result<Ready, String> {
        let (held, epoch) = (Arc::clone(&self.0), release.statement().pointer.epoch);
        Ok(Box::new(move || held.store(epoch, Ordering::SeqCst)))
    }

    fn withdraw(&self, _: &LineKey) {}

    fn observed(&self, _: &LineKey) -> Option<Observed> {
        None
    }
}

/// Two hundred followers in this process, and what each took last.
fn followers(town: &Town, home: &Path, keys: &KeySet) -> Vec<(Follower, Arc<AtomicU64>)> {
    let follow = |number: usize| {
        let token = Secret::new(town.follower_token().to_owned());
        let ca = town.voters[0].house.authority().pem();
        let source =
            Http::new(VoterUrls::new(&town.gatehouse_url(), &[]), token, Some(ca)).unwrap();
        let taken = Taken::default();
        let held = Arc::clone(&taken.0);
        let config = FollowConfig {
            gateway: format!("follower-{number}"),
            build: "figures".to_owned(),
            region: Region::parse("eu-west-1").unwrap(),
            region_keys: keys.clone(),
            lines: BTreeSet::from([serde_json::from_value(
                json!({ "tenant": "acme", "environment": "test" }),
            )
            .unwrap()]),
            directory: home.join(number.to_string()),
            export: None,
        };
        (Follower::start(config, Arc::new(source), Arc::new(taken)).unwrap(), held)
    };
    (0..FOLLOWERS).map(follow).collect()
}

fn publish(client: &Client, number: u32) -> u32 {
    let files = json!({ "files": [{ "name": "acme.policy.yaml", "text": policy(number) }] });
    let pushed = client.post(&format!("{LINE}/versions"), &files, &Conditions::default()).unwrap();
    u32::try_from(pushed.body["version"].as_u64().unwrap()).unwrap()
}

/// The epoch it led to.
fn activate(client: &Client, active: u32) -> u64 {
    let conditions = Conditions { version: Some("*"), once: None };
    let put = client.put(&format!("{LINE}/pointer"), &json!({ "active": active }), &conditions);
    put.unwrap().body["epoch"].as_u64().unwrap()
}

async fn last_gateway(town: &Town, version: u32, begun: Instant) -> Duration {
    let decides = town.gateways.iter().map(async |house| {
        while house.metric("aegis_policy_version{tenant=\"acme\"}").await != u64::from(version) {
            assert!(begun.elapsed() < PATIENCE, "{}", house.stderr());
            tokio::time::sleep(LOOK_EVERY).await;
        }
        begun.elapsed()
    });
    futures::future::join_all(decides).await.into_iter().max().unwrap()
}

async fn last_follower(all: &[(Follower, Arc<AtomicU64>)], epoch: u64, begun: Instant) -> Duration {
    while all.iter().any(|(_, held)| held.load(Ordering::SeqCst) < epoch) {
        assert!(begun.elapsed() < PATIENCE, "a follower does not hear of epoch {epoch}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    begun.elapsed()
}

fn row(who: &str, mut took: Vec<Duration>) {
    took.sort();
    let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)].as_secs_f64();
    eprintln!("| {who} | {} | {:.2} | {:.2} | {:.2} |", took.len(), at(50), at(99), at(100));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "figures are for a quiet machine: `make voterfigures`"]
async fn figures() {
    let Some(town) = Town::found(3, Disks::Real).await else { return };
    let client = town.voters[town.leader().await].client();
    let mut alone = Vec::new();
    for number in 0..activations() {
        let version = publish(&client, 10_000 + number);
        activate(&client, version);
        alone.push(last_gateway(&town, version, Instant::now()).await);
    }
    let home = tempfile::tempdir().unwrap();
    let keys = town.voters[0].house.published_keys().await;
    let all = followers(&town, home.path(), &keys);
    let (mut gateways, mut followed) = (Vec::new(), Vec::new());
    for number in 0..activations() {
        let version = publish(&client, 20_000 + number);
        let epoch = activate(&client, version);
        let begun = Instant::now();
        let seen =
            futures::join!(last_gateway(&town, version, begun), last_follower(&all, epoch, begun));
        gateways.push(seen.0);
        followed.push(seen.1);
    }
    eprintln!("| from an activation's answer to the last of | times | P50 s | P99 s | most s |");
    row("4 gateways", alone);
    row("4 gateways beside 200 followers", gateways);
    row("200 followers", followed);
}
