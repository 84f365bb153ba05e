//! Shows each new head of a registry to the voters of its region, and says how far they are with it.
//!
//! Not here: the voters (`control`), and what happens to calls meanwhile (`corridor`). Invariant: what the voters have seen is
//! never contradicted: once they know more of the log than this disk, or another history of it, its writer is told to end.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use aegis_audit_chain::cosignature::Witness;
use aegis_audit_chain::note::Verifier;
use aegis_audit_chain::{Head, Origin};
use aegis_audit_ship::{Disk, NewestHead};
use parking_lot::Mutex;

use crate::ask::{Asker, WitnessError};
use crate::channel::{Channel, Http};
use crate::edge::Files;
use crate::region::{Registrar, RegistrarError, Voter};
use crate::witnesses::{RoundError, failed};

/// How often a new head is looked for; the journal signs one a second, and more where 4,096 records come within it.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long the voters are left alone after one of them did not cosign.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How often it is asked who the voters are.
const ASK_WHO: Duration = Duration::from_secs(10);
/// Where `add-checkpoint` is below a voter's URL.
const PREFIX: &str = "/v1/audit/witness";

/// Whose heads are anchored where.
pub struct AnchorConfig {
    /// The journal's directory.
    pub dir: PathBuf,
    pub registry: Origin,
    /// The key that signs the registry's heads.
    pub key: Verifier,
    pub newest: NewestHead,
    /// The voter that is asked first, and who the others are.
    pub home: Box<dyn Channel>,
    pub registrar: Box<dyn Registrar>,
    /// What to trust of other voters instead of the public authorities, in PEM.
    pub ca: Option<String>,
    /// A file that is there once the region has taken this log.
    pub known: PathBuf,
    pub disk: Arc<dyn Disk>,
    /// Called once the voters know another history, or more of this one.
    pub disown: Box<dyn Fn() + Send>,
}

/// How far the voters are.
#[derive(Clone, Debug, Default)]
pub struct AnchorStanding {
    /// The head that was anchored last by this process.
    pub size: u64,
    /// Since when a newer one waits.
    pub behind_since: Option<Instant>,
    /// How many voters cosigned that head.
    pub voters: usize,
    /// Whether the region has ever taken this log.
    pub is_known: bool,
    /// Why the last head was not anchored.
    pub trouble: Option<String>,
}

impl AnchorStanding {
    pub fn lag(&self) -> Duration {
        self.behind_since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// The thread that shows them.
#[derive(Debug)]
pub struct Anchors {
    standing: Arc<Mutex<AnchorStanding>>,
    cosigned: NewestHead,
    stop: Mutex<Option<Sender<()>>>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

impl Anchors {
    pub fn start(config: AnchorConfig) -> Result<Self, RoundError> {
        let first = AnchorStanding { is_known: config.known.exists(), ..AnchorStanding::default() };
        let standing = Arc::new(Mutex::new(first));
        let cosigned = NewestHead::default();
        let mut anchoring = Anchoring::new(config, Arc::clone(&standing), cosigned.clone());
        let (stop, stopped) = channel();
        let spawned = thread::Builder::new()
            .name("audit-voters".to_owned())
            .spawn(move || anchoring.run(&stopped));
        let thread = spawned.map_err(failed("starting the thread that anchors heads"))?;
        let (stop, thread) = (Mutex::new(Some(stop)), Mutex::new(Some(thread)));
        Ok(Self { standing, cosigned, stop, thread })
    }

    pub fn standing(&self) -> AnchorStanding {
        self.standing.lock().clone()
    }

    pub fn lag(&self) -> Duration {
        self.standing.lock().lag()
    }

    /// The newest head with the lines of the voters that cosigned it.
    pub fn cosigned(&self) -> NewestHead {
        self.cosigned.clone()
    }

    /// Ends after one last look; close the journal first, so that the head it closes with is anchored.
    pub fn stop(&self) -> AnchorStanding {
        drop(self.stop.lock().take());
        let thread = self.thread.lock().take();
        // A thread that panicked has said so.
        drop(thread.map(thread::JoinHandle::join));
        self.standing()
    }
}

impl Drop for Anchors {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A voter beside the one that is asked first.
struct Other {
    voter: Voter,
    asker: Asker,
}

struct Anchoring {
    files: Files,
    key: Verifier,
    newest: NewestHead,
    home: Asker,
    others: Vec<Other>,
    registrar: Box<dyn Registrar>,
    ca: Option<String>,
    keys: Vec<Witness>,
    known: (PathBuf, Arc<dyn Disk>),
    known_at: Option<Instant>,
    /// When the voters did not anchor last.
    refused: Option<Instant>,
    disown: Box<dyn Fn() + Send>,
    /// Nothing is shown any more.
    is_disowned: bool,
    standing: Arc<Mutex<AnchorStanding>>,
    cosigned: NewestHead,
}

/// Why a head is not anchored.
#[derive(Debug, thiserror::Error)]
enum AnchorError {
    #[error(transparent)]
    Registrar(#[from] RegistrarError),
    #[error(transparent)]
    Witness(#[from] WitnessError),
    #[error("the registry's newest head is not what the region key signed")]
    Head,
    #[error("it cannot be noted that the region knows this log: {0}")]
    Known(#[source] io::Error),
}

impl Anchoring {
    fn new(
        config: AnchorConfig,
        standing: Arc<Mutex<AnchorStanding>>,
        cosigned: NewestHead,
    ) -> Self {
        let AnchorConfig { dir, registry, key, newest, home, registrar, ca, known, disk, disown } =
            config;
        Self {
            files: Files { dir, registry, key: key.clone() },
            key,
            newest,
            home: Asker::new(home),
            others: Vec::new(),
            registrar,
            ca,
            keys: Vec::new(),
            known: (known, disk),
            known_at: None,
            refused: None,
            disown,
            is_disowned: false,
            standing,
            cosigned,
        }
    }

    fn run(&mut self, stopped: &Receiver<()>) {
        loop {
            let ended = stopped.recv_timeout(LOOK_EVERY);
            let ends = matches!(ended, Err(RecvTimeoutError::Disconnected));
            let is_due = self.refused.is_none_or(|refused| refused.elapsed() >= AGAIN_AFTER);
            self.look(is_due || ends);
            if ends {
                return;
            }
        }
    }

    fn look(&mut self, is_due: bool) {
        let Some((size, note)) = self.newest.get() else { return };
        let mut standing = self.standing.lock();
        if size <= standing.size || self.is_disowned {
            return;
        }
        standing.behind_since.get_or_insert_with(Instant::now);
        drop(standing);
        if !is_due {
            return;
        }
        let shown = self.show(&note);
        self.refused = shown.is_err().then(Instant::now);
        let mut standing = self.standing.lock();
        match shown {
            Ok((voters, cosigned)) => {
                (standing.size, standing.voters) = (size, voters);
                (standing.behind_since, standing.trouble) = (None, None);
                self.cosigned.put(size, &cosigned);
            }
            Err(error) => {
                let trouble = error.to_string();
                // A region that begins has no voters for a moment.
                let is_young = matches!(error, AnchorError::Registrar(RegistrarError::Voterless));
                if standing.trouble.as_ref() != Some(&trouble) && !is_young {
                    tracing::warn!(error = trouble, size, "an audit head is not anchored");
                }
                standing.trouble = Some(trouble);
                drop(standing);
                self.part(&error);
            }
        }
    }

    /// Has the head anchored by the first voter, and cosigned by the others; how many did, and the note with their lines.
    fn show(&mut self, note: &str) -> Result<(usize, String), AnchorError> {
        if self.known_at.is_none_or(|known| known.elapsed() >= ASK_WHO) {
            self.meet()?;
        }
        let head = Head::open(note, &self.key).map_err(|_| AnchorError::Head)?;
        let shown = (note, &head);
        let mut lines = self.home.ask(shown, &self.keys, &self.files)?;
        for Other { voter, asker } in &mut self.others {
            let has_signed = voter.key.cosigned_at(&head.checkpoint(), &lines);
            if matches!(has_signed, Ok(Some(_))) {
                continue;
            }
            asker.has_seen(&self.home);
            // The ledger has the head. A voter that is away is missing from those who say so, and was named in the log.
            if let Ok(more) = asker.ask(shown, std::slice::from_ref(&voter.key), &self.files) {
                lines.push_str(&more);
            }
        }
        Ok((lines.lines().count(), format!("{note}{lines}")))
    }

    /// Makes the log known, and learns who the voters are.
    fn meet(&mut self) -> Result<(), AnchorError> {
        let voters = self.registrar.register(&self.key.to_string())?;
        self.keys = voters.iter().map(|voter| voter.key.clone()).collect();
        self.others.retain(|other| voters.contains(&other.voter));
        for voter in voters {
            let is_new = self.others.iter().all(|other| other.voter != voter);
            if let (true, Some(url)) = (is_new, &voter.url) {
                let channel = Http::new(&format!("{url}{PREFIX}"), self.ca.clone());
                self.others.push(Other { asker: Asker::new(Box::new(channel)), voter });
            }
        }
        self.known_at = Some(Instant::now());
        if !self.standing.lock().is_known {
            let (known, disk) = &self.known;
            disk.write_whole(known, b"").map_err(AnchorError::Known)?;
            self.standing.lock().is_known = true;
        }
        Ok(())
    }

    /// Ends the log where going on would make a second history, and begins anew with voters who forgot it.
    fn part(&mut self, error: &AnchorError) {
        match error {
            AnchorError::Witness(error) if error.contradicts() => {
                let registry = &self.files.registry;
                tracing::error!(%registry, %error, "the region knows another history of this audit log; it ends here");
                self.is_disowned = true;
                (self.disown)();
            }
            // They were restored from a time before this log.
            AnchorError::Witness(WitnessError::UnknownLog | WitnessError::NotCosigned) => {
                self.known_at = None;
            }
            AnchorError::Witness(_)
            | AnchorError::Registrar(_)
            | AnchorError::Head
            | AnchorError::Known(_) => {}
        }
    }
}
