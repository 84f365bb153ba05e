//! The life of token keys: made in the vault, announced in the ledger, destroyed when they sign no more.
//!
//! Each control node signs with keys of its own vault. Not here: when which key signs (`agents/registry`). Invariant: a key is announced only once the vault holds it, and its
//! private half goes as soon as nothing is signed with it, while what it signed still counts.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use aegis_domain::{KeyId, Ttl};
use aegis_registry::{Action, Actor, Change, ClientId, Fingerprint, KeyStanding, TokenKey};
use aegis_vault::{Vault, VaultError};
use tracing::warn;

use crate::problem::KeyError;
use crate::{Control, clock};
use aegis_control_commands::{LedgerError, Proposal};

/// How long a new key is published before it signs, unless said otherwise: as long as key sets may be cached.
pub(crate) const LEAD: Ttl = Ttl::from_s(60);

/// How often it is looked at whether this node can sign.
const LOOK_EVERY: Duration = Duration::from_secs(60);
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Makes this node's first key where none of its own signs, and ends those of nodes that are gone.
pub(crate) async fn ensure(control: &Control) -> Result<(), KeyError> {
    caught_up(control).await?;
    // A registry that was restored from a copy may name a key whose private half is gone.
    let held = control.vault.keys();
    let signs = {
        let registry = control.ledger.read();
        let key = registry.view().signing_key(control.signer(), clock::now());
        key.is_some_and(|key| held.contains(key.id()))
    };
    let by = Actor::parse(&format!("voter {}", control.signer())).map_err(|_| LedgerError::Gone)?;
    if !signs {
        let (lead, overlap) = (Ttl::from_s(0), Ttl::from_s(0));
        rotate(control, Rotation { by: by.clone(), once: None, lead, overlap }).await?;
    }
    for signer in gone(control) {
        let (by, action) = (by.clone(), Action::EndKeys { signer });
        control.ledger.propose(Proposal { by, action, once: None }).await?;
    }
    let _one = control.rotation.lock().await;
    tidy(control).await
}

/// A voter that lags does not know its own last key yet, and must not take it for one that nobody announced.
async fn caught_up(control: &Control) -> Result<(), KeyError> {
    control.node.catch_up().await.map_err(|_| LedgerError::NoQuorum.into())
}

/// Those whose keys still sign, though no voter is them any more.
fn gone(control: &Control) -> BTreeSet<u64> {
    let ledger = control.node.ledger();
    let keys = ledger.registry().view().keys().filter(|key| key.signs_until.is_none());
    keys.map(|key| key.signer).filter(|signer| ledger.voters().get(*signer).is_none()).collect()
}

/// The same for as long as this runs: a node may join, be without a quorum, and lose others.
pub(crate) async fn keep(control: &Control) -> Infallible {
    loop {
        let is_led = control.node.status().leader.is_some();
        let kept = if is_led { ensure(control).await } else { Err(LedgerError::NoQuorum.into()) };
        match kept {
            Ok(()) => tokio::time::sleep(LOOK_EVERY).await,
            Err(error) => {
                if is_led {
                    warn!(%error, cause = error.source(), "this node's token key is not seen to");
                }
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }
}

/// A change of the key that signs.
#[derive(Debug)]
pub(crate) struct Rotation {
    pub(crate) by: Actor,
    pub(crate) once: Option<(ClientId, Fingerprint)>,
    pub(crate) lead: Ttl,
    pub(crate) overlap: Ttl,
}

/// Makes a key and announces it; the key as it stands in the registry.
pub(crate) async fn rotate(control: &Control, rotation: Rotation) -> Result<TokenKey, KeyError> {
    caught_up(control).await?;
    let _one = control.rotation.lock().await;
    tidy(control).await?;
    let key = in_vault(control, |vault| vault.generate()).await?;
    let (id, Rotation { by, once, lead, overlap }) = (key.id().clone(), rotation);
    let action = Action::AddKey { key, signer: control.signer(), lead, overlap };
    let announced = control.ledger.propose(Proposal { by, action, once }).await;
    // A rotation sent again brings the event of the first; the key made in vain goes with the others nobody announced.
    let wanted = announced.as_ref().ok().and_then(|event| event.changes.last()).cloned();
    if !matches!(&wanted, Some(Change::Key(key)) if *key.id() == id) {
        in_vault(control, move |vault| vault.destroy(&id)).await?;
    }
    announced?;
    match wanted {
        Some(Change::Key(key)) => Ok(key),
        Some(Change::Agent(_) | Change::Revoked(_) | Change::Code(_) | Change::CodeGone(_))
        | Some(Change::Budget(_) | Change::BudgetGone(_) | Change::Adjustment(_))
        | Some(Change::Definition(_) | Change::DefinitionGone(_))
        | None => Err(KeyError::Vault(VaultError::Unknown)),
    }
}

/// Destroys the private halves of keys that sign no more. The caller holds the rotation.
async fn tidy(control: &Control) -> Result<(), KeyError> {
    let now = clock::now();
    let held = control.vault.keys();
    let done: Vec<KeyId> = {
        let registry = control.ledger.read();
        let still = |id: &KeyId| {
            let standing = registry.view().key(id).map(|key| key.standing(now));
            matches!(standing, Some(KeyStanding::Next | KeyStanding::Active))
        };
        held.into_iter().filter(|id| !still(id)).collect()
    };
    for id in done {
        in_vault(control, move |vault| vault.destroy(&id)).await?;
    }
    Ok(())
}

/// Uses the vault where it may block: behind a file or a PKCS#11 module.
pub(crate) async fn in_vault<T, F>(control: &Control, act: F) -> Result<T, KeyError>
where
    T: Send + 'static,
    F: FnOnce(&dyn Vault) -> Result<T, VaultError> + Send + 'static,
{
    let vault = Arc::clone(&control.vault);
    let done = tokio::task::spawn_blocking(move || act(vault.as_ref())).await;
    Ok(done.map_err(|_| LedgerError::Gone)??)
}
