//! The control API: the token service for agents, and the administration of agents, keys, revocations and budgets for people.
//!
//! Not here: what may happen (`agents/registry`, `agents/tokens`), and where it is kept (`agents/store`, `agents/vault`).
//! Invariant: whatever changes the registry goes through `Ledger`, named and numbered, and nothing is answered before it is
//! kept.

mod access;
mod api;
mod author;
mod board;
mod command;
mod feed;
mod fleet;
mod issued;
mod keys;
mod oauth;
mod people;
mod policies;
mod provider;
mod releases;
mod replay;
mod rollouts;
mod subjects;

use std::path::PathBuf;
use std::sync::Arc;

use aegis_authority::VoterFiles;
use aegis_control_connection::Served;
use aegis_domain::{Region, Secret};
use aegis_identity::{KeySet, Nonces, SigningKey};
use aegis_raft_store::{Node, NodeError, OnFatal};
pub use aegis_tokens::FirstUse;
use aegis_tokens::Service;
use aegis_vault::{Files, Vault, VaultError};
use axum::response::IntoResponse as _;
use tokio::net::TcpListener;
use tokio::sync::Mutex;

pub use access::AccessError;
pub use aegis_access::{Permission, Principal, Reach, Role};
pub use aegis_control_budgets::{HotPurse, Purse};
pub use aegis_control_commands::{
    Begun, Changed, Chronicle, ChronicleError, Deed, Ledger, LedgerError, Proposal, RECORD_WITHIN,
    Reading, Replicated, UnderWay,
};
pub use aegis_control_connection::{Serving, TlsError, tls_config};
pub use aegis_control_messages::problem::{KeyError, LogError, ReleasesError};
pub use aegis_control_pull::{PullError, PullFrom};
pub use api::OPENAPI;
pub use author::Pulled;
pub use provider::PeopleSource;
pub use replay::{Memory, Replay, ReplayError};
pub use rollouts::{Observations, Watched};
pub use subjects::{SubjectSource, SubjectSources};

use access::Access;
use aegis_control_commands::Chronicled;
use aegis_control_messages::{clock, page, problem, read, shapes, stream};
use aegis_control_pull::Pull;
use aegis_control_witness::Witness;
use fleet::Fleet;
use issued::Issued;
use problem::Problem;
use provider::Provider;
use releases::Changes;
use subjects::Subjects;

/// What one control node is made from.
#[derive(Debug)]
pub struct ControlConfig {
    /// Where it keeps its things; made if it is not there, and owned by this process.
    pub data_dir: PathBuf,
    pub region: Region,
    /// The base URL it is reached at, which is also what its tokens name as their issuer.
    pub issuer: String,
    /// The gateways its tokens are for.
    pub audiences: Vec<String>,
    /// Foreign issuers whose tokens are taken in exchange.
    pub subjects: SubjectSources,
    /// Signs the feed.
    pub region_key: SigningKey,
}

/// What a control node stands on.
#[derive(Debug)]
pub struct Means {
    pub node: Node,
    /// The registry of that node's ledger, or whoever listens in on it.
    pub ledger: Arc<dyn Ledger>,
    pub vault: Arc<dyn Vault>,
    pub replay: Arc<dyn Replay>,
}

/// Why a control node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("the region's ledger cannot be opened")]
    Node(#[from] NodeError),
    #[error("the vault cannot be opened")]
    Vault(#[from] VaultError),
    #[error("the access tokens cannot be opened")]
    Access(#[from] AccessError),
    #[error("the first token key cannot be made")]
    Keys(#[from] KeyError),
    #[error("there is no gateway to issue tokens for")]
    NoAudience,
}

/// A control node.
#[derive(Debug)]
pub struct Control {
    service: Service,
    /// This process's part in the region's ledger.
    node: Node,
    /// The registry in that ledger.
    ledger: Arc<dyn Ledger>,
    vault: Arc<dyn Vault>,
    replay: Arc<dyn Replay>,
    subjects: Subjects,
    access: Access,
    /// Whose people may command, beside those with a session.
    provider: Option<Provider>,
    /// Where releases come from, if another region authors them.
    pull: Option<Pull>,
    region_key: SigningKey,
    /// Cosigns audit heads.
    witness: Witness,
    /// What makes this node a voter, and others with it.
    voters: VoterFiles,
    /// Checks the sessions that the region key signs.
    session_keys: KeySet,
    /// What a proof at the token endpoint must carry, where it must.
    nonces: Option<Nonces>,
    issued: Issued,
    region: Region,
    changes: Changes,
    fleet: Arc<Fleet>,
    /// Where changes are put on record; `None` where no audit log is at hand.
    chronicle: Option<Arc<dyn Chronicle>>,
    /// Where money is counted; `None` where no gateway's hot state is at hand.
    purse: Option<Arc<dyn Purse>>,
    /// One change of keys at a time, so that a key is in the vault and the registry or in neither.
    rotation: Mutex<()>,
    /// One compilation at a time: it may take seconds of a processor.
    compiling: Mutex<()>,
    observations: Arc<dyn Observations>,
}

impl aegis_control_budgets::Books for Control {
    fn ledger(&self) -> &dyn Ledger {
        self.ledger.as_ref()
    }

    fn purse(&self) -> Option<&dyn Purse> {
        self.purse.as_deref()
    }
}

impl aegis_control_definitions::Keeper for Control {
    fn ledger(&self) -> &dyn Ledger {
        self.ledger.as_ref()
    }
}

impl Control {
    /// A node that is its region's only voter and keeps everything below its directory.
    pub async fn alone(config: ControlConfig, on_fatal: OnFatal) -> Result<Self, ControlError> {
        let vault = Files::open(&config.data_dir.join("vault"))?;
        let directory = config.data_dir.join("ledger");
        let node = Node::alone(config.region.as_str(), &directory, on_fatal).await?;
        let means = Means {
            ledger: Arc::new(Replicated::of(node.clone())),
            node,
            vault: Arc::new(vault),
            replay: Arc::new(Memory::default()),
        };
        Self::with(config, means)
    }

    /// The same over means that were opened elsewhere.
    pub fn with(config: ControlConfig, means: Means) -> Result<Self, ControlError> {
        let Means { node, ledger, vault, replay } = means;
        if config.audiences.is_empty() {
            return Err(ControlError::NoAudience);
        }
        let fleet = Arc::new(Fleet::of(node.clone()));
        let access = Access::open(&config.data_dir)?;
        let identity = node.identity();
        let cosigner = access::cosigner(&config.data_dir, (&identity.cluster, identity.node))?;
        let witness = Witness::new(node.clone(), cosigner);
        Ok(Self {
            service: Service { issuer: config.issuer, audiences: config.audiences },
            node,
            ledger,
            vault,
            replay,
            subjects: Subjects::start(config.subjects),
            access,
            provider: None,
            pull: None,
            session_keys: KeySet::default()
                .with(config.region_key.public_key().clone())
                .unwrap_or_default(),
            region_key: config.region_key,
            witness,
            voters: VoterFiles::at(&config.data_dir.join("cluster")),
            nonces: None,
            issued: Issued::default(),
            region: config.region,
            changes: Changes::default(),
            chronicle: None,
            purse: None,
            rotation: Mutex::new(()),
            compiling: Mutex::new(()),
            observations: Arc::<Fleet>::clone(&fleet),
            fleet,
        })
    }

    /// Puts every change on record before it is answered, and makes none that cannot be.
    #[must_use]
    pub fn with_chronicle(self, chronicle: Arc<dyn Chronicle>) -> Self {
        let ledger = Arc::new(Chronicled {
            ledger: Arc::clone(&self.ledger),
            chronicle: Arc::clone(&chronicle),
            node: self.node.clone(),
        });
        Self { ledger, chronicle: Some(chronicle), ..self }
    }

    /// Tells others where this very voter is asked, and not one of them all.
    #[must_use]
    pub fn reached_at(mut self, url: Option<String>) -> Self {
        self.witness.is_reached_at(url);
        self
    }

    /// Lets in the people of an OpenID provider.
    #[must_use]
    pub fn with_people(self, source: PeopleSource) -> Self {
        Self { provider: Some(Provider::start(source)), ..self }
    }

    /// Releases what another region authors.
    pub fn pulling(self, from: PullFrom) -> Result<Self, PullError> {
        let pull = Pull::new(from, &self.region)?;
        Ok(Self { pull: Some(pull), ..self })
    }

    /// Lets other regions follow what is released to them, each by a token of its own.
    #[must_use]
    pub fn giving(mut self, regions: impl IntoIterator<Item = (Region, Secret<String>)>) -> Self {
        regions.into_iter().for_each(|(region, token)| self.access.give(region, &token));
        self
    }

    /// Tells and corrects what budgets have spent.
    #[must_use]
    pub fn with_purse(self, purse: Arc<dyn Purse>) -> Self {
        Self { purse: Some(purse), ..self }
    }

    /// Learns what gateways saw candidates do otherwise than by their reports to this node.
    #[must_use]
    pub fn with_observations(self, observations: Arc<dyn Observations>) -> Self {
        Self { observations, ..self }
    }

    /// Takes a proof at the token endpoint only with a nonce of this region (RFC 9449 §8), so that none can be made ahead
    /// of its time. Nodes with one region key take each other's.
    #[must_use]
    pub fn demanding_nonces(self) -> Self {
        Self { nonces: Some(Nonces::derived(&self.region_key)), ..self }
    }

    /// Whose token keys this node's are.
    fn signer(&self) -> u64 {
        self.node.identity().node
    }

    /// Cosigns audit heads, for a gateway in the same process.
    pub fn witness(&self) -> &Witness {
        &self.witness
    }

    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The registry, for a gateway in the same process.
    pub fn ledger(&self) -> Arc<dyn Ledger> {
        Arc::clone(&self.ledger)
    }
}

/// Serves until `stop` is done, then lets what is under way end. Sees to it that this node has a token key, at once where
/// somebody leads.
pub async fn serve<F>(
    listener: TcpListener,
    control: Arc<Control>,
    serving: Serving,
    stop: F,
) -> Result<(), ControlError>
where
    F: Future<Output = ()> + Send,
{
    if control.node.status().leader.is_some() {
        match keys::ensure(&control).await {
            // The voters may agree later.
            Ok(()) | Err(KeyError::Ledger(_)) => {}
            Err(error @ KeyError::Vault(_)) => return Err(error.into()),
        }
    }
    let stopping = || Problem::Stopping.into_response();
    let served = Served { router: api::router(Arc::clone(&control)), stopping };
    let served = aegis_control_connection::serve(listener, served, serving, stop);
    tokio::select! {
        () = served => Ok(()),
        () = rollouts::drive(&control) => Ok(()),
        never = keys::keep(&control) => match never {},
        () = pulled(&control) => Ok(()),
        never = aegis_control_witness::present(&control.witness) => match never {},
    }
}

/// Goes on for ever; a region that authors for itself has nobody to ask.
async fn pulled(control: &Control) {
    match &control.pull {
        Some(pull) => aegis_control_pull::keep(control, pull).await,
        None => std::future::pending().await,
    }
}
