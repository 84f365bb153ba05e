//! Builds the object graph from a checked configuration.
//!
//! Not here: what any part does, and running it (`serve`). Invariant: nothing listens before everything that can fail
//! has been built.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use aegis_audit_disclosures::Disclosures;
use aegis_audit_ship::Journal;
use aegis_domain::Ttl;
use aegis_identity::{KeySet, Nonces, SigningKey, TokenLimits, TrustedIssuer};
use aegis_resolve::Resolver;
use aegis_state::{HotState, LeftHold, Notes, RedisConfig, RedisState, StateError};
use aegis_state_embedded::{EmbeddedConfig, EmbeddedState, HoldNotes};
use aegis_state_leased::{LeaseConfig, Leased};
use aegis_telemetry::{Durable, Follower, FollowerConfig, JsonLines, Metrics};
use anyhow::Context as _;
use bytes::Bytes;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{Semaphore, mpsc};

use crate::door::Intercept;
use crate::proofs::Turns;
use crate::reload::Reloading;
use crate::rooms::forward;
use crate::serve::Stop;
use aegis_authority::{BundleKey, Store};
use aegis_conduit::upstream::{ClientIdentity, Spoken, Trust as Upstreams};
use aegis_config::{Config, Leases, RegionRegistry, StateHome};
use aegis_corridor::Corridor;
use aegis_corridor::clock;
use aegis_corridor::drain::Drain;
use aegis_corridor::recover::Recovery;
use aegis_corridor::roster::{RegionIssuer, Roster, Trusted};
use aegis_corridor::shadow::{Job, Shadow};
use aegis_corridor::tenants::Tenants;
use aegis_corridor::via::Via;
use aegis_corridor::warnings::Warnings;
use aegis_gateway_region::evidence::Settled;
use aegis_gateway_region::{Means, Region, anchors, evidence, keys, metadata, releases};
use aegis_policy_store::Policies;

/// The corridor, and what doors and dialling need besides.
pub struct Gateway {
    pub corridor: Arc<Corridor>,
    /// Whose turn it is to change policies.
    pub reloading: Reloading,
    /// Whose turn it is to have a proof made.
    pub proofs: Turns,
    /// What the region releases for its tenants, where it does.
    pub releases: Option<aegis_policy_follow::Follower>,
    pub jwks: Bytes,
    /// Which token service this gateway believes (RFC 9728), where there is one.
    pub resource: Option<Bytes>,
    pub resolver: Resolver,
    /// Signs bundles for OPAs that know no EdDSA.
    pub bundle_key: BundleKey,
    /// Opens the tunnels of the forward proxy.
    pub intercept: Intercept,
    /// How upstreams prove themselves, and we to them.
    pub trust: Arc<Upstreams>,
    pub spoken: Spoken,
    /// What request bodies in memory may take together, in bytes.
    pub body_room: Arc<Semaphore>,
    pub connections: Arc<Semaphore>,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "gateway of {}", self.corridor.config.region)
    }
}

impl Gateway {
    /// Whether dialling an address would reach a listener of this process. Only addresses of this host can be bound.
    pub fn is_itself(&self, address: SocketAddr) -> bool {
        let listen = &self.corridor.config.listen;
        let tls = listen.tls.as_ref().map(|tls| tls.address);
        let control = match &self.corridor.config.registry {
            Some(RegionRegistry::Kept(api)) => {
                [Some(api.address), api.cluster.as_ref().map(|door| door.listen)]
            }
            Some(RegionRegistry::Followed(_)) | None => [None, None],
        };
        let ours = listen.plain.into_iter().chain(tls).chain([listen.metrics]);
        let mut ours = ours.chain(control.into_iter().flatten());
        ours.any(|ours| {
            let is_heard = ours.ip().is_unspecified() || ours.ip() == address.ip();
            ours.port() == address.port() && is_heard
        }) && UdpSocket::bind((address.ip(), 0)).is_ok()
    }
}

/// A gateway that is ready to run.
pub struct Built {
    pub gateway: Arc<Gateway>,
    pub stop: Stop,
    pub recovery: Recovery,
    /// Marked once that is done.
    pub settled: Settled,
    /// Tells the journal to people and machines; dropped after the journal is closed, so that it tells all of it.
    pub follower: Follower,
    pub control: Runtime,
    /// The registry of the region's agents.
    pub region: Region,
    /// What `shadow` holds, for the thread that asks.
    pub shadow_jobs: mpsc::Receiver<Job>,
}

/// Opens everything; blocks on the disk.
pub fn build(config: Config) -> anyhow::Result<Built> {
    aegis_dlp::prepare();
    aegis_policy::prepare();
    keys::ensure(&config.data_dir)?;
    let policies = Policies::load(&config, clock::now())?;
    let trust = trust(&config)?;
    let roster = Arc::new(Roster::new(trusted(&config)?));
    let control = control_runtime()?;
    let region_key = keys::region(&config.data_dir)?;
    let (log, journal, records) = evidence::open(&config)?;
    let journal = Arc::new(journal);
    let (state, holds) =
        state(&config, control.handle()).context("the hot state cannot be opened")?;
    let recovery = Recovery { records, holds };
    let metrics = Metrics::new();
    let tenants = Arc::new(Tenants::new(&config, metrics.definitions().clone()));
    let means = means((&roster, &tenants, &state), (&region_key, &metrics), &journal);
    let region = Region::open(&config, means, control.handle())?;
    tell_live(&policies, &metrics);
    let (shadow, shadow_jobs) = Shadow::new();
    let follower = follower(&config, &journal, metrics.clone())?;
    let settled = Settled::default();
    let shipper = evidence::ship(&config, (&log, &journal), (settled.clone(), follower.saved()))?;
    let (anchors, witnesses) =
        anchors::start(&config, (&log, &journal), (region.control(), control.handle()))?;
    let (intercept, bundle_key) = outward(&config)?;
    let jwks = KeySet::default().with(region_key.public_key().clone())?.to_jwks_json();
    let connections = Arc::new(Semaphore::new(config.limits.connections_max));
    let body_room = Arc::new(Semaphore::new(config.limits.bodies_bytes_max));
    let resource = metadata::document(&config);
    let corridor = Corridor {
        approvals: region.approvals(),
        issuer: config.identity.audience.clone(),
        roster,
        tenants,
        nonces: config.identity.demands_nonces.then(|| Nonces::derived(&region_key)),
        metadata: metadata::url(&config),
        policies,
        shadow,
        state,
        journal,
        shipper,
        anchors,
        witnesses,
        disclosures: Disclosures::new(config.data_dir.join("disclosures")),
        region_key,
        via: Via::new(&config.domain, &config.region),
        drain: Arc::new(Drain::default()),
        metrics,
        warnings: Warnings::default(),
        control: control.handle().clone(),
        config,
    };
    let corridor = Arc::new(corridor);
    let gateway = Gateway {
        releases: releases::follow(&corridor, region.control())?,
        corridor,
        reloading: Reloading::default(),
        proofs: Turns::default(),
        jwks: Bytes::from(jwks),
        resource,
        resolver: Resolver::default(),
        bundle_key,
        intercept,
        trust: Arc::new(trust),
        spoken: Spoken::default(),
        body_room,
        connections,
    };
    let (gateway, stop) = (Arc::new(gateway), Stop::default());
    Ok(Built { gateway, stop, recovery, settled, follower, control, region, shadow_jobs })
}

/// What the region stands on.
fn means(
    (roster, tenants, state): (&Arc<Roster>, &Arc<Tenants>, &Arc<dyn HotState>),
    (region_key, metrics): (&SigningKey, &Metrics),
    journal: &Arc<Journal>,
) -> Means {
    Means {
        roster: Arc::clone(roster),
        tenants: Arc::clone(tenants),
        state: Arc::clone(state),
        region_key: region_key.clone(),
        metrics: metrics.voters().clone(),
        journal: Arc::clone(journal),
    }
}

/// What opens tunnels, and what stock OPA verifies bundles with.
fn outward(config: &Config) -> anyhow::Result<(Intercept, BundleKey)> {
    let authority = Store::at(&config.data_dir.join("ca")).open(&config.region, clock::now());
    let intercept = Intercept::new(authority.context("the proxy's authority cannot be used")?)?;
    let bundles = BundleKey::open(&config.data_dir.join("keys/bundles.pem"));
    Ok((intercept, bundles.context("the key of bundles cannot be used")?))
}

fn tell_live(policies: &Policies, metrics: &Metrics) {
    for (tenant, store) in policies.iter() {
        metrics.policy().live(tenant, store.current().live.snapshot().policy_ref().version);
    }
}

/// The hot state, and the holds an earlier life of this gateway left open in it.
fn state(
    config: &Config,
    runtime: &Handle,
) -> Result<(Arc<dyn HotState>, Vec<LeftHold>), StateError> {
    match &config.state {
        StateHome::Embedded => {
            let directory = config.data_dir.join("state");
            let state = EmbeddedState::open(EmbeddedConfig::new(directory))?;
            let alone = |hold| LeftHold { hold, draws: Vec::new() };
            let holds = state.open_holds().into_iter().map(alone).collect();
            Ok((Arc::new(state), holds))
        }
        StateHome::Redis(home) => {
            let redis = RedisConfig {
                tenants: config.tenants.keys().cloned().collect(),
                memory: Some(config.data_dir.join("shared-state")),
                ..home.servers.clone()
            };
            let (notes, holds) = HoldNotes::open(&config.data_dir.join("shared-holds"))?;
            let notes: Arc<dyn Notes> = Arc::new(notes);
            let state = RedisState::open_noting(redis, Arc::clone(&notes), runtime.clone())?;
            let state: Arc<dyn HotState> = Arc::new(state);
            let leased = |leases| leased(Arc::clone(&state), notes, leases, runtime);
            Ok((home.leases.map_or_else(|| Arc::clone(&state), leased), holds))
        }
    }
}

fn leased(
    state: Arc<dyn HotState>,
    notes: Arc<dyn Notes>,
    Leases { amount, gateways, ttl }: Leases,
    runtime: &Handle,
) -> Arc<dyn HotState> {
    let hot_calls_per_s = LeaseConfig::HOT_CALLS_PER_S;
    let config = LeaseConfig { amount, gateways, ttl, hot_calls_per_s };
    Arc::new(Leased::new(state, notes, config, runtime.clone()))
}

/// Its own threads: settling and reaping must not wait for calls, nor calls for them.
fn control_runtime() -> anyhow::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).thread_name("aegis-control").enable_all();
    builder.build().context("no runtime for the control tasks")
}

/// One JSON line per decision and per outcome in `decisions.jsonl`, and the counters behind `/metrics`.
fn follower(config: &Config, journal: &Journal, metrics: Metrics) -> anyhow::Result<Follower> {
    let data = &config.data_dir;
    let records = journal.durable();
    let durable =
        Durable { origin: journal.origin().clone(), records: Box::new(move || *records.borrow()) };
    let follow = FollowerConfig {
        durable: Some(durable),
        ..FollowerConfig::new(data.join("audit"), data.join("telemetry.cursor"))
    };
    let lines = JsonLines::to_file(&data.join("decisions.jsonl"))
        .context("the decision lines cannot be written")?;
    Follower::start(follow, vec![Box::new(lines), Box::new(metrics)])
        .context("the journal cannot be followed")
}

/// Finds what `build` would trip over, without opening anything that is written to.
pub fn preflight(config: &Config) -> Vec<anyhow::Error> {
    let mut found: Vec<anyhow::Error> = Vec::new();
    found.extend(Policies::check(config).err().map(anyhow::Error::from));
    found.extend(trust(config).err());
    found.extend(trusted(config).err());
    if let Some(tls) = &config.listen.tls {
        found.extend(crate::door::check_tls(tls).err());
    }
    found
}

fn trust(config: &Config) -> anyhow::Result<Upstreams> {
    let tenants = config.tenants.values();
    let bindings =
        tenants.flat_map(|tenant| tenant.tools.values().chain(std::iter::once(&tenant.direct)));
    let own = bindings.map(|it| (it.ca_file.as_ref(), it.client_certificate.as_ref()));
    let lent = config.definitions.iter().flat_map(|allowed| allowed.ways());
    let wanted = own.chain(lent).map(|(ca_file, shown)| {
        let identity = shown.map(|pair| ClientIdentity {
            chain: pair.chain.clone(),
            key: pair.key.expose().clone_key(),
        });
        (forward::way(ca_file, shown), identity)
    });
    Upstreams::load(wanted).context("upstreams cannot be verified")
}

fn trusted(config: &Config) -> anyhow::Result<Trusted> {
    let mut issuers = Vec::new();
    let audiences = vec![config.identity.audience.clone()];
    for issuer in &config.identity.issuers {
        let path = &issuer.jwks;
        let bytes = std::fs::read(path)
            .with_context(|| format!("the key set {} cannot be read", path.display()))?;
        let keys = KeySet::from_jwks(&bytes)
            .with_context(|| format!("the key set {} cannot be used", path.display()))?;
        let issuer = issuer.issuer.clone();
        issuers.push(TrustedIssuer { issuer, audiences: audiences.clone(), keys });
    }
    let region = config.registry.as_ref().map(|registry| RegionIssuer {
        issuer: registry.issuer().to_owned(),
        audiences: audiences.clone(),
    });
    let is_double = |region: &RegionIssuer| issuers.iter().any(|it| it.issuer == region.issuer);
    if region.as_ref().is_some_and(is_double) {
        anyhow::bail!("an issuer below `identity` has the name of the region's own token service");
    }
    let limits = TokenLimits {
        skew: Ttl::from_s(30),
        ttl_max: Ttl::from_s(15 * 60),
        token_bytes_max: 8_192,
    };
    Ok(Trusted { issuers, region, limits })
}
