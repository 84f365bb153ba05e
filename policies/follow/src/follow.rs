//! Following releases: what was kept decides first, then a thread asks for what changed, checks it, has it cleared, keeps it
//! and lets it decide.
//!
//! Not here: clearing (`Installer`), files (`keep`), telling the region (`report`). Invariant: what decides is on disk, and a
//! line only moves on to a later epoch; a release that is refused changes nothing but what is told of the line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use aegis_audit_chain::Hash;
use aegis_domain::{Region, TenantId};
use aegis_identity::KeySet;
use aegis_ledger::LineKey;
use aegis_policy_rollout::Observed;
use parking_lot::Mutex;
use tracing::{error, info, warn};

use crate::at_once::{at_once, cores};
use crate::error::FollowError;
use crate::export::Export;
use crate::keep::Keep;
use crate::release::Release;
use crate::report;
use crate::source::{Scope, Source};
use crate::wire::{Page, Refused, Statement, UnusableReport};

const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// How often an export is looked for by who has nothing to decide by.
const IMPORT_EVERY: Duration = Duration::from_secs(10);

/// What a release that was cleared does once it is kept: from then on it decides.
pub type Ready = Box<dyn FnOnce() + Send>;

/// Whoever decides by releases.
pub trait Installer: Send + Sync {
    /// Takes a release through the gate, or says why it stays outside. Nothing changes before what comes back is called.
    fn clear(&self, release: &Release) -> Result<Ready, String>;

    /// Decides by no release of this line any more.
    fn withdraw(&self, line: &LineKey);

    /// What both versions of a rollout did since its stage began.
    fn observed(&self, line: &LineKey) -> Option<Observed>;

    /// What else the region wants of this gateway and does not get.
    fn unusable(&self) -> Vec<UnusableReport> {
        Vec::new()
    }
}

/// What is followed, and whom to believe.
#[derive(Debug)]
pub struct FollowConfig {
    /// What this gateway is called in the fleet.
    pub gateway: String,
    pub build: String,
    pub region: Region,
    pub region_keys: KeySet,
    /// None where a gateway only tells of itself.
    pub lines: BTreeSet<LineKey>,
    /// Where the last known good is kept.
    pub directory: PathBuf,
    /// Releases as they were exported, for lines of which nothing newer is kept.
    pub export: Option<Export>,
}

/// What is known of one line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// What decides.
    pub(crate) held: Option<Statement>,
    pub(crate) since_s: u64,
    pub(crate) refused: Option<Refused>,
}

pub(crate) type Standings = Arc<Mutex<BTreeMap<LineKey, Standing>>>;

/// Why nothing decides in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    Unheard,
    /// What was heard is not fit.
    Refused(String),
    /// Nobody was heard, and the export was not taken.
    NotExported(String),
}

/// The lines this gateway follows. Dropping it ends the threads after their question.
pub struct Follower {
    standings: Standings,
    not_exported: Arc<Mutex<Option<String>>>,
    lines: BTreeSet<LineKey>,
    _stop: Sender<()>,
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("standings", &self.standings).finish_non_exhaustive()
    }
}

impl Follower {
    /// Lets what was kept decide, then follows.
    pub fn start(
        config: FollowConfig,
        source: Arc<dyn Source>,
        installer: Arc<dyn Installer>,
    ) -> Result<Self, FollowError> {
        let keep = Keep::open(&config.directory)
            .map_err(|source| FollowError::File { path: config.directory.clone(), source })?;
        let tenants: BTreeSet<TenantId> =
            config.lines.iter().map(|line| line.tenant.clone()).collect();
        let scope = Scope { region: config.region.clone(), tenants };
        let (changed, changes) = channel();
        let (stop, stopped) = channel();
        let (standings, lines) = (Standings::default(), config.lines.clone());
        let teller = report::Teller {
            gateway: config.gateway.clone(),
            build: config.build.clone(),
            region: config.region.clone(),
            source: Arc::clone(&source),
            installer: Arc::clone(&installer),
            standings: Arc::clone(&standings),
        };
        let shared = Arc::clone(&standings);
        let not_exported = Arc::<Mutex<Option<String>>>::default();
        let mut thread = Thread {
            config,
            scope,
            source,
            installer,
            keep,
            standings,
            revision: None,
            changed,
            not_exported: Arc::clone(&not_exported),
            imported: None,
        };
        thread.begin()?;
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            let spawned = thread::Builder::new().name(name.to_owned()).spawn(run);
            spawned.map_err(|source| FollowError::File { path: name.into(), source })
        };
        spawn("aegis-releases", Box::new(move || thread.run(&stopped)))?;
        spawn("aegis-fleet", Box::new(move || teller.run(&changes)))?;
        Ok(Self { standings: shared, not_exported, lines, _stop: stop })
    }

    /// The lines of which nothing decides, and why.
    pub fn missing(&self) -> Vec<(LineKey, Lack)> {
        let (standings, not_exported) = (self.standings.lock(), self.not_exported.lock());
        let of = |line: &LineKey| standings.get(line).cloned().unwrap_or_default();
        let lines = self.lines.iter().map(|line| (line.clone(), of(line)));
        let missing = lines.filter(|(_, standing)| standing.held.is_none());
        let lack = |standing: Standing| match (standing.refused, not_exported.as_ref()) {
            (Some(refused), _) => Lack::Refused(refused.why),
            (None, Some(why)) => Lack::NotExported(why.clone()),
            (None, None) => Lack::Unheard,
        };
        missing.map(|(line, standing)| (line, lack(standing))).collect()
    }
}

struct Thread {
    config: FollowConfig,
    scope: Scope,
    source: Arc<dyn Source>,
    installer: Arc<dyn Installer>,
    keep: Keep,
    standings: Standings,
    /// What the last whole page and those after it led to; `None` before the first in this life.
    revision: Option<u64>,
    changed: Sender<()>,
    /// Why the export was not taken, the last time.
    not_exported: Arc<Mutex<Option<String>>>,
    /// When it was last tried.
    imported: Option<Instant>,
}

impl Thread {
    /// What was kept, line by line: the newest that checks out and is cleared. Then the export, where it is newer.
    fn begin(&mut self) -> Result<(), FollowError> {
        let lines: Vec<_> = self.config.lines.iter().collect();
        // Nobody calls yet, and each is compiled and tested.
        at_once(&lines, cores(), |line| self.resume(line))
            .into_iter()
            .collect::<Result<(), _>>()?;
        // A file is at hand; a store is asked only by who has nothing else to begin with.
        if matches!(self.config.export, Some(Export::File(_))) || self.lacks() {
            self.import();
        }
        Ok(())
    }

    fn lacks(&self) -> bool {
        let standings = self.standings.lock();
        let is_held = |line| standings.get(line).is_some_and(|it: &Standing| it.held.is_some());
        !self.config.lines.iter().all(is_held)
    }

    /// A gateway that has what it needs must not stay down for want of an export; one that has not says so.
    fn import(&mut self) {
        let Some(export) = &self.config.export else { return };
        let (keys, region) = (&self.config.region_keys, &self.config.region);
        let taken = export.releases(keys, region).map_err(FollowError::from);
        let taken = taken.and_then(|releases| {
            let ours = |it: &Release| self.config.lines.contains(&it.statement().line);
            releases.into_iter().filter(ours).try_for_each(|it| self.exported(it))
        });
        self.imported = Some(Instant::now());
        *self.not_exported.lock() = taken.err().map(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            warn!(%error, cause, "the export of releases is not taken");
            cause.unwrap_or_else(|| error.to_string())
        });
    }

    /// Where a store was away at the start it may be back before a voter is.
    fn import_again(&mut self) {
        let is_due = self.imported.is_some_and(|at| at.elapsed() >= IMPORT_EVERY);
        if is_due && self.lacks() {
            self.import();
        }
    }

    /// Takes up the newest of what was kept that is still fit.
    fn resume(&self, line: &LineKey) -> Result<(), FollowError> {
        for kept in self.keep.of(line).map_err(|error| self.file(error))? {
            let text = kept.read().map_err(|error| self.file(error))?;
            match self.resumed(line, &text) {
                Ok(()) => break,
                Err(Unfit::Damaged(cause)) => {
                    let epoch = kept.epoch;
                    warn!(?line, epoch, %cause, "a kept release does not check out; the one before is tried");
                    kept.set_aside().map_err(|error| self.file(error))?;
                }
                Err(Unfit::Refused) => {}
            }
        }
        Ok(())
    }

    fn resumed(&self, line: &LineKey, text: &str) -> Result<(), Unfit> {
        let read = Release::read(text, &self.config.region_keys, &self.config.region);
        let release = read.map_err(|error| Unfit::Damaged(error.to_string()))?;
        if release.statement().line != *line {
            return Err(Unfit::Damaged("it is of another line".to_owned()));
        }
        match self.installer.clear(&release) {
            Ok(ready) => {
                ready();
                self.decides(&release);
                Ok(())
            }
            Err(why) => {
                self.refused(release.statement(), why);
                Err(Unfit::Refused)
            }
        }
    }

    /// An export may be old; it never takes the place of what is newer.
    fn exported(&self, release: Release) -> Result<(), FollowError> {
        match self.is_news(release.statement()) {
            Ok(true) => self.install(&release),
            Ok(false) | Err(FollowError::Older { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn file(&self, source: io::Error) -> FollowError {
        FollowError::File { path: self.config.directory.clone(), source }
    }

    fn run(mut self, stopped: &Receiver<()>) {
        if self.config.lines.is_empty() {
            // Nothing is asked for, and an empty scope would be given everything. What is told of is told of as long.
            stopped.recv().ok();
            return;
        }
        let mut retry = RETRY_MIN;
        loop {
            let wait = match self.ask() {
                Ok(()) => {
                    retry = RETRY_MIN;
                    Duration::ZERO
                }
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    warn!(%error, cause, "the region's releases cannot be followed");
                    self.import_again();
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

    /// One question. What is wrong with one release does not keep the others of its page out; the page is asked for again.
    fn ask(&mut self) -> Result<(), FollowError> {
        let signed = self.source.page(&self.scope, self.revision)?;
        let page = self.page(&signed)?;
        let (mut done, mut is_legible) = (Ok(()), true);
        let (mut listed, mut told) = (BTreeSet::new(), Vec::new());
        for signed in &page.releases {
            match Statement::read(signed, &self.config.region_keys, &self.config.region) {
                Ok(statement) => {
                    listed.insert(statement.line.clone());
                    told.push((statement, signed));
                }
                Err(error) => (done, is_legible) = (Err(error.into()), false),
            }
        }
        // Calls come first, but where some are still without a release. Two of one line go by their order.
        let is_waited_for = self.lacks() && listed.len() == told.len();
        let threads = if is_waited_for { cores() } else { 1 };
        let take =
            |(statement, signed): &(Statement, &String)| self.take((statement, signed), page.at_s);
        done = at_once(&told, threads, take).into_iter().fold(done, |done, taken| taken.and(done));
        // A line that cannot be taken is named all the same. Where one cannot be read, nobody knows which is left out.
        let is_gone = |line: &LineKey| match page.after {
            None => is_legible && !listed.contains(line),
            Some(_) => page.gone.contains(line),
        };
        for line in self.config.lines.iter().filter(|line| is_gone(line)) {
            self.withdraw(line)?;
        }
        done?;
        self.revision = Some(page.revision);
        Ok(())
    }

    fn page(&self, signed: &str) -> Result<Page, FollowError> {
        let page = Page::read(signed, &self.config.region_keys, &self.config.region);
        let page = page.map_err(FollowError::Page)?;
        if page.after.is_some() && page.after != self.revision {
            return Err(FollowError::Gap { after: page.after, held: self.revision });
        }
        // A voter that lags must not take away what it has not heard of yet.
        let standings = self.standings.lock();
        let kept = standings.values().filter_map(|standing| Some(standing.held.as_ref()?.revision));
        let held = kept.chain(self.revision).max().unwrap_or(0);
        if page.revision < held {
            return Err(FollowError::OlderPage { revision: page.revision, held });
        }
        Ok(page)
    }

    fn take(&self, (statement, signed): (&Statement, &str), at_s: u64) -> Result<(), FollowError> {
        if !self.config.lines.contains(&statement.line) {
            return Ok(());
        }
        match self.is_news(statement) {
            Ok(true) => {
                let bundles = self.bundles(statement)?;
                self.install(&Release::new((statement.clone(), signed), at_s, bundles)?)
            }
            Ok(false) => Ok(()),
            // Asked again, the region would say the same. It is told of, so that somebody sees to it.
            Err(error @ (FollowError::Older { .. } | FollowError::Forked { .. })) => {
                self.refused(statement, report::set_back(&statement.line, &error));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a statement says something that is not known here already.
    fn is_news(&self, statement: &Statement) -> Result<bool, FollowError> {
        let (line, epoch) = (&statement.line, statement.pointer.epoch);
        let mut standings = self.standings.lock();
        let Some(standing) = standings.get_mut(line) else { return Ok(true) };
        if standing.refused.as_ref().is_some_and(|refused| refused.epoch == epoch) {
            return Ok(false);
        }
        let Some(held) = &standing.held else { return Ok(true) };
        let is_same = (&held.pointer, &held.bundles) == (&statement.pointer, &statement.bundles);
        match epoch.cmp(&held.pointer.epoch) {
            std::cmp::Ordering::Greater => Ok(true),
            std::cmp::Ordering::Equal if is_same => {
                // The region is where this gateway is, so what it said before is over.
                standing.refused.take_if(|refused| refused.epoch < epoch);
                Ok(false)
            }
            std::cmp::Ordering::Equal => Err(FollowError::Forked { line: line.clone(), epoch }),
            std::cmp::Ordering::Less => {
                Err(FollowError::Older { line: line.clone(), epoch, held: held.pointer.epoch })
            }
        }
    }

    /// What a statement names: from the disk where it was kept, else from the voter.
    fn bundles(&self, statement: &Statement) -> Result<Vec<Vec<u8>>, FollowError> {
        let newest = self.keep.of(&statement.line).map_err(|error| self.file(error))?;
        let newest = newest.first().and_then(|kept| kept.read().ok());
        let (keys, region) = (&self.config.region_keys, &self.config.region);
        let held = newest.and_then(|text| Release::read(&text, keys, region).ok());
        let digests: BTreeSet<Hash> = statement.bundles.values().copied().collect();
        let bundle = |digest: Hash| {
            if let Some(bytes) = held.as_ref().and_then(|held| held.with_digest(digest)) {
                return Ok(bytes.to_vec());
            }
            let bytes = self.source.content(digest)?;
            if Hash::of(&bytes) == digest { Ok(bytes) } else { Err(FollowError::Digest(digest)) }
        };
        digests.into_iter().map(bundle).collect()
    }

    /// Cleared, kept, and only then deciding.
    fn install(&self, release: &Release) -> Result<(), FollowError> {
        match self.installer.clear(release) {
            Ok(ready) => {
                self.keep.add(release).map_err(|error| self.file(error))?;
                ready();
                self.decides(release);
            }
            Err(why) => self.refused(release.statement(), why),
        }
        Ok(())
    }

    fn withdraw(&self, line: &LineKey) -> Result<(), FollowError> {
        if self.standings.lock().remove(line).is_some() {
            self.installer.withdraw(line);
            warn!(?line, "the region releases nothing here any more");
            self.keep.forget(line).map_err(|error| self.file(error))?;
            self.tell();
        }
        Ok(())
    }

    fn decides(&self, release: &Release) {
        let statement = release.statement().clone();
        let (line, epoch) = (statement.line.clone(), statement.pointer.epoch);
        info!(?line, epoch, "a release decides");
        let standing = Standing { held: Some(statement), since_s: release.since_s, refused: None };
        let mut standings = self.standings.lock();
        let before = standings.insert(line.clone(), standing);
        // What was refused at the start, before an older one was found fit, is still to be told.
        if let (Some(refused), Some(now)) = (
            before.and_then(|it| it.refused).filter(|refused| refused.epoch > epoch),
            standings.get_mut(&line),
        ) {
            now.refused = Some(refused);
        }
        drop(standings);
        self.tell();
    }

    fn refused(&self, statement: &Statement, why: String) {
        let (line, epoch) = (&statement.line, statement.pointer.epoch);
        let (tenant, environment) = (&line.tenant, &line.environment);
        error!(%tenant, %environment, epoch, why, "a release was refused; the one before stays");
        let mut standings = self.standings.lock();
        let standing = standings.entry(line.clone()).or_default();
        // Generations are tried from the newest; the first refusal is the one to mend.
        if standing.refused.as_ref().is_none_or(|before| before.epoch < epoch) {
            standing.refused = Some(Refused { epoch, why });
        }
        drop(standings);
        self.tell();
    }

    /// Whoever reports may have ended.
    fn tell(&self) {
        self.changed.send(()).ok();
    }
}

/// Why a kept release is not taken up again.
enum Unfit {
    Damaged(String),
    Refused,
}
