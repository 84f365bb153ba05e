//! The registry as part of the region's ledger, which its voters agree on.
//!
//! Not here: how they agree (`raft-store`). Invariant: what came of a command can be read here when `propose` returns.

use std::ops::Deref;

use aegis_ledger::{Action, Outcome};
use aegis_raft_store::{Node, Wish};
use aegis_registry::{Event, Registry};
use async_trait::async_trait;
use tokio::sync::watch;

use crate::ledger::{Ledger, LedgerError, Proposal, Reading};

/// A ledger of one voter or more: this process is one of them.
#[derive(Clone, Debug)]
pub struct Replicated(Node);

impl Replicated {
    /// The ledger that a voter takes part in.
    pub fn of(node: Node) -> Self {
        Self(node)
    }
}

/// The registry's place in a ledger that is held.
struct Part<L>(L);

impl<L: Deref<Target = aegis_ledger::Ledger>> Deref for Part<L> {
    type Target = Registry;

    fn deref(&self) -> &Registry {
        self.0.registry()
    }
}

#[async_trait]
impl Ledger for Replicated {
    async fn propose(&self, proposal: Proposal) -> Result<Event, LedgerError> {
        let Proposal { by, action, once } = proposal;
        let wish = Wish { by, action: Action::Registry(Box::new(action)), once };
        match self.0.propose(wish).await? {
            Ok(Outcome::Registry(event)) => Ok(*event),
            // No other part of the ledger answers for the registry.
            Ok(Outcome::Version(_) | Outcome::Epoch(_) | Outcome::Voter(_) | Outcome::Done) => {
                Err(LedgerError::Gone)
            }
            Err(refusal) => Err(refusal.into()),
        }
    }

    fn read(&self) -> Reading<'_> {
        Box::new(Part(self.0.ledger()))
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.0.serial()
    }

    fn events_after(&self, serial: u64, max: usize) -> Option<Vec<Event>> {
        self.0.events_after(serial, max)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;

    use aegis_domain::TenantId;
    use aegis_raft_store::OnFatal;
    use aegis_registry::{Action as Act, Actor, ClientId, Fingerprint, Target};

    use super::*;

    fn revoke(tenant: &str, once: Option<(ClientId, Fingerprint)>) -> Proposal {
        let target = Target::Tenant(TenantId::parse(tenant).unwrap());
        Proposal {
            by: Actor::parse("tester").unwrap(),
            action: Act::Revoke { target, issued: None },
            once,
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_registry_in_the_regions_ledger_is_read_watched_and_followed() {
        let home = tempfile::tempdir().unwrap();
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let on_fatal: OnFatal = Arc::new(|fatal| panic!("{fatal}"));
        let node = Node::alone("eu-west-1", home.path(), on_fatal).await.unwrap();
        let ledger = Replicated::of(node);
        let mut serial = ledger.watch();
        serial.borrow_and_update();

        let first = ledger.propose(revoke("acme", None)).await.unwrap();
        assert_eq!(ledger.read().view().serial(), first.serial);
        assert!(serial.has_changed().unwrap());
        let once = Some((ClientId::of(b"key"), Fingerprint::of(b"request")));
        let second = ledger.propose(revoke("umbrella", once.clone())).await.unwrap();
        assert_eq!(ledger.propose(revoke("umbrella", once)).await.unwrap(), second);
        assert_eq!(ledger.events_after(0, 10), Some(vec![first.clone(), second.clone()]));
        assert_eq!(ledger.events_after(first.serial, 1), Some(vec![second]));

        let other = Some((ClientId::of(b"key"), Fingerprint::of(b"another")));
        let refused = ledger.propose(revoke("initech", other)).await;
        let reused = aegis_registry::Refusal::SerialReused;
        assert!(matches!(refused, Err(LedgerError::Refused(refusal)) if refusal == reused));
    }
}
