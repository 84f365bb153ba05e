//! The control API: the token service for agents, and the administration of agents, keys, revocations and budgets for people.
//!
//! Not here: what may happen (`agents/registry`, `agents/tokens`), and where it is kept (`agents/store`, `agents/vault`).
//! Invariant: whatever changes the registry goes through `Ledger`, named and numbered, and nothing is answered before it is
//! kept.

mod access;
mod api;
mod clock;
mod connection;
mod feed;
mod issued;
mod keys;
mod ledger;
mod oauth;
mod page;
mod problem;
mod purse;
mod read;
mod replay;
mod replicated;
mod shapes;
mod subjects;

use std::path::PathBuf;
use std::sync::Arc;

use aegis_domain::Region;
use aegis_identity::{Nonces, SigningKey};
use aegis_raft_store::{Node, NodeError, OnFatal};
pub use aegis_tokens::FirstUse;
use aegis_tokens::Service;
use aegis_vault::{Files, Vault, VaultError};
use tokio::net::TcpListener;
use tokio::sync::Mutex;

pub use access::{AccessError, Principal, Role};
pub use api::OPENAPI;
pub use connection::{Serving, TlsError, tls_config};
pub use keys::KeyError;
pub use ledger::{Ledger, LedgerError, Proposal, Reading};
pub use purse::{HotPurse, Purse};
pub use replay::{Memory, Replay, ReplayError};
pub use replicated::Replicated;
pub use subjects::{SubjectSource, SubjectSources};

use access::Access;
use issued::Issued;
use problem::Problem;
use subjects::Subjects;

/// What one control node is made from.
#[derive(Debug)]
pub struct ControlConfig {
    /// Where it keeps its things; made if it is not there, and owned by this process.
    pub data_dir: PathBuf,
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
    region_key: SigningKey,
    /// What a proof at the token endpoint must carry, where it must.
    nonces: Option<Nonces>,
    issued: Issued,
    /// Where money is counted; `None` where no gateway's hot state is at hand.
    purse: Option<Arc<dyn Purse>>,
    /// One change of keys at a time, so that a key is in the vault and the registry or in neither.
    rotation: Mutex<()>,
}

impl Control {
    /// A node that is its region's only voter and keeps everything below its directory.
    pub async fn alone(
        config: ControlConfig,
        region: &Region,
        on_fatal: OnFatal,
    ) -> Result<Self, ControlError> {
        let vault = Files::open(&config.data_dir.join("vault"))?;
        let directory = config.data_dir.join("ledger");
        let node = Node::alone(region.as_str(), &directory, on_fatal).await?;
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
        Ok(Self {
            service: Service { issuer: config.issuer, audiences: config.audiences },
            node,
            ledger,
            vault,
            replay,
            subjects: Subjects::start(config.subjects),
            access: Access::open(&config.data_dir)?,
            region_key: config.region_key,
            nonces: None,
            issued: Issued::default(),
            purse: None,
            rotation: Mutex::new(()),
        })
    }

    /// Tells and corrects what budgets have spent.
    #[must_use]
    pub fn with_purse(self, purse: Arc<dyn Purse>) -> Self {
        Self { purse: Some(purse), ..self }
    }

    fn purse(&self) -> Result<&dyn Purse, Problem> {
        self.purse.as_deref().ok_or(Problem::NoPurse)
    }

    /// Takes a proof at the token endpoint only with a nonce of this region (RFC 9449 §8), so that none can be made ahead
    /// of its time. Nodes with one region key take each other's.
    #[must_use]
    pub fn demanding_nonces(self) -> Self {
        Self { nonces: Some(Nonces::derived(&self.region_key)), ..self }
    }

    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The registry, for a gateway in the same process.
    pub fn ledger(&self) -> Arc<dyn Ledger> {
        Arc::clone(&self.ledger)
    }
}

/// Serves until `stop` is done, then lets what is under way end. Makes the first token key where there is none.
pub async fn serve<F>(
    listener: TcpListener,
    control: Arc<Control>,
    serving: Serving,
    stop: F,
) -> Result<(), ControlError>
where
    F: Future<Output = ()> + Send,
{
    keys::ensure(&control).await?;
    connection::serve(listener, api::router(control), serving, stop).await;
    Ok(())
}
