//! What another region authors, brought into this one's ledger: its feed is followed, checked as a gateway would, and taken.
//!
//! Not here: what the ledger takes and what stays this region's own (`ledger`), and what is told of it (`control`). Invariant:
//! nothing is proposed that the author did not sign for this region, or that would not pass the gate of a gateway here; only
//! the leader asks, and what two of them bring at once is taken once.

mod heard;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use aegis_audit_chain::Hash;
use aegis_control_messages::problem::Problem;
use aegis_domain::{Region, TenantId};
use aegis_identity::{KeySet, KeySetError, verify_jws_within};
use aegis_ledger::{
    Author, Brought, Environment, LineKey, Outcome, ReleaseAct, ReleaseRefusal, Taking,
};
use aegis_policy::activation::{Gate, clear_bundle};
use aegis_policy::{Bundle, SIGNATURE_BYTES_MAX, SIGNATURE_TYPE};
use aegis_policy_follow::{Page, ReleaseError, Scope, Source, SourceError, Statement};
use aegis_raft_store::Node;
use aegis_registry::{Actor, WordError};
use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;
use tracing::{error, info, warn};

pub use heard::{Heard, Refused};

const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How often a voter that does not lead looks whether it does.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The ledger's level from which every voter reads what is proposed here.
const LEVEL: u32 = 2;

/// The status of a voter that is behind what it is asked for.
const BEHIND: u16 = 409;

/// Inputs on which two engines must agree before a bundle may decide.
pub const INPUTS: usize = 256;

/// The node that pulls.
#[async_trait]
pub trait Home: Send + Sync {
    fn node(&self) -> &Node;

    /// Where it is.
    fn region(&self) -> &Region;

    /// One compilation at a time: it may take seconds of a processor.
    fn compiling(&self) -> &tokio::sync::Mutex<()>;

    /// Has the ledger do something about releases, and puts it on record.
    async fn release(&self, by: &Actor, act: ReleaseAct) -> Result<Outcome, Problem>;
}

/// The region that authors, and whom to believe there.
pub struct PullFrom {
    pub region: Region,
    /// Its public keys, as a JSON Web Key Set.
    pub keys: String,
    pub source: Arc<dyn Source>,
    /// Empty means every tenant that may be here.
    pub tenants: BTreeSet<TenantId>,
}

/// Why a region cannot be followed at all.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error("the author's keys cannot be used")]
    Keys(#[from] KeySetError),
    #[error("the author's name cannot stand in the ledger")]
    Name(#[from] WordError),
    #[error("a region does not author its own releases for itself")]
    Itself,
}

/// Why nothing was learnt this time.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("the author gives nothing: {}", .0.cause())]
    Source(#[from] SourceError),
    #[error("the author's page does not count: {0}")]
    Page(ReleaseError),
    #[error(
        "the author is at revision {revision} and was at {held} before: it was restored from an older state, or its voter lags"
    )]
    SetBack { revision: u64, held: u64 },
    #[error(
        "the author's ledger ends before revision {after}, which was heard: it was restored from an older state, or its voter lags"
    )]
    Behind { after: u64 },
    #[error("the author's page leads on from another than was held")]
    Gap,
    #[error(
        "the voters' level is below {LEVEL}: run `aegisctl cluster raise` once all of them are up to date"
    )]
    Level,
    #[error("the ledger takes nothing: {0}")]
    Ledger(Problem),
    #[error("the process stops")]
    Stopping,
}

/// What is pulled here.
pub struct Pull {
    from: PullFrom,
    keys: KeySet,
    by: Actor,
    heard: Mutex<Heard>,
}

impl std::fmt::Debug for Pull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pull").field("from", &self.from.region).finish_non_exhaustive()
    }
}

impl Pull {
    pub fn new(from: PullFrom, here: &Region) -> Result<Self, PullError> {
        if from.region == *here {
            return Err(PullError::Itself);
        }
        let keys = KeySet::from_jwks(from.keys.as_bytes())?;
        let by = Actor::parse(&format!("region {}", from.region))?;
        Ok(Self { from, keys, by, heard: Mutex::default() })
    }

    /// The region that authors.
    pub fn author(&self) -> &Region {
        &self.from.region
    }

    /// What this voter has heard of it.
    pub fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock()
    }

    fn is_asked(&self, line: &LineKey) -> bool {
        self.from.tenants.is_empty() || self.from.tenants.contains(&line.tenant)
    }
}

/// Asks for ever, while this voter leads.
pub async fn keep(control: &dyn Home, pull: &Pull) -> ! {
    let (mut held, mut retry) = (None, RETRY_MIN);
    loop {
        let status = control.node().status();
        if status.leader != Some(status.node) {
            // Another leader may have taken more meanwhile.
            held = None;
            *pull.heard.lock() = Heard::default();
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        }
        let asked = Round { control, pull }.ask(&mut held).await;
        let word = pull.heard.lock().note(asked.as_ref().err().map(ToString::to_string));
        word.tell(&pull.from.region);
        if asked.is_err() {
            tokio::time::sleep(retry).await;
            retry = retry.saturating_mul(2).min(RETRY_MAX);
        } else {
            retry = RETRY_MIN;
        }
    }
}

struct Round<'a> {
    control: &'a dyn Home,
    pull: &'a Pull,
}

impl Round<'_> {
    /// One question. What is wrong with one line keeps no other out, and is asked for again when its author says more.
    async fn ask(&self, held: &mut Option<u64>) -> Result<(), Failed> {
        if self.control.node().ledger().voters().level() < LEVEL {
            return Err(Failed::Level);
        }
        let scope = Scope {
            region: self.control.region().clone(),
            tenants: self.pull.from.tenants.clone(),
        };
        // Whatever goes wrong, everything is asked for next: an author that was set back answers nothing else.
        let after = held.take();
        let signed = match self.source(move |source| source.page(&scope, after)).await {
            Err(Failed::Source(SourceError::Status(BEHIND))) => {
                return Err(Failed::Behind { after: after.unwrap_or(0) });
            }
            signed => signed?,
        };
        let page = Page::read(&signed, &self.pull.keys, self.control.region());
        let page = page.map_err(Failed::Page)?;
        if page.after.is_some() && page.after != after {
            return Err(Failed::Gap);
        }
        let floor = self.lines().into_values().map(|author| author.revision).chain(after).max();
        if let Some(held) = floor.filter(|held| page.revision < *held) {
            return Err(Failed::SetBack { revision: page.revision, held });
        }
        let (mut listed, mut is_whole) = (BTreeSet::new(), true);
        for signed in &page.releases {
            match self.one(signed).await? {
                Some(line) => drop(listed.insert(line)),
                None => is_whole = false,
            }
        }
        if is_whole {
            self.withdraw(&page, &listed).await?;
        }
        *held = Some(page.revision);
        Ok(())
    }

    /// The lines of this author, as the ledger has them.
    fn lines(&self) -> BTreeMap<LineKey, Author> {
        let ledger = self.control.node().ledger();
        let lines = ledger.releases().lines();
        let of = lines.filter_map(|(key, line)| Some((key.clone(), line.author()?.clone())));
        of.filter(|(_, author)| author.region == self.pull.from.region).collect()
    }

    /// Takes one line, or says why not. `None` is a line that cannot be told from one that is not listed.
    async fn one(&self, signed: &str) -> Result<Option<LineKey>, Failed> {
        let statement = Statement::read(signed, &self.pull.keys, self.control.region());
        let statement = match statement {
            Ok(statement) => statement,
            Err(cause) => {
                warn!(author = %self.pull.from.region, %cause, "a statement of the author does not count");
                return Ok(None);
            }
        };
        let (line, epoch) = (statement.line.clone(), statement.pointer.epoch);
        if !self.pull.is_asked(&line) {
            return Ok(Some(line));
        }
        let taken = match self.checked(statement).await {
            Ok(Some(taking)) => self.propose(taking).await,
            Ok(None) => Ok(()),
            Err(unfit) => Err(unfit),
        };
        let is_set_back = match taken {
            Ok(()) => {
                self.pull.heard.lock().refused.remove(&line);
                false
            }
            Err(Unfit::Failed(failed)) => return Err(failed),
            Err(Unfit::Refused { why, is_set_back }) => {
                self.refuse(&line, Refused { epoch, why });
                is_set_back
            }
        };
        Ok((!is_set_back).then_some(line))
    }

    fn refuse(&self, line: &LineKey, refused: Refused) {
        let mut heard = self.pull.heard.lock();
        if heard.refused.get(line) != Some(&refused) {
            let (author, Refused { epoch, why }) = (&self.pull.from.region, &refused);
            error!(%author, ?line, epoch, why, "a release of the author is not taken");
            heard.refused.insert(line.clone(), refused);
        }
    }

    /// What is to be proposed, once all of it was checked; `None` where the ledger has it.
    async fn checked(&self, statement: Statement) -> Result<Option<Taking>, Unfit> {
        let Statement { revision, line, pointer, bundles, author, .. } = statement;
        if author.is_some() {
            return Err(Unfit::refused("it comes from a third region".to_owned()));
        }
        let known = self.lines().remove(&line);
        let is_by_these_keys = known.as_ref().is_some_and(|it| *it.keys == *self.pull.from.keys);
        if is_by_these_keys && known.is_some_and(|it| it.pointer == pointer && !it.is_withdrawn) {
            return Ok(None);
        }
        let mut versions = Vec::new();
        for number in pointer.versions().collect::<BTreeSet<_>>() {
            let bundle = bundles.get(&number).copied();
            let bundle = bundle.ok_or_else(|| Unfit::bundle(number, "is not named"))?;
            let known = self.known(&line, number, bundle).filter(|_| is_by_these_keys);
            let source = match known {
                Some(source) => source,
                None => self.brought(&line, number, bundle).await?,
            };
            versions.push(Brought { number, bundle, source });
        }
        let (author, keys) = (self.pull.from.region.clone(), self.pull.from.keys.as_str().into());
        Ok(Some(Taking { line, author, revision, keys, pointer, versions }))
    }

    /// What a version was made of that was checked before, and is still held.
    fn known(&self, line: &LineKey, number: u32, bundle: Hash) -> Option<Hash> {
        let ledger = self.control.node().ledger();
        let version = ledger.releases().line(line)?.version(number)?;
        let is_held = version.bundle == bundle && ledger.releases().content(bundle).is_some();
        is_held.then_some(version.source)
    }

    /// Has the bundle of a version checked, and stored.
    async fn brought(&self, line: &LineKey, number: u32, bundle: Hash) -> Result<Hash, Unfit> {
        let content = self.source(move |source| source.content(bundle)).await?;
        if Hash::of(&content) != bundle {
            return Err(Unfit::bundle(number, "has another digest than the statement names"));
        }
        let source = self.cleared(line, number, content.clone()).await?;
        self.act(ReleaseAct::Store { digest: bundle, content }).await?;
        Ok(source)
    }

    /// Takes a bundle through the gate of a gateway, and says what it was made of.
    async fn cleared(&self, line: &LineKey, number: u32, bytes: Vec<u8>) -> Result<Hash, Unfit> {
        let _turn = self.control.compiling().lock().await;
        let (keys, line) = (self.pull.keys.clone(), line.clone());
        let cleared = tokio::task::spawn_blocking(move || clear(&bytes, (&line, number), &keys));
        cleared.await.map_err(|_| Unfit::Failed(Failed::Stopping))?.map_err(Unfit::refused)
    }

    async fn propose(&self, taking: Taking) -> Result<(), Unfit> {
        let (line, epoch) = (taking.line.clone(), taking.pointer.epoch);
        let active = taking.pointer.choice.active;
        match self.act(ReleaseAct::Take(Box::new(taking))).await {
            Ok(()) => {
                info!(author = %self.pull.from.region, ?line, epoch, active, "a release was taken")
            }
            Err(Unfit::Refused { why, is_set_back }) => {
                return Err(Unfit::Refused { why, is_set_back });
            }
            Err(failed) => return Err(failed),
        }
        Ok(())
    }

    /// Lines that the author releases here no more. One that was set back cannot say so.
    async fn withdraw(&self, page: &Page, listed: &BTreeSet<LineKey>) -> Result<(), Failed> {
        let is_gone = |line: &LineKey| match page.after {
            None => !listed.contains(line),
            Some(_) => page.gone.contains(line),
        };
        for (line, author) in self.lines() {
            if author.is_withdrawn || !self.pull.is_asked(&line) || !is_gone(&line) {
                continue;
            }
            warn!(author = %author.region, ?line, "the author releases nothing here any more");
            let (author, revision) = (author.region, page.revision);
            match self.act(ReleaseAct::Withdraw { line, author, revision }).await {
                Ok(()) | Err(Unfit::Refused { .. }) => {}
                Err(Unfit::Failed(failed)) => return Err(failed),
            }
        }
        Ok(())
    }

    /// Proposes; what another voter did in the same moment is done.
    async fn act(&self, act: ReleaseAct) -> Result<(), Unfit> {
        match self.control.release(&self.pull.by, act).await {
            Ok(_) | Err(Problem::Release(ReleaseRefusal::NothingToDo)) => Ok(()),
            Err(Problem::Release(refusal)) => {
                let is_set_back = matches!(
                    refusal,
                    ReleaseRefusal::AuthorSetBack { .. } | ReleaseRefusal::AuthorForked { .. }
                );
                Err(Unfit::Refused { why: refusal.to_string(), is_set_back })
            }
            Err(problem) => Err(Unfit::Failed(Failed::Ledger(problem))),
        }
    }

    /// Asks on a thread of its own: an answer may take half a minute, and nobody who stops should wait for it.
    async fn source<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Source) -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, Failed> {
        let (told, answer) = oneshot::channel();
        let source = Arc::clone(&self.pull.from.source);
        let thread = std::thread::Builder::new().name("aegis-pull".to_owned());
        let spawned = thread.spawn(move || told.send(ask(source.as_ref())).ok());
        spawned.map_err(|_| Failed::Stopping)?;
        Ok(answer.await.map_err(|_| Failed::Stopping)??)
    }
}

/// Why a line is not taken.
enum Unfit {
    /// It is tried again.
    Failed(Failed),
    /// Not before its author says something else.
    Refused { why: String, is_set_back: bool },
}

impl Unfit {
    fn refused(why: String) -> Self {
        Unfit::Refused { why, is_set_back: false }
    }

    fn bundle(number: u32, what: &str) -> Self {
        Self::refused(format!("the bundle of version {number} {what}"))
    }
}

impl From<Failed> for Unfit {
    fn from(failed: Failed) -> Self {
        Unfit::Failed(failed)
    }
}

/// The digest of the source of a bundle that may decide.
fn clear(bytes: &[u8], (line, number): (&LineKey, u32), keys: &KeySet) -> Result<Hash, String> {
    let about = |error: String| format!("version {number}: {error}");
    let bundle = Bundle::open(bytes).map_err(|error| about(error.to_string()))?;
    if Environment::parse(&bundle.manifest().env).as_ref() != Some(&line.environment) {
        return Err(about("it is for another environment".to_owned()));
    }
    let gate =
        Gate { tenant: &line.tenant, version: number.into(), inputs: INPUTS, bundle_sha256: None };
    let check = |jwt: &str| verify_jws_within(jwt, SIGNATURE_TYPE, keys, SIGNATURE_BYTES_MAX);
    let cleared =
        clear_bundle(bundle, check, &gate).map_err(|refusal| about(refusal.to_string()))?;
    digest(cleared.snapshot().source_digest())
        .ok_or_else(|| about("its source has no digest".to_owned()))
}

/// A hash from 64 hexadecimal digits, as policies write digests.
pub fn digest(text: &str) -> Option<Hash> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        let start = at.checked_mul(2)?;
        *byte = u8::from_str_radix(text.get(start..start.checked_add(2)?)?, 16).ok()?;
    }
    Some(Hash::from_bytes(bytes))
}
