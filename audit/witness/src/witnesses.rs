//! The thread that shows the newest head to every witness, and keeps their word beside it.
//!
//! Not here: one witness (`ask`), and carrying its word into a bucket (`audit/ship`). Invariant: a note is kept once every
//! witness was asked about its head, and is never changed after.

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
use aegis_audit_ship::{Directory, Disk};
use parking_lot::Mutex;

use crate::ask::{Answer, Asker};
use crate::edge::Edge;

/// How often a new head is looked for. The journal signs one a minute and one when it closes.
const EVERY: Duration = Duration::from_secs(2);
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

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> RoundError {
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
    stop: Option<Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
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
        Ok(Self { standing, stop: Some(stop), thread: Some(thread) })
    }

    pub fn standing(&self) -> Vec<WitnessStanding> {
        self.standing.lock().clone()
    }

    /// Ends after one last look; close the journal first, so that the head it closes with is seen.
    pub fn stop(mut self) -> Vec<WitnessStanding> {
        self.end();
        self.standing()
    }

    fn end(&mut self) {
        drop(self.stop.take());
        // A thread that panicked has said so.
        drop(self.thread.take().map(thread::JoinHandle::join));
    }
}

impl Drop for Witnesses {
    fn drop(&mut self) {
        self.end();
    }
}

struct Rounds {
    config: WitnessConfig,
    askers: Vec<Asker>,
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
        let askers: Vec<Asker> = config.witnesses.iter().map(Asker::new).collect();
        *standing.lock() = askers.iter().map(Asker::standing).collect();
        Ok(Self { config, askers, asked: asked.unwrap_or(0), refused: None, standing })
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
        let Some((note, head)) = self.newest()? else { return Ok(()) };
        let mut cosigned = String::new();
        for asker in &mut self.askers {
            let edges = |size| Edge::read(&self.config.dir, &self.config.registry, size);
            match asker.ask(&note, &head, (&self.config.dir, &edges)) {
                Answer::Cosigned(lines) => cosigned.push_str(&lines),
                Answer::Refused => {}
            }
        }
        *self.standing.lock() = self.askers.iter().map(Asker::standing).collect();
        if cosigned.is_empty() {
            // The same head is shown again, or a newer one: nobody vouches for it yet.
            self.refused = Some(Instant::now());
            return Ok(());
        }
        self.refused = None;
        let dir = self.config.dir.join(layout::witnessed_dir(&head.origin));
        let path = self.config.dir.join(layout::witnessed_file(&head.origin, head.size));
        let kept = self.config.disk.create_dir(&dir);
        let kept =
            kept.and_then(|()| self.config.disk.write_whole(&path, (note + &cosigned).as_bytes()));
        kept.map_err(failed("writing a witnessed head"))?;
        self.asked = head.size;
        Ok(())
    }

    /// The newest signed head that is not witnessed, with its note.
    fn newest(&self) -> Result<Option<(String, Head)>, RoundError> {
        let registry = &self.config.registry;
        let heads = Directory(self.config.dir.clone()).list(&layout::heads_dir(registry))?;
        let newest = heads.iter().filter_map(|name| layout::parse_head_name(name)).max();
        let Some(size) = newest.filter(|size| *size > self.asked) else { return Ok(None) };
        let path = self.config.dir.join(layout::head_file(registry, size));
        let note = std::fs::read_to_string(path).map_err(failed("reading a registry head"))?;
        let head = Head::open(&note, &self.config.region);
        let head = head.map_err(|_| RoundError::Head)?;
        let is_plain = split(&note).is_ok_and(|(_, lines)| lines.lines().count() == 1);
        Ok((is_plain && head.size == size).then_some((note, head)))
    }
}
