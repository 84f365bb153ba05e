//! A gateway's part in its region: the registry, kept and served here or followed from another that does; the releases it
//! decides by; its keys; its audit log.
//!
//! Not here: what the registry is (`agents/registry`), its API (`control`), and asking the roster (`corridor`). Invariant:
//! what a command takes back is refused here before the command is answered, and within one page of the feed elsewhere.

mod afar;
pub mod anchors;
mod approvals;
mod chronicle;
mod door;
pub mod evidence;
mod exports;
mod files;
mod heard;
pub mod keys;
pub mod metadata;
mod name;
pub mod releases;
mod replay;
mod voter;

use std::sync::Arc;
use std::time::Duration;

use aegis_audit_ship::Journal;
use aegis_config::{
    Config, ControlApi, ControlTls, ExchangeIssuer, ExchangeKeys, ExportTo, FollowedRegistry,
    PeopleIssuer, RegionRegistry, SharedReleases,
};
use aegis_control::{
    Chronicle, Control, ControlConfig, HotPurse, Ledger, PeopleSource, PullFrom, Replicated,
    Serving, SubjectSource, SubjectSources,
};
use aegis_corridor::approvals::Approvals;
use aegis_corridor::clock;
use aegis_corridor::roster::{Belief, Roster};
use aegis_corridor::tenants::Tenants;
use aegis_domain::{Timestamp, VoterUrls};
use aegis_follow::{FeedConfig, Follower, KeySource};
use aegis_identity::{KeySet, SigningKey};
use aegis_policy_follow::Http;
use aegis_raft_store::Node;
use aegis_registry::{Actor, Definitions, View};
use aegis_state::HotState;
use aegis_telemetry::{AuthorGauges, VoterMetrics};
use aegis_vault::Files;
use anyhow::Context as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use self::afar::Afar;
use self::approvals::Counter;
use self::chronicle::Journalled;
use self::door::ControlDoor;
use self::exports::Exporter;
use self::heard::{Heard, Hearers};
use self::replay::HotReplay;
use self::voter::Voter;

/// How often keys that begin or cease to count by themselves are looked at.
const AGE_EVERY: Duration = Duration::from_secs(1);
/// As long as a follower believes what it last heard (`docs/spec/identity.md`).
const BELIEVED: Duration = Duration::from_secs(24 * 60 * 60);

/// The registry, ready to be served or already followed.
#[derive(Debug)]
pub struct Region {
    roster: Arc<Roster>,
    kept: Option<Kept>,
    followed: Option<Follower>,
    /// Followed for as long as it is here.
    defined: Option<Follower<Definitions>>,
    approvals: Option<Arc<dyn Approvals>>,
    metrics: VoterMetrics,
    /// How long it may be silent before calls that write are refused.
    lag_max: Duration,
}

#[derive(Debug)]
struct Kept {
    control: Arc<Control>,
    voter: Voter,
    heard: Arc<Heard>,
    chronicle: Arc<Journalled>,
    /// In whose name this gateway asks people about calls.
    asks_as: Actor,
    listener: std::net::TcpListener,
    serving: Serving,
    exporter: Option<Exporter>,
}

/// What a region is opened with, beside its configuration.
#[derive(Clone)]
pub struct Means {
    pub roster: Arc<Roster>,
    pub tenants: Arc<Tenants>,
    pub state: Arc<dyn HotState>,
    pub region_key: SigningKey,
    pub metrics: VoterMetrics,
    /// Where changes of the region are put on record.
    pub journal: Arc<Journal>,
}

impl Region {
    /// Opens the registry that is kept here, or begins to follow. Blocks on the disk.
    pub fn open(config: &Config, means: Means, runtime: &Handle) -> anyhow::Result<Self> {
        let (roster, metrics) = (Arc::clone(&means.roster), means.metrics.clone());
        let (kept, followed, defined, approvals) = (None, None, None, None);
        let lag_max = config.identity.revocation_lag_max;
        let mut region = Self { roster, kept, followed, defined, approvals, metrics, lag_max };
        match &config.registry {
            None => {}
            Some(RegionRegistry::Kept(api)) => {
                let kept = Kept::open(api, config, means, runtime)?;
                let (control, by) = (Arc::clone(&kept.control), kept.asks_as.clone());
                region.approvals = Some(Arc::new(Counter { control, by }));
                region.kept = Some(kept);
            }
            Some(RegionRegistry::Followed(registry)) => {
                region.approvals = Some(Arc::new(Afar::open(registry, runtime)?));
                if config.definitions.is_some() {
                    region.defined = Some(follow_definitions(registry, config, means.tenants)?);
                }
                region.followed = Some(follow(registry, config, means.roster)?);
            }
        }
        Ok(region)
    }

    /// The control node of this process, where the registry is kept here.
    pub fn control(&self) -> Option<&Arc<Control>> {
        self.kept.as_ref().map(|kept| &kept.control)
    }

    /// Where calls that wait for a person ask: in the region's ledger, here or at a voter.
    pub fn approvals(&self) -> Option<Arc<dyn Approvals>> {
        self.approvals.clone()
    }

    /// Serves the control API until the task is aborted, where the registry is kept here.
    pub fn run(self, runtime: &Handle) -> anyhow::Result<Running> {
        let _entered = runtime.enter();
        let voter = self.kept.as_ref().map(|kept| kept.voter.node.clone());
        let aging = age(Arc::clone(&self.roster), (self.followed, voter), self.lag_max);
        let mut tasks = vec![runtime.spawn(aging)];
        let (mut node, mut exports, mut door) = (None, None, None);
        if let Some(kept) = self.kept {
            let Kept { control, voter, heard, chronicle, listener, serving, exporter, asks_as: _ } =
                kept;
            exports = exporter;
            let hangup = signal(SignalKind::hangup()).context("SIGHUP cannot be watched")?;
            node = Some(voter.node.clone());
            tasks.push(runtime.spawn(heard.listen()));
            let on_record: Arc<dyn Chronicle> = Arc::<Journalled>::clone(&chronicle);
            tasks.push(runtime.spawn(voter.clone().settle(Arc::clone(&on_record))));
            tasks.push(runtime.spawn(pulled(Arc::clone(&control), self.metrics.clone())));
            tasks.push(runtime.spawn(voter.clone().watch(self.metrics)));
            tasks.push(runtime.spawn(voter.prove(hangup, on_record)));
            let listener = TcpListener::from_std(listener)
                .context("the control API cannot be listened for")?;
            door = Some(ControlDoor::open(listener, (control, serving), chronicle, runtime));
        }
        Ok(Running { tasks, node, door, _exports: exports, _defined: self.defined })
    }
}

/// Ends with its value.
#[derive(Debug)]
pub struct Running {
    tasks: Vec<JoinHandle<()>>,
    node: Option<Node>,
    door: Option<ControlDoor>,
    _exports: Option<Exporter>,
    _defined: Option<Follower<Definitions>>,
}

impl Running {
    /// Changes nothing more here. Whatever was begun is on record and answered before this returns, so the journal may close.
    pub async fn close_door(&mut self) {
        if let Some(door) = self.door.take() {
            door.close().await;
        }
    }

    /// Leaves the region's voters in order: whoever led has another lead, its last entry is on disk and its file free.
    pub async fn stop(self) {
        if let Some(node) = &self.node
            && let Err(error) = node.step_down().await
        {
            tracing::warn!(%error, "leadership could not be handed over; the others elect somebody");
        }
        if let Some(node) = &self.node
            && let Err(error) = node.stop().await
        {
            tracing::error!(%error, "the voter did not stop in order; its next start finds what it kept");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// What is followed is followed for as long as this runs. A voter is believed for as long as a follower is.
async fn age(
    roster: Arc<Roster>,
    (followed, voter): (Option<Follower>, Option<Node>),
    lag_max: Duration,
) {
    let mut before = Belief::Held;
    loop {
        tokio::time::sleep(AGE_EVERY).await;
        let now = clock::now();
        let silent = |voter: &Node| voter.status().in_touch_ago;
        let unheard = followed.as_ref().map(|followed| followed.silent_for(now));
        let is_believed = followed.as_ref().is_none_or(|followed| followed.is_believed(now));
        let lag = unheard.max(voter.as_ref().map(silent)).unwrap_or_default();
        let belief = match lag {
            lag if lag >= BELIEVED || !is_believed => Belief::Lost,
            lag if lag > lag_max => Belief::Stale,
            _ => Belief::Held,
        };
        match (before, belief) {
            (Belief::Held, Belief::Stale | Belief::Lost) => {
                tracing::error!(
                    silent_s = lag.as_secs(),
                    "the region is silent: calls that write are refused"
                );
            }
            (Belief::Stale | Belief::Lost, Belief::Held) => {
                tracing::warn!("the region is heard again")
            }
            (Belief::Held, Belief::Held) | (Belief::Stale | Belief::Lost, _) => {}
        }
        before = belief;
        roster.age(now, belief);
    }
}

impl Kept {
    fn open(
        api: &ControlApi,
        config: &Config,
        means: Means,
        runtime: &Handle,
    ) -> anyhow::Result<Self> {
        let directory = config.data_dir.join("control");
        let voter = runtime.block_on(Voter::open(config, api, &directory))?;
        let node = voter.node.clone();
        let (roster, tenants) = (means.roster, means.tenants);
        let purse = HotPurse::new(Arc::clone(&means.state), tenants.budgets());
        let purse = Arc::new(purse);
        let hearers = Hearers { roster, tenants, purse: Arc::clone(&purse) };
        let heard = Arc::new(Heard::new(Arc::new(Replicated::of(node.clone())), hearers));
        let ledger: Arc<dyn Ledger> = Arc::<Heard>::clone(&heard);
        let vault = Files::open(&directory.join("vault"))
            .context("the vault of token keys cannot be opened")?;
        let own = || vec![config.identity.audience.clone()];
        let wanted = ControlConfig {
            data_dir: directory,
            region: config.region.clone(),
            issuer: api.url.clone(),
            audiences: api.audiences.clone().unwrap_or_else(own),
            subjects: subjects(&api.exchange)?,
            region_key: means.region_key,
        };
        let replay = Arc::new(HotReplay::new(means.state));
        let stands_on = aegis_control::Means { node, ledger, vault: Arc::new(vault), replay };
        let control =
            Control::with(wanted, stands_on).context("the control API cannot be set up")?;
        // As far as an actor's name has room; an origin may have 255 bytes.
        let origin: String = means.journal.origin().as_str().chars().take(240).collect();
        let asks_as = Actor::parse(&format!("gateway {origin}"))
            .context("the gateway's own name cannot stand in the ledger")?;
        let chronicle = Arc::new(Journalled::new(means.journal));
        let control =
            control.with_purse(purse).with_chronicle(Arc::<Journalled>::clone(&chronicle));
        let control = control.reached_at(api.own_url.clone());
        let control = match &api.people {
            Some(from) => control.with_people(people(from)?),
            None => control,
        };
        let control = shared(control, &api.releases)?;
        let control = match config.identity.demands_nonces {
            true => control.demanding_nonces(),
            false => control,
        };
        let listener = std::net::TcpListener::bind(api.address)
            .with_context(|| format!("{} cannot be listened on", api.address))?;
        listener.set_nonblocking(true).context("the control API cannot be listened for")?;
        let serving = serving(api.tls.as_ref())?;
        let control = Arc::new(control);
        let exporter = match &api.releases.export {
            None => None,
            Some(ExportTo { to, every }) => {
                let store = (evidence::address(to)?, *every);
                Some(Exporter::start(Arc::clone(&control), config.region.clone(), store)?)
            }
        };
        Ok(Self { control, voter, heard, chronicle, asks_as, listener, serving, exporter })
    }
}

/// Lets other regions follow, and follows the one that authors.
fn shared(control: Control, releases: &SharedReleases) -> anyhow::Result<Control> {
    let given = releases.give.iter();
    let control = control.giving(given.map(|(region, token)| (region.clone(), token.clone())));
    let Some(pull) = &releases.pull else { return Ok(control) };
    let ca = pull.ca_file.as_deref().map(read).transpose()?;
    let source = Http::new(VoterUrls::new(&pull.url, &[]), pull.token.clone(), ca.as_deref())
        .context("the authoring region's releases cannot be followed")?;
    let from = PullFrom {
        region: pull.region.clone(),
        keys: read(&pull.region_keys)?,
        source: Arc::new(source),
        tenants: pull.tenants.clone(),
    };
    control.pulling(from).context("the authoring region's releases cannot be followed")
}

/// Tells how the region is that authors releases here, if another does.
async fn pulled(control: Arc<Control>, metrics: VoterMetrics) {
    while let Some(pulled) = control.pulled() {
        let status = control.node().status();
        let gauges = (status.leader == Some(status.node)).then(|| AuthorGauges {
            heard_at_s: pulled.heard_at.map_or(0, Timestamp::unix_s),
            is_silent: pulled.is_silent,
            refused: pulled.refused,
        });
        metrics.author(pulled.region.as_str(), gauges);
        tokio::time::sleep(AGE_EVERY).await;
    }
}

fn people(from: &PeopleIssuer) -> anyhow::Result<PeopleSource> {
    Ok(PeopleSource {
        issuer: from.issuer.clone(),
        audiences: from.audiences.clone(),
        keys: key_source(&from.keys)?,
        refresh: None,
        groups: from.groups.clone(),
        roles: from.roles.clone(),
        tenants: from.tenants.clone(),
    })
}

fn key_source(keys: &ExchangeKeys) -> anyhow::Result<KeySource> {
    Ok(match keys {
        ExchangeKeys::File(path) => KeySource::File(path.clone()),
        ExchangeKeys::Url { url, ca_file } => {
            let ca = ca_file.as_deref().map(read).transpose()?;
            KeySource::Url { url: url.clone(), ca }
        }
    })
}

fn serving(tls: Option<&ControlTls>) -> anyhow::Result<Serving> {
    let Some(ControlTls { certificate, key }) = tls else { return Ok(Serving::Plain) };
    let about = |path: &std::path::Path| format!("{} cannot be used", path.display());
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| about(certificate))?;
    let key = PrivateKeyDer::from_pem_file(key).with_context(|| about(key))?;
    let config = aegis_control::tls_config(chain, key).with_context(|| about(certificate))?;
    Ok(Serving::Tls(Arc::new(config)))
}

fn subjects(exchange: &[ExchangeIssuer]) -> anyhow::Result<SubjectSources> {
    let issuers = exchange.iter().map(|from| {
        Ok(SubjectSource {
            profile: from.profile,
            name: from.issuer.clone(),
            audiences: from.audiences.clone(),
            keys: key_source(&from.keys)?,
            rules: from.rules.clone(),
        })
    });
    let issuers = issuers.collect::<anyhow::Result<Vec<_>>>()?;
    Ok(SubjectSources { issuers, refresh: None })
}

fn follow(
    registry: &FollowedRegistry,
    config: &Config,
    roster: Arc<Roster>,
) -> anyhow::Result<Follower> {
    let follower = Follower::start_telling(feed(registry, config)?, move |view: &View| {
        roster.replace(view.clone(), clock::now());
    });
    follower.context("the region's registry cannot be followed")
}

fn follow_definitions(
    registry: &FollowedRegistry,
    config: &Config,
    tenants: Arc<Tenants>,
) -> anyhow::Result<Follower<Definitions>> {
    let follower = Follower::start_telling(feed(registry, config)?, move |it: &Definitions| {
        tenants.replace(it);
    });
    follower.context("the region's definitions cannot be followed")
}

fn feed(registry: &FollowedRegistry, config: &Config) -> anyhow::Result<FeedConfig> {
    let keys = read(&registry.region_keys)?;
    Ok(FeedConfig {
        voters: registry.voters.clone(),
        token: registry.token.clone(),
        ca: registry.ca_file.as_deref().map(read).transpose()?,
        issuer: registry.issuer.clone(),
        region_keys: KeySet::from_jwks(keys.as_bytes()).with_context(|| {
            format!("the key set {} cannot be used", registry.region_keys.display())
        })?,
        directory: config.data_dir.join("registry"),
    })
}

fn read(path: &std::path::Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}
