//! The thread that shows a head to every outside witness now and then, and keeps their word beside it.
//!
//! Not here: one witness (`ask`), the region's voters (`anchors`), and carrying their word into a bucket (`audit/ship`).
//! Invariant: a note is kept once every witness was asked about its head, and is never changed after.

use std::io;
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
/// How long all are left alone after none of them cosigned.
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
    stop: Mutex<Option<Sender<()>>>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

impl Witnesses {
    pub fn start(config: WitnessConfig) -> Result<Self, RoundError> {
        let standing = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = channel();
        let mut rounds = Rounds::open(config, Arc::clone(&standing))?;
        let spawned = thread::Builder::new()
            .name("audit-witness".to_owned())
            .spawn(move || rounds.run(&stopped));
        let thread = spawned.map_err(failed("starting the witnesses' thread"))?;
        Ok(Self { standing, stop: Mutex::new(Some(stop)), thread: Mutex::new(Some(thread)) })
    }

    pub fn standing(&self) -> Vec<WitnessStanding> {
        self.standing.lock().clone()
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
    /// The size of the last head that all were asked about.
    asked: u64,
    /// When nobody cosigned last.
    refused: Option<Instant>,
    standing: Arc<Mutex<Vec<WitnessStanding>>>,
}

impl Rounds {
    fn open(
        config: WitnessConfig,
        standing: Arc<Mutex<Vec<WitnessStanding>>>,
    ) -> Result<Self, RoundError> {
        let source = Directory(config.dir.clone());
        let kept = source.list(&layout::witnessed_dir(&config.registry))?;
        let asked = kept.iter().filter_map(|name| layout::parse_head_name(name)).max();
        let asker = |at: &WitnessAt| {
            (at.witness.clone(), Asker::new(Box::new(Http::new(&at.url, at.ca.clone()))))
        };
        let askers = config.witnesses.iter().map(asker).collect();
        let files = Files { dir: config.dir.clone(), registry: config.registry.clone() };
        let asked = asked.unwrap_or(0);
        let rounds = Self { config, files, askers, asked, refused: None, standing };
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
            let ends = matches!(stopped.recv_timeout(EVERY), Err(RecvTimeoutError::Disconnected));
            let is_due = self.refused.is_none_or(|refused| refused.elapsed() >= AGAIN_AFTER);
            if (is_due || ends)
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
        let mut news = self.config.heads.iter().filter_map(NewestHead::get);
        let Some((_, note)) = news.find(|(size, _)| *size > self.asked) else { return Ok(()) };
        let head = Head::open(&note, &self.config.region).map_err(|_| RoundError::Head)?;
        let mut cosigned = String::new();
        for (witness, asker) in &mut self.askers {
            let keys = std::slice::from_ref(&*witness);
            // A refusal stands in the log and in the standing.
            let lines = asker.ask((&note, &head), keys, &self.files).unwrap_or_default();
            cosigned.push_str(&lines);
        }
        self.tell();
        let by_voters =
            split(&note).map_or(0, |(_, lines)| lines.lines().count().saturating_sub(1));
        if cosigned.is_empty() && by_voters == 0 {
            // The same head is shown again, or a newer one: nobody vouches for it yet.
            self.refused = Some(Instant::now());
            return Ok(());
        }
        self.refused = None;
        let dir = self.config.dir.join(layout::witnessed_dir(&head.origin));
        let path = self.config.dir.join(layout::witnessed_file(&head.origin, head.size));
        let note = format!("{note}{cosigned}");
        let kept = self.config.disk.create_dir(&dir);
        let kept = kept.and_then(|()| self.config.disk.write_whole(&path, note.as_bytes()));
        kept.map_err(failed("writing a witnessed head"))?;
        self.asked = head.size;
        Ok(())
    }
}
