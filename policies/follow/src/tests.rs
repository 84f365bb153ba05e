//! Pages and kept releases that one signature alone would let through: each check is met by a forgery that passes all others.
//!
//! Not here: following a real region (`control/tests`). Invariant: whatever is refused, what decides goes on deciding.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
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

/// The epoch that decides, if any does.
type Decides = Arc<Mutex<Option<u64>>>;

/// Takes whatever is believed.
#[derive(Default)]
struct Taking {
    decides: Decides,
    /// A folder that is gone by the time a release is cleared.
    loses: Option<PathBuf>,
}

impl Installer for Taking {
    fn clear(&self, release: &Release) -> Result<Ready, String> {
        // Asked for again, it is gone already.
        self.loses.iter().for_each(|folder| drop(std::fs::remove_dir_all(folder)));
        let (decides, epoch) = (Arc::clone(&self.decides), release.statement().pointer.epoch);
        Ok(Box::new(move || *decides.lock() = Some(epoch)))
    }

    fn withdraw(&self, _: &LineKey) {
        *self.decides.lock() = None;
    }

    fn observed(&self, _: &LineKey) -> Option<Observed> {
        None
    }
}

fn follow(voter: &Arc<Voter>, home: &Path) -> (Decides, Follower) {
    following(voter, home, Taking::default())
}

fn following(voter: &Arc<Voter>, home: &Path, installer: Taking) -> (Decides, Follower) {
    following_lines(voter, (home, [line()].into()), installer)
}

fn following_lines(
    voter: &Arc<Voter>,
    (home, lines): (&Path, BTreeSet<LineKey>),
    installer: Taking,
) -> (Decides, Follower) {
    let config = FollowConfig {
        gateway: "gw".to_owned(),
        build: "test".to_owned(),
        region: region("eu-west-1"),
        region_keys: KeySet::default().with(key(1).public_key().clone()).unwrap(),
        lines,
        directory: home.to_owned(),
        export: None,
    };
    let decides = Arc::clone(&installer.decides);
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

/// The files of releases that are kept, the newest last.
fn kept(home: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(home).unwrap().map(|it| it.unwrap().path());
    let mut kept: Vec<_> =
        files.filter(|it| it.extension().is_some_and(|it| it == "release")).collect();
    kept.sort();
    kept
}

#[test]
fn no_statement_for_another_region_or_of_before_or_that_says_otherwise_decides() {
    let (voter, home) = (Arc::new(Voter::default()), tempfile::tempdir().unwrap());
    let (decides, _follower) = follow(&voter, home.path());
    voter.says(page(&key(1), ("eu-west-1", 5), vec![signed(&key(1), &statement(3))]));
    let (held, text) = (kept(home.path()), std::fs::read(&kept(home.path())[0]).unwrap());
    let abroad = Statement { region: region("us-east-1"), ..statement(4) };
    let mut otherwise = statement(3);
    otherwise.pointer.is_pinned = true;
    for (what, forged) in
        [("for another region", abroad), ("of before", statement(2)), ("otherwise", otherwise)]
    {
        voter.says(page(&key(1), ("eu-west-1", 9), vec![signed(&key(1), &forged)]));
        assert_eq!(*decides.lock(), Some(3), "{what}");
        assert_eq!(kept(home.path()), held, "{what}");
        assert_eq!(std::fs::read(&held[0]).unwrap(), text, "{what}");
    }
    voter.says(page(&key(1), ("eu-west-1", 9), vec![signed(&key(1), &statement(4))]));
    assert_eq!(*decides.lock(), Some(4));
}

#[test]
fn a_page_that_leads_on_from_what_is_not_held_takes_nothing_away() {
    let (voter, home) = (Arc::new(Voter::default()), tempfile::tempdir().unwrap());
    let (decides, _follower) = follow(&voter, home.path());
    voter.says(page(&key(1), ("eu-west-1", 5), vec![signed(&key(1), &statement(1))]));
    let more = |after| {
        let (region, releases, gone) = (region("eu-west-1"), Vec::new(), vec![line()]);
        let page = Page { region, at_s: 1, revision: 9, after: Some(after), releases, gone };
        key(1).sign(RELEASES_TYPE, &serde_json::to_vec(&page).unwrap())
    };
    for other in [4, 6] {
        voter.says(more(other));
        assert_eq!(*decides.lock(), Some(1), "after {other}");
    }
    voter.says(more(5));
    assert_eq!(*decides.lock(), None);
}

#[test]
fn what_is_released_no_more_decides_after_a_restart_no_more_either() {
    let (voter, home) = (Arc::new(Voter::default()), tempfile::tempdir().unwrap());
    let (decides, follower) = follow(&voter, home.path());
    for epoch in [1, 2] {
        let release = signed(&key(1), &statement(epoch));
        voter.says(page(&key(1), ("eu-west-1", 5 + epoch), vec![release]));
        assert_eq!(*decides.lock(), Some(epoch));
    }
    voter.says(page(&key(1), ("eu-west-1", 9), Vec::new()));
    drop(follower);
    let (decides, _follower) = follow(&Arc::new(Voter::default()), home.path());
    assert_eq!((*decides.lock(), kept(home.path())), (None, Vec::new()));
}

#[test]
fn a_line_that_is_not_taken_keeps_no_other_from_being_withdrawn() {
    let (voter, home) = (Arc::new(Voter::default()), tempfile::tempdir().unwrap());
    let other = LineKey { tenant: TenantId::parse("globex").unwrap(), ..line() };
    let of_other = |epoch| signed(&key(1), &Statement { line: other.clone(), ..statement(epoch) });
    let lines = [line(), other.clone()].into();
    let (_, follower) = following_lines(&voter, (home.path(), lines), Taking::default());
    let both = vec![signed(&key(1), &statement(1)), of_other(5)];
    voter.says(page(&key(1), ("eu-west-1", 5), both));
    assert_eq!(follower.missing(), []);
    // Where one cannot even be read, it may be the one that seems to be left out.
    voter.says(page(&key(1), ("eu-west-1", 6), vec![signed(&key(2), &statement(2))]));
    assert_eq!(follower.missing(), []);
    // Older than what is held, as of a region that was restored.
    voter.says(page(&key(1), ("eu-west-1", 7), vec![of_other(4)]));
    let missing: Vec<_> = follower.missing().into_iter().map(|(line, _)| line).collect();
    assert_eq!(missing, [line()]);
}

#[test]
fn what_cannot_be_kept_does_not_decide() {
    let (voter, home) = (Arc::new(Voter::default()), tempfile::tempdir().unwrap());
    let folder = home.path().join("releases");
    let losing = Taking { loses: Some(folder.clone()), ..Taking::default() };
    let (decides, _follower) = following(&voter, &folder, losing);
    voter.says(page(&key(1), ("eu-west-1", 5), vec![signed(&key(1), &statement(1))]));
    assert!(!folder.exists(), "it was cleared");
    assert_eq!(*decides.lock(), None);
}

#[test]
fn a_generation_of_which_a_crash_left_a_part_gives_way_to_the_one_before() {
    let (voter, home) = (Arc::new(Voter::default()), tempfile::tempdir().unwrap());
    let (_, follower) = follow(&voter, home.path());
    for epoch in [1, 2] {
        let release = signed(&key(1), &statement(epoch));
        voter.says(page(&key(1), ("eu-west-1", 5 + epoch), vec![release]));
    }
    drop(follower);
    let newest = kept(home.path()).pop().unwrap();
    let whole = std::fs::read(&newest).unwrap();
    let without = written(&signed(&key(1), &statement(2)), 1, &[]).into_bytes();
    let torn = (0..whole.len()).step_by(31).map(|cut| whole[..cut].to_vec());
    for part in torn.chain([without]) {
        std::fs::write(&newest, &part).unwrap();
        let (decides, _follower) = follow(&Arc::new(Voter::default()), home.path());
        assert_eq!(*decides.lock(), Some(1), "{} bytes of {}", part.len(), whole.len());
        assert!(!newest.exists(), "it is not read again");
    }
    std::fs::write(&newest, whole).unwrap();
    let (decides, _follower) = follow(&Arc::new(Voter::default()), home.path());
    assert_eq!(*decides.lock(), Some(2));
}
