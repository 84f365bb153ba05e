//! Following a region: a thread that asks for what changed, checks it, keeps it, and shows it.
//!
//! Not here: what a gateway does with the view. Invariant: the view only moves forward, by pages that the region signed;
//! what is shown is on disk, so a gateway that starts with nobody reachable knows what it knew.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use aegis_domain::{Secret, Timestamp, Ttl, VoterUrls};
use aegis_identity::{KeySet, TokenError, verify_jws_within};
use aegis_registry::{Event, RegistryError, View};
use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::fetch::{Fetch, FetchError};
use crate::followed::Followed;
use crate::keep::Keep;

/// Two hundred thousand agents at a kilobyte each.
const PAGE_BYTES_MAX: usize = 256 * 1_024 * 1_024;
/// Longer than the feed lets a question wait.
const TIMEOUT: Duration = Duration::from_secs(30);
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// For how long the region's keys count though nothing is heard of it: long enough to mend a region in, and an end to what a
/// key that leaked meanwhile can sign.
pub const SILENCE_MAX: Ttl = Ttl::from_s(24 * 60 * 60);
/// A page that says it is no older than this may be new, and its voter's clock behind.
const CLOCKS_APART_S: u64 = 30;
/// How much of that a restart may forget: an answer without news is kept this often.
const HEARD_KEPT_S: u64 = 60;

/// One answer of a feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Page<V = View> {
    /// Everything that was so then; what came since nobody can say who has no quorum.
    Whole { issuer: String, at_s: u64, view: Box<V> },
    /// What came after a serial; nothing, if nothing did.
    Events { issuer: String, at_s: u64, after: u64, events: Vec<Event> },
}

/// Why a page does not count.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    #[error("the page cannot be fetched")]
    Fetch(#[from] FetchError),
    #[error("the page is not signed by the region")]
    Signature(#[source] TokenError),
    #[error("the page cannot be read")]
    Content(#[source] serde_json::Error),
    #[error("the page is another region's")]
    Issuer,
    #[error("the page leads on from {after}, not from {held}")]
    Gap { after: u64, held: u64 },
    #[error("the page is older than what is held: {serial}, not {held}")]
    Older { serial: u64, held: u64 },
    #[error("an event does not follow")]
    Order(#[from] RegistryError),
    #[error("{} cannot be used", path.display())]
    File { path: PathBuf, source: std::io::Error },
}

/// Where to follow, and whom to believe.
#[derive(Debug)]
pub struct FeedConfig {
    /// The control API, as each voter serves it.
    pub voters: VoterUrls,
    /// The follower's token, which each of them takes.
    pub token: Secret<String>,
    /// In PEM, instead of the public authorities.
    pub ca: Option<String>,
    /// What pages must name, and the keys that sign them.
    pub issuer: String,
    pub region_keys: KeySet,
    /// Where the last known good is kept.
    pub directory: PathBuf,
}

/// What is followed as it was last heard of: a region's registry, unless it says otherwise. Dropping it ends the thread after
/// its question.
pub struct Follower<V = View> {
    shown: Arc<Shown<V>>,
    _stop: Sender<()>,
}

#[derive(Debug)]
struct Shown<V> {
    view: ArcSwap<V>,
    /// When the region last answered, by its own clock.
    heard_s: AtomicU64,
    /// As of when it answered last in this life, by this machine's clock.
    received_s: AtomicU64,
    silent: ArcSwap<Silent>,
}

impl<V> Shown<V> {
    /// Counts the silence anew, from as of when the answer was: not from earlier than an answer before it, and a page that is no
    /// older than clocks are apart is of now.
    fn answered(&self, now_s: u64, as_of_s: Option<u64>) {
        let old_s = now_s.saturating_sub(as_of_s.unwrap_or(now_s));
        let old = Duration::from_secs(if old_s > CLOCKS_APART_S { old_s } else { 0 });
        let is_first = self.received_s.load(Ordering::Relaxed) == 0;
        if is_first || old <= self.silent_for(Timestamp::from_unix_s(now_s)) {
            self.received_s.store(now_s.saturating_sub(old.as_secs()), Ordering::Relaxed);
            self.silent.store(Arc::new(Silent { since: Instant::now(), before: old }));
        }
    }

    fn silent_for(&self, now: Timestamp) -> Duration {
        let last_s = match self.received_s.load(Ordering::Relaxed) {
            0 => self.heard_s.load(Ordering::Relaxed),
            received_s => received_s,
        };
        let Silent { since, before } = **self.silent.load();
        let passed = since.elapsed().saturating_add(before);
        Duration::from_millis(now.since(Timestamp::from_unix_s(last_s)).ms()).max(passed)
    }
}

/// The same by a clock that nobody sets, or since this life began.
#[derive(Clone, Copy, Debug)]
struct Silent {
    since: Instant,
    /// How old the answer was by then.
    before: Duration,
}

impl<V: Followed> fmt::Debug for Follower<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "follower of the {} at {}", V::NAME, self.view().serial())
    }
}

impl<V: Followed> Follower<V> {
    /// Reads and checks what was kept, then follows. What was kept and does not check out is set aside and told of.
    pub fn start(config: FeedConfig) -> Result<Self, FeedError> {
        Self::start_telling(config, |_| {})
    }

    /// The same, and hands every view to `told`: what was kept at once, and what comes in before anyone can see it here.
    pub fn start_telling(
        config: FeedConfig,
        told: impl Fn(&V) + Send + 'static,
    ) -> Result<Self, FeedError> {
        let fetch = Fetch::new(config.ca.as_deref(), TIMEOUT, PAGE_BYTES_MAX as u64)?;
        let mut keep = Keep::open(&config.directory, V::NAME)?;
        let mut held = Held::<V>::default();
        let kept = keep.read()?;
        for line in &kept {
            if let Err(error) = held.take(line, &config) {
                let of = V::NAME;
                warn!(%error, of, "what was kept of the region does not check out and is set aside");
                held = Held::default();
                keep.set_aside()?;
                break;
            }
        }
        told(&held.view);
        let view = ArcSwap::from_pointee(held.view.clone());
        let shown = Arc::new(Shown {
            view,
            heard_s: AtomicU64::new(held.heard_s),
            received_s: AtomicU64::new(0),
            silent: ArcSwap::from_pointee(Silent { since: Instant::now(), before: Duration::ZERO }),
        });
        let (stop, stopped) = channel();
        let told = Box::new(told);
        let voters = Arc::new(config.voters.clone());
        let thread = Thread { voters, config, fetch, keep, held, shown: Arc::clone(&shown), told };
        let started =
            thread::Builder::new().name("aegis-feed".into()).spawn(move || thread.run(&stopped));
        started.map_err(|source| FeedError::File { path: "aegis-feed".into(), source })?;
        Ok(Self { shown, _stop: stop })
    }

    /// What is followed as it is known here.
    pub fn view(&self) -> Arc<V> {
        self.shown.view.load_full()
    }

    /// Whether tokens are still checked with the keys that the region had when it was last heard of: not once it was silent
    /// for `SILENCE_MAX`.
    pub fn is_believed(&self, now: Timestamp) -> bool {
        self.heard_at().is_some_and(|heard_at| now < heard_at.plus(SILENCE_MAX))
    }

    /// How long ago it was that what is held was all there is.
    ///
    /// By this machine's own clock where the region answered in this life: a voter's clock that is ahead must not make it younger.
    /// Nor must a clock that is set back here, so no less than what passed by one that cannot be set; that one may stand still
    /// where the machine does, so the other counts as well.
    pub fn silent_for(&self, now: Timestamp) -> Duration {
        self.shown.silent_for(now)
    }

    /// When the region last answered, by its clock; `None` if it never did, now or in an earlier life.
    pub fn heard_at(&self) -> Option<Timestamp> {
        let heard_s = self.shown.heard_s.load(Ordering::Relaxed);
        (heard_s > 0).then(|| Timestamp::from_unix_s(heard_s))
    }
}

/// What is held, before it is shown.
#[derive(Default)]
struct Held<V> {
    view: V,
    heard_s: u64,
    /// As of when the last page was, where its voter may have known no more for a while.
    as_of_s: Option<u64>,
    /// The same as of the last page on disk.
    kept_s: u64,
    /// Whether it holds anything; an empty registry is something.
    any: bool,
}

impl<V: Followed> Held<V> {
    /// Checks a page and moves on by it; says what it was to what was held, if it changed
    /// anything.
    fn take(&mut self, page: &str, config: &FeedConfig) -> Result<Option<Part>, FeedError> {
        let payload = verify_jws_within(page, V::TYPE, &config.region_keys, PAGE_BYTES_MAX);
        let payload = payload.map_err(FeedError::Signature)?;
        let page: Page<V> = serde_json::from_slice(&payload).map_err(FeedError::Content)?;
        let held = self.view.serial();
        let as_of_s = match page {
            Page::Whole { at_s, .. } => Some(at_s),
            Page::Events { .. } => None,
        };
        let (at_s, changed) = match page {
            Page::Whole { issuer, .. } | Page::Events { issuer, .. } if issuer != config.issuer => {
                return Err(FeedError::Issuer);
            }
            Page::Whole { view, .. } if view.serial() < held => {
                return Err(FeedError::Older { serial: view.serial(), held });
            }
            Page::Whole { view, at_s, .. } => {
                self.view = *view;
                (at_s, Some(Part::Whole))
            }
            Page::Events { after, .. } if after != held || !self.any => {
                return Err(FeedError::Gap { after, held });
            }
            Page::Events { events, at_s, .. } => {
                let mut view = self.view.clone();
                for event in &events {
                    view.apply(event)?;
                }
                self.view = view;
                let is_due = at_s.saturating_sub(self.kept_s) >= HEARD_KEPT_S;
                (at_s, (!events.is_empty() || is_due).then_some(Part::More))
            }
        };
        (self.any, self.as_of_s) = (true, as_of_s);
        if changed.is_some() {
            self.kept_s = at_s;
        }
        self.heard_s = self.heard_s.max(at_s);
        Ok(changed)
    }
}

struct Thread<V> {
    voters: Arc<VoterUrls>,
    config: FeedConfig,
    fetch: Fetch,
    keep: Keep,
    held: Held<V>,
    shown: Arc<Shown<V>>,
    told: Box<dyn Fn(&V) + Send>,
}

impl<V: Followed> Thread<V> {
    fn run(mut self, stopped: &Receiver<()>) {
        let mut retry = RETRY_MIN;
        loop {
            let wait = match self.ask() {
                Ok(()) => {
                    retry = RETRY_MIN;
                    Duration::ZERO
                }
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    warn!(%error, cause, of = V::NAME, "the region cannot be followed");
                    retry = retry.saturating_mul(2).min(RETRY_MAX);
                    retry
                }
            };
            match stopped.recv_timeout(wait) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// One question, to whichever voter answers with what can be used.
    fn ask(&mut self) -> Result<(), FeedError> {
        let voters = Arc::clone(&self.voters);
        voters.ask(|url| self.ask_at(url))
    }

    /// For everything, where nothing is held or much was kept piecemeal; else for what came after.
    fn ask_at(&mut self, url: &str) -> Result<(), FeedError> {
        let whole = !self.held.any || self.keep.is_long();
        let base = format!("{url}{}", V::PATH);
        let url = if whole { base } else { format!("{base}?after={}", self.held.view.serial()) };
        let page = self.fetch.get(&url, Some(self.config.token.expose().trim()))?;
        let page = String::from_utf8_lossy(&page);
        let changed = self.held.take(&page, &self.config)?;
        if let Some(part) = changed {
            self.keep.add(&page, part)?;
            (self.told)(&self.held.view);
            self.shown.view.store(Arc::new(self.held.view.clone()));
        }
        self.shown.heard_s.store(self.held.heard_s, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.shown.answered(now.as_secs(), self.held.as_of_s);
        Ok(())
    }
}

/// What a page is to what was kept before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    More,
}
