//! Key sets that fail to come, and pages that were torn.
//!
//! Not here: following a real region (`control/tests`). Invariant: issuers are real sockets on loopback.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aegis_domain::{Jti, Secret, TenantId, Timestamp, ToolName, VoterUrls};
use aegis_identity::{KeySet, SigningKey};
use aegis_registry::{
    Actor, Change, Defined, Definition, DefinitionText, Definitions, Event, Part as DefinedPart,
    Revocation, Target, View,
};

use crate::feed::Part;
use crate::fetch::Fetch;
use crate::keep::Keep;
use crate::{
    DEFINITIONS_TYPE, FEED_TYPE, FeedConfig, FetchError, Follower, KeySource, KeySources, Page,
};

/// An issuer that answers every request with what it is told to, and counts them.
#[derive(Clone)]
struct Issuer {
    url: String,
    answer: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    fn start(answer: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/jwks", listener.local_addr().unwrap());
        let issuer = Self { url, answer: Arc::new(Mutex::new(answer)), asked: Arc::default() };
        let own = issuer.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let mut socket = socket.unwrap();
                let lines = BufReader::new(socket.try_clone().unwrap()).lines();
                lines.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
                own.asked.fetch_add(1, Ordering::SeqCst);
                let answer = own.answer.lock().unwrap().clone();
                socket.write_all(answer.as_bytes()).ok();
            }
        });
        issuer
    }

    fn says(&self, answer: String) {
        *self.answer.lock().unwrap() = answer;
    }

    fn source(&self) -> (KeySource, bool) {
        (KeySource::Url { url: self.url.clone(), ca: None }, false)
    }
}

fn http(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

fn keys(seed: u8) -> String {
    KeySet::default()
        .with(SigningKey::from_seed([seed; 32]).public_key().clone())
        .unwrap()
        .to_jwks_json()
}

fn wait(wanted: impl Fn() -> bool) {
    let begun = Instant::now();
    while !wanted() {
        assert!(begun.elapsed() < Duration::from_secs(10), "it never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn held(sources: &KeySources) -> Option<String> {
    sources.current().first().and_then(|set| set.as_ref().map(KeySet::to_jwks_json))
}

#[test]
fn keys_are_refreshed_and_stay_while_the_issuer_fails() {
    let issuer = Issuer::start(http("200 OK", &keys(1)));
    let sources = KeySources::start(vec![issuer.source()], Duration::from_millis(20));
    wait(|| held(&sources) == Some(keys(1)));
    for broken in [
        http("500 Internal Server Error", &keys(9)),
        http("200 OK", "{\"keys\": 1}"),
        http("200 OK", &"x".repeat(70_000)),
        String::new(),
    ] {
        issuer.says(broken);
        let asked = issuer.asked.load(Ordering::SeqCst);
        wait(|| issuer.asked.load(Ordering::SeqCst) > asked + 1);
        assert_eq!(held(&sources), Some(keys(1)));
    }
    issuer.says(http("200 OK", &keys(2)));
    wait(|| held(&sources) == Some(keys(2)));
    issuer.says(http("200 OK", "{\"keys\":[]}"));
    wait(|| sources.current()[0].as_ref().is_some_and(KeySet::is_empty));
}

#[test]
fn an_issuer_cannot_send_the_reader_elsewhere() {
    let elsewhere = Issuer::start(http("200 OK", &keys(1)));
    let location = format!("302 Found\r\nlocation: {}", elsewhere.url);
    let issuer = Issuer::start(http(&location, ""));
    let fetch = Fetch::new(None, Duration::from_secs(5), 1_000).unwrap();
    assert!(matches!(
        fetch.get(&issuer.url, None),
        Err(FetchError::Status(302) | FetchError::Http(_))
    ));
    assert_eq!(elsewhere.asked.load(Ordering::SeqCst), 0);
}

#[test]
fn a_page_that_a_crash_tore_is_cut_off_at_every_byte() {
    let home = tempfile::tempdir().unwrap();
    let mut keep = Keep::open(home.path(), "registry").unwrap();
    keep.add("first", Part::Whole).unwrap();
    keep.add("second", Part::More).unwrap();
    let file = home.path().join("registry.pages");
    let bytes = fs::read(&file).unwrap();
    for cut in 0..=bytes.len() {
        fs::write(&file, &bytes[..cut]).unwrap();
        let mut keep = Keep::open(home.path(), "registry").unwrap();
        let whole = bytes[..cut].iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(keep.read().unwrap(), ["first", "second"][..whole], "cut at {cut}");
        keep.add("third", Part::More).unwrap();
        let again = Keep::open(home.path(), "registry").unwrap().read().unwrap();
        assert_eq!(again.last().unwrap(), "third", "cut at {cut}");
    }
}

#[test]
fn an_answer_without_news_is_kept_every_minute_so_that_a_restart_knows_when_it_last_heard() {
    const BEGAN_S: u64 = 1_800_000_000;
    let region = SigningKey::from_seed([7; 32]);
    let page = |page: &Page| {
        let signed = region.sign(FEED_TYPE, serde_json::to_string(page).unwrap().as_bytes());
        http("200 OK", &signed)
    };
    let quiet = |at_s| {
        page(&Page::Events { issuer: "https://a".into(), at_s, after: 0, events: Vec::new() })
    };
    let whole = Page::Whole { issuer: "https://a".into(), at_s: BEGAN_S, view: Box::default() };
    let feed = Issuer::start(page(&whole));
    let home = tempfile::tempdir().unwrap();
    let follow = |url: &str| {
        let config = FeedConfig {
            voters: VoterUrls::new(url, &[]),
            token: Secret::new("t".to_owned()),
            ca: None,
            issuer: "https://a".into(),
            region_keys: KeySet::default().with(region.public_key().clone()).unwrap(),
            directory: home.path().to_owned(),
        };
        Follower::<View>::start(config).unwrap()
    };
    let follower = follow(&feed.url);
    let hears = |s: u64| wait(|| follower.heard_at() == Some(Timestamp::from_unix_s(BEGAN_S + s)));
    hears(0);
    for s in [59, 60, 100] {
        feed.says(quiet(BEGAN_S + s));
        hears(s);
    }
    drop(follower);
    let again = follow("http://127.0.0.1:1");
    assert_eq!(again.heard_at(), Some(Timestamp::from_unix_s(BEGAN_S + 60)));
    let pages = fs::read_to_string(home.path().join("registry.pages")).unwrap();
    assert_eq!(pages.lines().count(), 2);
}

/// A registry that revoked the tokens of so many, of tenant `acme`.
fn revoked(count: u64) -> Vec<Event> {
    let revoke = |serial| {
        let tenant = TenantId::parse("acme").unwrap();
        let jti = Jti::parse(&format!("jti-{serial}")).unwrap();
        let before = Timestamp::from_unix_s(1_800_000_000 + serial);
        let target = Target::Token { tenant, jti };
        let changes = vec![Change::Revoked(Revocation { target, before, until: None })];
        Event { serial, at: before, by: Actor::parse("tester").unwrap(), changes }
    };
    (1..=count).map(revoke).collect()
}

/// What it is to those who follow it.
fn viewed(count: u64) -> View {
    let mut view = View::default();
    revoked(count).iter().for_each(|event| view.apply(event).unwrap());
    view
}

const REGION: &str = "https://a";
/// When pages are from that are never old.
const LATER_S: u64 = 1 << 33;

fn whole(issuer: &str, count: u64) -> Page {
    Page::Whole { issuer: issuer.into(), at_s: LATER_S, view: Box::new(viewed(count)) }
}

/// What the last of `count` revocations is to whoever holds `after`.
fn more(issuer: &str, after: u64, count: u64) -> Page {
    let skipped = usize::try_from(after).unwrap();
    let events = revoked(count).split_off(skipped);
    Page::Events { issuer: issuer.into(), at_s: LATER_S, after, events }
}

fn signed(seed: u8, page: &Page) -> String {
    let text = serde_json::to_string(page).unwrap();
    http("200 OK", &SigningKey::from_seed([seed; 32]).sign(FEED_TYPE, text.as_bytes()))
}

/// A follower, and the number of revocations that each view held which it handed on.
fn follow(url: &str, home: &Path) -> (Follower, Arc<Mutex<Vec<usize>>>) {
    let config = FeedConfig {
        voters: VoterUrls::new(url, &[]),
        token: Secret::new("t".to_owned()),
        ca: None,
        issuer: REGION.into(),
        region_keys: KeySet::from_jwks(keys(7).as_bytes()).unwrap(),
        directory: home.to_owned(),
    };
    let told = Arc::<Mutex<Vec<usize>>>::default();
    let tells = Arc::clone(&told);
    let tell = move |view: &View| tells.lock().unwrap().push(view.revocation_count());
    (Follower::start_telling(config, tell).unwrap(), told)
}

/// What the region took back meanwhile is not known, however early this machine now says it is.
#[test]
fn a_clock_that_is_set_back_does_not_make_a_silent_region_heard() {
    let (home, begun) = (tempfile::tempdir().unwrap(), Instant::now());
    let feed = Issuer::start(signed(7, &whole(REGION, 2)));
    let (follower, _) = follow(&feed.url, home.path());
    wait(|| follower.view().revocation_count() == 2);
    feed.says(http("503 No Quorum", ""));
    let asked = feed.asked.load(Ordering::SeqCst);
    wait(|| feed.asked.load(Ordering::SeqCst) > asked + 1);
    let fell_silent = Instant::now();
    std::thread::sleep(Duration::from_millis(300));
    let set_back = Timestamp::from_unix_s(1);
    let silent = follower.silent_for(set_back);
    assert!(silent >= Duration::from_millis(300), "{silent:?} of {:?}", fell_silent.elapsed());
    assert!(silent <= begun.elapsed(), "{silent:?} of {:?}", begun.elapsed());

    // One that is set ahead is believed, for the machine may have stood still.
    let tomorrow = Timestamp::from_unix_s(1 << 33);
    assert!(follower.silent_for(tomorrow) > Duration::from_secs(86_400));
    feed.says(signed(7, &whole(REGION, 2)));
    wait(|| follower.silent_for(set_back) < Duration::from_millis(300));
}

/// What was taken back since then it does not know, and no more does who begins with what it says.
#[test]
fn what_a_voter_without_a_quorum_says_is_as_old_as_its_last_word_from_one() {
    let home = tempfile::tempdir().unwrap();
    let now_s = || {
        let now = std::time::SystemTime::now();
        now.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap().as_secs()
    };
    let said = |at_s| {
        let view = Box::new(viewed(2));
        signed(7, &Page::Whole { issuer: REGION.into(), at_s, view })
    };
    let silent_s =
        |follower: &Follower| follower.silent_for(Timestamp::from_unix_s(now_s())).as_secs();
    let feed = Issuer::start(said(now_s() - 600));
    let (follower, _) = follow(&feed.url, home.path());
    wait(|| follower.view().revocation_count() == 2);
    assert!((600..660).contains(&silent_s(&follower)), "{}", silent_s(&follower));
    // Also by the clock that nobody sets.
    let set_back = Timestamp::from_unix_s(1);
    assert!(follower.silent_for(set_back) >= Duration::from_secs(600));

    feed.says(signed(7, &more(REGION, 2, 2)));
    wait(|| silent_s(&follower) < 60);
    // Once the region is heard, an older word of it does not count.
    feed.says(said(now_s() - 600));
    let asked = feed.asked.load(Ordering::SeqCst);
    wait(|| feed.asked.load(Ordering::SeqCst) > asked + 2);
    assert!(silent_s(&follower) < 60);
    drop(follower);

    // A voter's clock may be a little behind.
    let feed = Issuer::start(said(now_s() - 10));
    let elsewhere = tempfile::tempdir().unwrap();
    let (follower, _) = follow(&feed.url, elsewhere.path());
    wait(|| silent_s(&follower) < 10);
}

#[test]
fn a_page_that_is_wrong_in_one_thing_alone_is_neither_shown_nor_kept_and_the_next_good_one_is() {
    let home = tempfile::tempdir().unwrap();
    let feed = Issuer::start(signed(7, &whole(REGION, 2)));
    let (mut follower, mut told) = follow(&feed.url, home.path());
    wait(|| follower.view().revocation_count() == 2);
    for (what, forged) in [
        ("a stranger's", signed(8, &whole(REGION, 3))),
        ("another region's", signed(7, &whole("https://b", 3))),
        ("news of another region's", signed(7, &more("https://b", 2, 3))),
        ("of before", signed(7, &whole(REGION, 1))),
        ("leading on from later", signed(7, &more(REGION, 3, 4))),
        ("leading on from before", signed(7, &more(REGION, 1, 3))),
    ] {
        feed.says(forged);
        // One that begins anew asks again sooner.
        drop(follower);
        (follower, told) = follow(&feed.url, home.path());
        let asked = feed.asked.load(Ordering::SeqCst);
        wait(|| feed.asked.load(Ordering::SeqCst) > asked + 2);
        assert_eq!(*follower.view(), viewed(2), "{what}");
    }
    // After all that failed, nothing of what is good is missed.
    feed.says(signed(7, &more(REGION, 2, 3)));
    wait(|| follower.view().revocation_count() == 3);
    assert_eq!(told.lock().unwrap().last(), Some(&3), "whoever decides hears of it too");
    drop(follower);
    let (again, _) = follow("http://127.0.0.1:1", home.path());
    assert_eq!(*again.view(), viewed(3), "it is on disk");
}

/// The only tool of the region, as its event of that number defines it, or withdraws it.
fn defined(serial: u64, text: Option<&str>) -> Event {
    let tenant = TenantId::parse("acme").unwrap();
    let of = Defined { tenant, part: DefinedPart::Tool(ToolName::parse("pay").unwrap()) };
    let (at, by) = (Timestamp::from_unix_s(1_800_000_000), Actor::parse("tester").unwrap());
    let change = match text {
        None => Change::DefinitionGone(of),
        Some(text) => {
            let text = DefinitionText::parse(text).unwrap();
            let by = by.clone();
            Change::Definition(Box::new(Definition { of, text, by, at, changed: serial }))
        }
    };
    Event { serial, at, by, changes: vec![change] }
}

fn texts(definitions: &Definitions) -> Vec<String> {
    definitions.iter().map(|it| it.text.as_str().to_owned()).collect()
}

#[test]
fn definitions_are_followed_by_pages_of_their_own_and_are_on_disk() {
    let home = tempfile::tempdir().unwrap();
    let page = |kind: &str, page: &Page<Definitions>| {
        let text = serde_json::to_string(page).unwrap();
        http("200 OK", &SigningKey::from_seed([7; 32]).sign(kind, text.as_bytes()))
    };
    let more = |after, event| {
        let (issuer, at_s) = (REGION.to_owned(), 1_800_000_000);
        Page::Events { issuer, at_s, after, events: vec![event] }
    };
    let (issuer, view) = (REGION.to_owned(), Box::<Definitions>::default());
    let whole = Page::Whole { issuer, at_s: 1_800_000_000, view };
    let feed = Issuer::start(page(DEFINITIONS_TYPE, &whole));
    let follow = |url: &str| {
        let config = FeedConfig {
            voters: VoterUrls::new(url, &[]),
            token: Secret::new("t".to_owned()),
            ca: None,
            issuer: REGION.into(),
            region_keys: KeySet::from_jwks(keys(7).as_bytes()).unwrap(),
            directory: home.path().to_owned(),
        };
        Follower::<Definitions>::start(config).unwrap()
    };
    let follower = follow(&feed.url);
    wait(|| follower.heard_at().is_some());
    // A page of the registry is none of definitions, whatever it says.
    feed.says(page(FEED_TYPE, &more(0, defined(1, Some("a")))));
    let asked = feed.asked.load(Ordering::SeqCst);
    wait(|| feed.asked.load(Ordering::SeqCst) > asked + 2);
    assert_eq!(texts(&follower.view()), [""; 0]);
    feed.says(page(DEFINITIONS_TYPE, &more(0, defined(1, Some("a")))));
    wait(|| texts(&follower.view()) == ["a"]);
    feed.says(page(DEFINITIONS_TYPE, &more(1, defined(2, Some("b")))));
    wait(|| texts(&follower.view()) == ["b"]);
    drop(follower);
    assert_eq!(texts(&follow("http://127.0.0.1:1").view()), ["b"]);
    let follower = follow(&feed.url);
    feed.says(page(DEFINITIONS_TYPE, &more(2, defined(3, None))));
    wait(|| follower.view().serial() == 3);
    assert_eq!(texts(&follower.view()), [""; 0]);
}

#[test]
fn pages_of_definitions_are_spelt_as_their_specification_shows() {
    let spec = include_str!("../../../docs/spec/definitions.md");
    let shown: Vec<_> = spec.lines().filter(|line| line.starts_with('{')).collect();
    assert_eq!(shown.len(), 2);
    let mut held = Definitions::default();
    for line in shown {
        let page: Page<Definitions> = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_string(&page).unwrap(), line);
        match page {
            Page::Whole { view, .. } => held = *view,
            Page::Events { after, events, .. } => {
                assert_eq!(after, held.serial());
                events.iter().for_each(|event| held.apply(event).unwrap());
            }
        }
    }
    assert_eq!(texts(&held), ["upstream: https://crm.example.com\n"]);
}
