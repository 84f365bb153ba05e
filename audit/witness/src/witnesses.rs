//! The thread that shows a head to every outside witness now and then, and keeps their word beside it.
//!
//! Not here: one witness (`ask`), the region's voters (`anchors`), and carrying their word into a bucket (`audit/ship`).
//! Invariant: a note is kept once every witness was asked about its head, and is never changed after. Without a quorum to be
//! had, what witnesses say stops nothing.

use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use aegis_audit_chain::cosignature::Witness;
use aegis_audit_chain::note::{Verifier, split};
use aegis_audit_chain::source::{LogSource as _, SourceError};
use aegis_audit_chain::{Head, Origin, layout};
use aegis_audit_ship::{Directory, Disk, NewestHead};
use parking_lot::Mutex;

use crate::ask::Asker;
use crate::channel::Http;
use crate::edge::Files;

/// How often a new head is looked for: each one that is kept is a file, and an object in the bucket.
const EVERY: Duration = Duration::from_secs(10);
/// The same until the first was shown, where calls may have to wait for a quorum.
const SOON: Duration = Duration::from_millis(100);
/// How long all are left alone after none of them cosigned, where nothing waits for them.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Why a head was not shown around.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    #[error("{what} failed")]
    Io {
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the registry's heads cannot be listed")]
    List(#[from] SourceError),
    #[error("the registry's newest head is not what the region key signed")]
    Head,
}

pub(crate) fn failed(what: &'static str) -> impl FnOnce(io::Error) -> RoundError {
    move |source| RoundError::Io { what, source }
}

/// One witness, and where it is asked.
#[derive(Clone, Debug)]
pub struct WitnessAt {
    pub witness: Witness,
    /// Its submission prefix.
    pub url: String,
    /// What to trust instead of the public authorities, in PEM.
    pub ca: Option<String>,
}

/// Whose heads are shown to whom.
#[derive(Clone)]
pub struct WitnessConfig {
    /// The journal's directory.
    pub dir: PathBuf,
    pub registry: Origin,
    pub region: Verifier,
    pub disk: Arc<dyn Disk>,
    /// Where heads come from: of several that have news, the first.
    pub heads: Vec<NewestHead>,
    /// None, where only what the region's voters said is kept.
    pub witnesses: Vec<WitnessAt>,
    /// Without which the log shall not go on.
    pub quorum: Option<Quorum>,
}

/// How many witnesses must agree to a log.
#[derive(Clone)]
pub struct Quorum {
    pub least: NonZeroUsize,
    /// Called once so many know another history, or more of this one, that the rest are too few.
    pub disown: Arc<dyn Fn() + Send + Sync>,
}

/// How far a quorum is.
#[derive(Clone, Copy, Debug, Default)]
pub struct QuorumStanding {
    /// Since when a head that was shown lacks it.
    pub behind_since: Option<Instant>,
    /// Whether any head was shown by this process.
    pub is_asked: bool,
}

impl QuorumStanding {
    pub fn lag(&self) -> Duration {
        self.behind_since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// What a witness said last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessStanding {
    pub name: String,
    /// The largest head it cosigned, as far as this process knows.
    pub size: u64,
    /// Why its last answer was no cosignature.
    pub trouble: Option<String>,
}

/// The thread that asks.
#[derive(Debug)]
pub struct Witnesses {
    standing: Arc<Mutex<Vec<WitnessStanding>>>,
    quorum: Option<Arc<Mutex<QuorumStanding>>>,
    stop: Mutex<Option<Sender<()>>>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

impl Witnesses {
    pub fn start(config: WitnessConfig) -> Result<Self, RoundError> {
        let standing = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = channel();
        let mut rounds = Rounds::open(config, Arc::clone(&standing))?;
        let quorum = rounds.quorum.as_ref().map(|(_, told)| Arc::clone(told));
        let spawned = thread::Builder::new()
            .name("audit-witness".to_owned())
            .spawn(move || rounds.run(&stopped));
        let thread = spawned.map_err(failed("starting the witnesses' thread"))?;
        let (stop, thread) = (Mutex::new(Some(stop)), Mutex::new(Some(thread)));
        Ok(Self { standing, quorum, stop, thread })
    }

    pub fn standing(&self) -> Vec<WitnessStanding> {
        self.standing.lock().clone()
    }

    /// How far the quorum is, where there must be one.
    pub fn quorum(&self) -> Option<QuorumStanding> {
        self.quorum.as_ref().map(|told| *told.lock())
    }

    /// Ends after one last look; close the journal first, so that the head it closes with is seen.
    pub fn stop(&self) -> Vec<WitnessStanding> {
        drop(self.stop.lock().take());
        let thread = self.thread.lock().take();
        // A thread that panicked has said so.
        drop(thread.map(thread::JoinHandle::join));
        self.standing()
    }
}

impl Drop for Witnesses {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Rounds {
    config: WitnessConfig,
    files: Files,
    askers: Vec<(Witness, Asker)>,
    quorum: Option<(Quorum, Arc<Mutex<QuorumStanding>>)>,
    /// The size of the last head that all were asked about.
    asked: u64,
    /// When nobody cosigned last, and nothing waits for it.
    refused: Option<Instant>,
    /// Nothing is shown any more.
    is_disowned: bool,
    standing: Arc<Mutex<Vec<WitnessStanding>>>,
}

/// What became of one head.
#[derive(Default)]
struct Said {
    /// The lines of those who cosigned it.
    lines: String,
    cosigned: usize,
    /// How many know that it is not the log's newest, or not its head at all.
    contradicted: usize,
}

impl Rounds {
    fn open(
        mut config: WitnessConfig,
        standing: Arc<Mutex<Vec<WitnessStanding>>>,
    ) -> Result<Self, RoundError> {
        let source = Directory(config.dir.clone());
        let kept = source.list(&layout::witnessed_dir(&config.registry))?;
        let asked = kept.iter().filter_map(|name| layout::parse_head_name(name)).max();
        let asker = |at: &WitnessAt| {
            (at.witness.clone(), Asker::new(Box::new(Http::new(&at.url, at.ca.clone()))))
        };
        let askers = config.witnesses.iter().map(asker).collect();
        let (registry, key) = (config.registry.clone(), config.region.clone());
        let files = Files { dir: config.dir.clone(), registry, key };
        let quorum = config.quorum.take().map(|quorum| (quorum, Arc::default()));
        let (asked, refused, is_disowned) = (asked.unwrap_or(0), None, false);
        let rounds = Self { config, files, askers, quorum, asked, refused, is_disowned, standing };
        rounds.tell();
        Ok(rounds)
    }

    fn tell(&self) {
        let told = self.askers.iter().map(|(witness, asker)| WitnessStanding {
            name: witness.name().to_owned(),
            size: asker.size(),
            trouble: asker.trouble().map(str::to_owned),
        });
        *self.standing.lock() = told.collect();
    }

    fn run(&mut self, stopped: &Receiver<()>) {
        loop {
            let is_awaited = self.quorum.as_ref().is_some_and(|(_, told)| !told.lock().is_asked);
            let wait = if is_awaited { SOON } else { EVERY };
            let ends = matches!(stopped.recv_timeout(wait), Err(RecvTimeoutError::Disconnected));
            let is_due = self.refused.is_none_or(|refused| refused.elapsed() >= AGAIN_AFTER);
            if (is_due || ends)
                && !self.is_disowned
                && let Err(error) = self.round()
            {
                tracing::warn!(%error, "the registry's head could not be shown to witnesses");
            }
            if ends {
                return;
            }
        }
    }

    /// Shows the newest head to everyone, if there is one they were not asked about.
    fn round(&mut self) -> Result<(), RoundError> {
        let Some((size, note)) = self.due() else { return Ok(()) };
        let head = Head::open(&note, &self.config.region).map_err(|_| RoundError::Head)?;
        let said = self.show((&note, &head));
        self.tell();
        let by_voters =
            split(&note).map_or(0, |(_, lines)| lines.lines().count().saturating_sub(1));
        if said.cosigned == 0 && by_voters == 0 {
            // The same head is shown again, or a newer one: nobody vouches for it yet.
            self.refused = self.quorum.is_none().then(Instant::now);
            return Ok(());
        }
        self.refused = None;
        if size <= self.asked {
            return Ok(());
        }
        let dir = self.config.dir.join(layout::witnessed_dir(&head.origin));
        let path = self.config.dir.join(layout::witnessed_file(&head.origin, head.size));
        let note = format!("{note}{}", said.lines);
        let kept = self.config.disk.create_dir(&dir);
        let kept = kept.and_then(|()| self.config.disk.write_whole(&path, note.as_bytes()));
        kept.map_err(failed("writing a witnessed head"))?;
        self.asked = head.size;
        Ok(())
    }

    /// A head nobody was asked about. Where a quorum is missing, the newest is shown again, for calls may wait for it.
    fn due(&self) -> Option<(u64, Arc<str>)> {
        let heads = || self.config.heads.iter().filter_map(NewestHead::get);
        let is_behind =
            self.quorum.as_ref().is_some_and(|(_, told)| told.lock().behind_since.is_some());
        let news = heads().find(|(size, _)| *size > self.asked);
        news.or_else(|| heads().max_by_key(|(size, _)| *size).filter(|_| is_behind))
    }

    fn show(&mut self, shown: (&str, &Head)) -> Said {
        if let Some((_, told)) = &self.quorum {
            let mut told = told.lock();
            told.behind_since.get_or_insert_with(Instant::now);
        }
        let mut said = Said::default();
        for (witness, asker) in &mut self.askers {
            let keys = std::slice::from_ref(&*witness);
            // A refusal stands in the log and in the standing.
            match asker.ask(shown, keys, &self.files) {
                Ok(lines) => {
                    said.lines.push_str(&lines);
                    said.cosigned = said.cosigned.saturating_add(1);
                }
                Err(error) => {
                    let contradicts = usize::from(error.contradicts());
                    said.contradicted = said.contradicted.saturating_add(contradicts);
                }
            }
        }
        self.weigh(&said);
        said
    }

    /// What follows for the log, where there must be a quorum.
    fn weigh(&mut self, said: &Said) {
        let Some((quorum, told)) = &self.quorum else { return };
        let least = quorum.least.get();
        let mut standing = told.lock();
        standing.is_asked = true;
        if said.cosigned >= least {
            standing.behind_since = None;
        }
        drop(standing);
        if self.askers.len().saturating_sub(said.contradicted) < least {
            let registry = &self.files.registry;
            tracing::error!(%registry, "too many witnesses know another history of this audit log; it ends here");
            self.is_disowned = true;
            (quorum.disown)();
        }
    }
}
