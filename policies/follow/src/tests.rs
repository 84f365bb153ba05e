//! Pages and kept releases that one signature alone would let through: each check is met by a forgery that passes all others.
//!
//! Not here: following a real region (`control/tests`). Invariant: whatever is refused, what decides goes on deciding.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aegis_audit_chain::Hash;
use aegis_domain::{Region, TenantId, Timestamp};
use aegis_identity::{KeySet, SigningKey};
use aegis_ledger::{Choice, Environment, LineKey, Pointer};
use aegis_policy_rollout::Observed;
use aegis_registry::Actor;
use parking_lot::Mutex;

use crate::{
    FollowConfig, Follower, Installer, Page, RELEASE_TYPE, RELEASES_TYPE, Ready, Release, Report,
    Scope, Source, SourceError, Statement, written,
};

const BUNDLE: &[u8] = b"a bundle";

fn region(name: &str) -> Region {
    Region::parse(name).unwrap()
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed([seed; 32])
}

fn line() -> LineKey {
    let environment = Environment::parse("prod").unwrap();
    LineKey { tenant: TenantId::parse("acme").unwrap(), environment }
}

fn statement(epoch: u64) -> Statement {
    let (choice, by) = (Choice { active: 1, shadow: None }, Actor::parse("tester").unwrap());
    let at = Timestamp::from_unix_s(1);
    let pointer = Pointer { epoch, choice, rollout: None, is_pinned: false, by, at };
    let bundles = BTreeMap::from([(1, Hash::of(BUNDLE))]);
    let (region, author) = (region("eu-west-1"), None);
    Statement { region, revision: 5, line: line(), pointer, bundles, author }
}

fn signed(by: &SigningKey, statement: &Statement) -> String {
    by.sign(RELEASE_TYPE, &serde_json::to_vec(statement).unwrap())
}

/// A page that says everything, or that a line is gone where it lists none.
fn page(by: &SigningKey, (of, revision): (&str, u64), releases: Vec<String>) -> String {
    let gone = if releases.is_empty() { vec![line()] } else { Vec::new() };
    let page = Page { region: region(of), at_s: 1, revision, after: None, releases, gone };
    by.sign(RELEASES_TYPE, &serde_json::to_vec(&page).unwrap())
}

/// Gives the same page again and again, and counts how often it was asked for one.
#[derive(Default)]
struct Voter {
    page: Mutex<String>,
    asked: Mutex<u64>,
}

impl Voter {
    /// Returns once what it says was asked for and judged.
    fn says(&self, page: String) {
        *self.page.lock() = page;
        let (before, begun) = (*self.asked.lock(), Instant::now());
        while *self.asked.lock() < before + 3 {
            assert!(begun.elapsed() < Duration::from_secs(20), "nobody asks");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Source for Voter {
    fn page(&self, _: &Scope, _: Option<u64>) -> Result<String, SourceError> {
        std::thread::sleep(Duration::from_millis(5));
        *self.asked.lock() += 1;
        Ok(self.page.lock().clone())
    }

    fn content(&self, _: Hash) -> Result<Vec<u8>, SourceError> {
        Ok(BUNDLE.to_vec())
    }

    fn report(&self, _: &str, _: &Report) -> Result<(), SourceError> {
        Ok(())
    }
}

/// Takes whatever is believed.
#[derive(Default)]
struct Decides(Arc<Mutex<Option<u64>>>);

impl Installer for Decides {
    fn clear(&self, release: &Release) -> Result<Ready, String> {
        let (decides, epoch) = (Arc::clone(&self.0), release.statement().pointer.epoch);
        Ok(Box::new(move || *decides.lock() = Some(epoch)))
    }

    fn withdraw(&self, _: &LineKey) {
        *self.0.lock() = None;
    }

    fn observed(&self, _: &LineKey) -> Option<Observed> {
        None
    }
}

fn follow(voter: &Arc<Voter>, home: &Path) -> (Arc<Mutex<Option<u64>>>, Follower) {
    let config = FollowConfig {
        gateway: "gw".to_owned(),
        build: "test".to_owned(),
        region: region("eu-west-1"),
        region_keys: KeySet::default().with(key(1).public_key().clone()).unwrap(),
        lines: [line()].into(),
        directory: home.to_owned(),
        export: None,
    };
    let installer = Decides::default();
    let decides = Arc::clone(&installer.0);
    let source: Arc<dyn Source> = Arc::<Voter>::clone(voter);
    (decides, Follower::start(config, source, Arc::new(installer)).unwrap())
}

#[test]
fn no_page_of_a_stranger_or_for_another_region_or_of_before_takes_a_release_away() {
    let (voter, home) = (Arc::new(Voter::default()), tempfile::tempdir().unwrap());
    let (decides, _follower) = follow(&voter, home.path());
    let release = signed(&key(1), &statement(1));
    voter.says(page(&key(1), ("eu-west-1", 5), vec![release]));
    assert_eq!(*decides.lock(), Some(1));
    for (what, forged) in [
        ("a stranger's", page(&key(2), ("eu-west-1", 9), Vec::new())),
        ("for another region", page(&key(1), ("us-east-1", 9), Vec::new())),
        ("of before", page(&key(1), ("eu-west-1", 4), Vec::new())),
    ] {
        voter.says(forged);
        assert_eq!(*decides.lock(), Some(1), "{what}");
    }
    voter.says(page(&key(1), ("eu-west-1", 9), Vec::new()));
    assert_eq!(*decides.lock(), None, "the region itself takes it away");
}

#[test]
fn a_statement_of_a_stranger_decides_neither_from_a_good_page_nor_from_the_disk() {
    let (voter, home) = (Arc::new(Voter::default()), tempfile::tempdir().unwrap());
    let forged = signed(&key(2), &statement(7));
    let (decides, follower) = follow(&voter, home.path());
    voter.says(page(&key(1), ("eu-west-1", 5), vec![forged.clone()]));
    assert_eq!(*decides.lock(), None);
    let good = signed(&key(1), &statement(1));
    voter.says(page(&key(1), ("eu-west-1", 5), vec![good]));
    assert_eq!(*decides.lock(), Some(1));
    drop(follower);

    let mut kept = std::fs::read_dir(home.path()).unwrap().map(|it| it.unwrap().path());
    let kept = kept.find(|path| path.extension().is_some_and(|it| it == "release")).unwrap();
    std::fs::write(&kept, written(&forged, 1, &[BUNDLE.to_vec()])).unwrap();
    let silent = Arc::new(Voter::default());
    let (decides, _follower) = follow(&silent, home.path());
    assert_eq!(*decides.lock(), None);
    assert!(kept.with_extension("refused").exists(), "it can be looked at");
}
