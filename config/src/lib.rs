//! The whole configuration as checked values; `aegis.yaml` becomes this once, or every error is reported together.
//!
//! Not here: building anything from them (`gateway::wire`).
//! Invariant: a `Config` that exists is complete: every reference in it resolves, every limit is set.

mod allowed;
mod client_certificate;
mod lent;
mod read;
mod read_audit;
mod read_definition;
mod read_modes;
mod read_people;
mod read_policy;
mod read_pull;
mod read_region;
mod read_spending;
mod read_state;
mod read_tool;
mod spending;
mod unusable;

pub use allowed::{Allowed, NotAllowed};
pub use client_certificate::ClientCertificate;
pub use lent::{Borrows, LentKind, LentName, LentNameError, NotLent};
pub use read_audit::{AuditShipping, OutsideWitness, RetentionMode, ShipRetention, ShipTo};
pub use read_definition::{ToolDefinition, limits_definition};
pub use read_people::PeopleIssuer;
pub use read_pull::{ExportTo, PolicyExport, Pull, SharedReleases};
pub use read_region::{
    ClusterDoor, ControlApi, ControlTls, ExchangeIssuer, ExchangeKeys, FollowedRegistry,
    RegionRegistry,
};
pub use spending::{CallLimits, SpendLimit, limited};
pub use unusable::{Leads, Unusable};

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aegis_decide::{OutageRule, Price};
use aegis_document::Diagnostics;
use aegis_domain::{
    AgentId, CallKind, Host, MicroUsd, OrgId, Region, Scheme, Secret, TeamId, TenantId, ToolName,
    Ttl,
};
use aegis_identity::{CertificateThumbprint, Modes};
use aegis_ledger::Environment;
use aegis_policy_rollout::Share;
use aegis_state::{Budgets, Rates, RedisConfig};
use ipnet::IpNet;

/// Everything one gateway process needs to know before it starts.
#[derive(Debug)]
pub struct Config {
    /// Where this was read.
    pub file: PathBuf,
    pub region: Region,
    /// The name audit origins begin with, such as `audit.example.com`.
    pub domain: String,
    pub data_dir: PathBuf,
    pub listen: Listen,
    pub limits: Limits,
    pub state: StateHome,
    /// Without it the audit log stays on this disk.
    pub shipping: Option<AuditShipping>,
    /// Who is shown the audit registry's heads, beside the region's own voters.
    pub witnesses: Vec<OutsideWitness>,
    /// How many of them must agree to the audit log, if it shall not go on without.
    pub witness_quorum: Option<NonZeroUsize>,
    /// How long a head may wait for the region's voters before calls that write are refused; without it, for ever.
    pub anchor_lag_max: Option<Duration>,
    pub identity: IdentityConfig,
    /// The region's registry of agents, beside those that tenants name here.
    pub registry: Option<RegionRegistry>,
    /// What the region may define of tools and limits, in place of what stands below `tenants`; nothing, where it is absent.
    pub definitions: Option<Arc<Allowed>>,
    /// What this gateway is called among those of its region, if it has a name.
    pub name: Option<String>,
    /// Signed releases, for a first start with nobody reachable.
    pub policy_export: Option<PolicyExport>,
    /// Gateways of other regions, for the callers that must go there.
    pub regions: BTreeMap<Region, String>,
    pub tenants: BTreeMap<TenantId, Arc<Tenant>>,
    /// The agents that certificates stand for.
    pub certificates: BTreeMap<CertificateThumbprint, (TenantId, AgentId)>,
    /// SHA-256 of the configuration text, for the record.
    pub sha256: [u8; 32],
}

/// Where the hot state lives.
#[derive(Debug)]
pub enum StateHome {
    /// Below `data_dir`, this process's alone.
    Embedded,
    /// Shared with the region's other gateways. Its tenants and its memory are the wiring's to fill in.
    Redis(Box<RedisHome>),
}

/// A home that the region's gateways share.
#[derive(Debug)]
pub struct RedisHome {
    pub servers: RedisConfig,
    /// Off where it is absent.
    pub leases: Option<Leases>,
}

/// How much money a gateway may hold on a hot list of budgets, to decide its calls without a trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leases {
    /// The most that one lease holds.
    pub amount: MicroUsd,
    /// How many gateways the region may have.
    pub gateways: NonZeroU32,
    /// How long calls are paid out of one lease.
    pub ttl: Ttl,
}

/// Where this process listens.
#[derive(Debug)]
pub struct Listen {
    pub plain: Option<SocketAddr>,
    pub tls: Option<TlsListen>,
    pub metrics: SocketAddr,
}

#[derive(Debug)]
pub struct TlsListen {
    pub address: SocketAddr,
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Who signs the certificates of agents; without it none are asked for.
    pub client_ca: Option<PathBuf>,
}

/// Limits on a request head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    pub bytes_max: usize,
    pub headers_max: usize,
}

/// The most headers any configuration may allow; it bounds the parser's table.
pub const HEADERS_CEILING: usize = 256;

/// Every bound on a call and a connection, with its default.
#[derive(Clone, Debug)]
pub struct Limits {
    pub head: HeadLimits,
    pub head_deadline: Duration,
    pub body_bytes_max: usize,
    pub body_deadline: Duration,
    /// What a call may wait for its record to be on disk.
    pub record_deadline: Duration,
    /// What all bodies in memory may take together.
    pub bodies_bytes_max: usize,
    pub connections_max: usize,
    /// Earlier versions of each tenant's policy that a rollback finds ready.
    pub policies_kept: usize,
    /// On how many generated inputs two engines must agree before a version goes live.
    pub policies_compared: usize,
    pub idle: Duration,
    /// How long a drain waits between "not ready" and closing the listeners.
    pub drain: Duration,
    /// How long calls under way may take to end after that.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: HeadLimits { bytes_max: 32 * 1_024, headers_max: 100 },
            head_deadline: Duration::from_secs(10),
            body_bytes_max: 8 * 1_024 * 1_024,
            body_deadline: Duration::from_secs(30),
            record_deadline: Duration::from_secs(5),
            bodies_bytes_max: 512 * 1_024 * 1_024,
            connections_max: 20_000,
            policies_kept: 5,
            policies_compared: 256,
            idle: Duration::from_secs(60),
            drain: Duration::from_secs(3),
            grace: Duration::from_secs(30),
        }
    }
}

/// Whose tokens are believed.
#[derive(Debug)]
pub struct IdentityConfig {
    /// What tokens for this gateway name in `aud`.
    pub audience: String,
    /// The base URLs under which agents reach this gateway, which their proofs name.
    pub urls: Vec<String>,
    /// Whether a proof must carry a nonce that was given out a moment ago.
    pub demands_nonces: bool,
    pub issuers: Vec<IssuerConfig>,
    /// How long the region may not have been heard of before calls that write are refused.
    pub revocation_lag_max: Duration,
}

#[derive(Debug)]
pub struct IssuerConfig {
    pub issuer: String,
    pub jwks: PathBuf,
    /// The tenants it may speak for; `None` is all of them, and then there is no other issuer.
    pub tenants: Option<BTreeSet<TenantId>>,
}

/// One tenant: its home region, policy, agents, tools and money.
#[derive(Clone, Debug)]
pub struct Tenant {
    pub id: TenantId,
    pub org: OrgId,
    /// Where its calls must be made from; elsewhere they are refused.
    pub region: Region,
    pub policy: PolicySource,
    /// How its agents must show who they are, where they have no modes of their own.
    pub modes: Modes,
    /// For all its agents together.
    pub limits: CallLimits,
    /// What those of a team may spend together.
    pub teams: BTreeMap<TeamId, Vec<SpendLimit>>,
    pub agents: BTreeMap<AgentId, Agent>,
    pub tools: BTreeMap<ToolName, Arc<ToolBinding>>,
    /// How calls through the forward proxy go to origins that no tool is for, if the policy lets them.
    pub direct: Arc<ToolBinding>,
    /// What the region defines of it and this gateway cannot follow.
    pub unusable: Unusable,
}

/// Where a tenant's policy comes from.
#[derive(Clone, Debug)]
pub enum PolicySource {
    Files(PolicyFiles),
    /// What the region releases for it in this environment.
    Release(Environment),
}

/// The files of a tenant's policy: the version that decides, and one that may come after it.
#[derive(Clone, Debug)]
pub struct PolicyFiles {
    /// Together one set.
    pub enforce: Vec<PathBuf>,
    pub candidate: Option<CandidateFiles>,
}

#[derive(Clone, Debug)]
pub struct CandidateFiles {
    /// Together one set.
    pub files: Vec<PathBuf>,
    /// The share of agents whose calls it decides.
    pub agents: Share,
    /// The share of all other calls that it is asked about, without effect.
    pub sample: Share,
}

/// A registered agent.
#[derive(Clone, Debug)]
pub struct Agent {
    pub groups: BTreeSet<String>,
    pub attributes: BTreeMap<String, serde_json::Value>,
    pub parent: Option<AgentId>,
    pub standing: Standing,
    pub modes: Option<Modes>,
    /// What stands for it where it shows no token.
    pub certificate: Option<AgentCertificate>,
    pub team: Option<TeamId>,
    /// Its own budgets, its team's and its tenant's (`Tenant::budgets_of`).
    pub budgets: Budgets,
    pub rates: Rates,
    pub in_flight: Option<NonZeroU32>,
}

/// A certificate that stands for an agent, and what it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentCertificate {
    pub thumbprint: CertificateThumbprint,
    pub scopes: BTreeSet<String>,
}

/// Whether an agent may call at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Active,
    Disabled,
}

/// An upstream as one tenant uses it, under the route `/<name>/...` of its agents.
#[derive(Debug)]
pub struct ToolBinding {
    /// Endpoint per region; `None` is the one for all regions.
    pub upstreams: BTreeMap<Option<Region>, Upstream>,
    /// Non-public networks this tool may be dialled in.
    pub addresses: Vec<IpNet>,
    /// Addresses given instead of DNS.
    pub resolve: Vec<IpAddr>,
    pub ca_file: Option<PathBuf>,
    /// Shown to upstreams that ask who calls.
    pub client_certificate: Option<Arc<ClientCertificate>>,
    pub protocol: Protocol,
    pub credential: Option<Arc<Credential>>,
    pub price: Price,
    /// For all who call it together.
    pub limits: CallLimits,
    pub kind: Option<CallKind>,
    pub body: BodyMode,
    pub speaks: Speaks,
    /// How callers must show who they are.
    pub modes: Modes,
    pub body_bytes_max: Option<usize>,
    pub encoded_slashes: EncodedSlashes,
    pub connect_timeout: Duration,
    pub read_timeout: Duration,
    pub outage: OutageRule,
    pub hold: Ttl,
}

/// Where a tool's calls go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    pub scheme: Scheme,
    pub host: Host,
    pub port: u16,
    /// Comes before the path the agent asked for; without a final slash.
    pub base_path: String,
}

/// Which HTTP version is spoken to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
    /// HTTP/2 where TLS negotiates it, else HTTP/1.1.
    Auto,
}

/// What the bodies sent to a tool are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// Whatever their content type says.
    Http,
    /// Messages of the Model Context Protocol: a tool call is judged as a call of that tool.
    Mcp,
}

/// What becomes of a call with an escaped slash in its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodedSlashes {
    /// Servers disagree on what it is.
    Refuse,
    /// It goes on as it stands: this upstream takes it for a character of its segment.
    Allow,
}

/// Whether a body is read and judged, or passed on as it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyMode {
    Inspect,
    /// For bidirectional streams; policy sees no parameters of the body and no scan result.
    Stream,
}

/// What is put into calls in the place of the agent's token.
#[derive(Debug)]
pub struct Credential {
    pub header: http::HeaderName,
    /// The whole header value, prefix included.
    pub value: Secret<http::HeaderValue>,
}

impl Config {
    /// Reads and checks `aegis.yaml`; paths in it are relative to the folder it lies in.
    pub fn load(path: &std::path::Path) -> Result<Self, Diagnostics> {
        read::load(path)
    }
}

impl Default for ToolBinding {
    fn default() -> Self {
        Self {
            upstreams: BTreeMap::new(),
            addresses: Vec::new(),
            resolve: Vec::new(),
            ca_file: None,
            client_certificate: None,
            protocol: Protocol::Auto,
            credential: None,
            price: Price::Free,
            limits: CallLimits::default(),
            kind: None,
            body: BodyMode::Inspect,
            speaks: Speaks::Http,
            modes: Modes::ANY,
            body_bytes_max: None,
            encoded_slashes: EncodedSlashes::Refuse,
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(60),
            outage: OutageRule::DenyAll,
            hold: HOLD,
        }
    }
}

/// How long money stays held for a call whose end nobody reported; then the estimate is charged.
const HOLD: Ttl = Ttl::from_s(15 * 60);

impl ToolBinding {
    /// The endpoint for calls made from `region`, if the tool has one there.
    pub fn upstream(&self, region: &Region) -> Option<&Upstream> {
        self.upstreams.get(&Some(region.clone())).or_else(|| self.upstreams.get(&None))
    }

    /// Whether it costs something or shows who we are, so that not everybody who may define tools may define this one.
    pub fn is_entrusted(&self) -> bool {
        let is_shown = self.credential.is_some() || self.client_certificate.is_some();
        is_shown || self.price != Price::Free || !self.limits.spend.is_empty()
    }
}
