//! One tenant's policy as it is now, and the versions a rollback finds ready.
//!
//! Not here: how a version is cleared (`policies/engine`) and who asks for a change (the gateway). Invariant: a reader never
//! waits and never sees half a change; what was live before stays ready until newer versions push it out.

use std::collections::VecDeque;
use std::sync::Arc;

use aegis_policy::activation::Cleared;
use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::TenantPolicy;

#[derive(Debug)]
pub struct Store {
    current: ArcSwap<TenantPolicy>,
    /// Held by whoever changes `current`.
    shelf: Mutex<Shelf>,
}

/// Versions that were live, newest first.
#[derive(Clone, Debug)]
pub struct Shelf {
    held: VecDeque<Cleared>,
    held_max: usize,
    /// Why the last attempt to change the policy was refused, if it was.
    pub refused: Option<String>,
}

/// A rollback asked for a version that is not ready.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("version {0} is not held")]
pub struct NotHeld(pub u64);

impl Store {
    pub fn new(policy: TenantPolicy, held_max: usize) -> Self {
        let shelf = Shelf { held: VecDeque::new(), held_max, refused: None };
        Self { current: ArcSwap::from_pointee(policy), shelf: Mutex::new(shelf) }
    }

    /// What decides now; a call takes it once.
    pub fn current(&self) -> Arc<TenantPolicy> {
        self.current.load_full()
    }

    /// Lets this decide from the next call on; calls under way end with what they began with.
    pub fn activate(&self, policy: TenantPolicy) {
        let mut shelf = self.shelf.lock();
        shelf.refused = None;
        shelf.swap(&self.current, policy);
    }

    /// Puts an earlier version back and takes any candidate away: nothing is read or compiled.
    pub fn rollback(&self, version: u64) -> Result<(), NotHeld> {
        let mut shelf = self.shelf.lock();
        let live = shelf.find(version).cloned().ok_or(NotHeld(version))?;
        shelf.swap(&self.current, TenantPolicy::new(live, None));
        Ok(())
    }

    /// Notes why the last change did not come about, or that nothing is in its way.
    pub fn note_refusal(&self, why: Option<String>) {
        self.shelf.lock().refused = why;
    }

    pub fn shelf(&self) -> Shelf {
        self.shelf.lock().clone()
    }
}

impl Shelf {
    pub fn versions(&self) -> impl Iterator<Item = &Cleared> {
        self.held.iter()
    }

    fn find(&self, version: u64) -> Option<&Cleared> {
        self.held.iter().find(|held| number(held) == version)
    }

    fn swap(&mut self, current: &ArcSwap<TenantPolicy>, policy: TenantPolicy) {
        let now = number(&policy.live);
        let before = current.swap(Arc::new(policy));
        self.held.retain(|held| number(held) != now);
        if number(&before.live) != now {
            self.held.push_front(before.live.clone());
        }
        self.held.truncate(self.held_max);
    }
}

fn number(version: &Cleared) -> u64 {
    version.snapshot().policy_ref().version
}

#[cfg(test)]
mod tests {
    use aegis_document::Document;
    use aegis_domain::TenantId;
    use aegis_policy::activation::{Gate, clear};
    use aegis_policy_language::PolicySet;

    use super::*;

    fn policy(version: u64) -> TenantPolicy {
        let text = "apiVersion: aegis.dev/v1\nkind: PolicySet\n\
                    metadata: { name: t, tenant: acme, env: prod }\ntools: {}\n";
        let set = PolicySet::parse(&[Document::parse("t.yaml", text).unwrap()]).unwrap();
        let tenant = TenantId::parse("acme").unwrap();
        let gate = Gate { tenant: &tenant, version, inputs: 0, bundle_sha256: None };
        TenantPolicy::new(clear(&set, &gate).unwrap(), None)
    }

    fn held(store: &Store) -> Vec<u64> {
        store.shelf().versions().map(number).collect()
    }

    #[test]
    fn the_last_versions_stay_ready_and_older_ones_go() {
        let store = Store::new(policy(1), 2);
        for version in 2..=5 {
            store.activate(policy(version));
        }
        assert_eq!(number(&store.current().live), 5);
        assert_eq!(held(&store), [4, 3]);
    }

    #[test]
    fn a_rollback_is_the_same_compiled_version_and_can_be_undone() {
        let store = Store::new(policy(1), 5);
        let first = Arc::clone(store.current().live.snapshot());
        store.activate(policy(2));
        store.rollback(1).unwrap();
        assert!(Arc::ptr_eq(store.current().live.snapshot(), &first));
        assert_eq!(held(&store), [2]);
        store.rollback(2).unwrap();
        assert_eq!((number(&store.current().live), held(&store)), (2, vec![1]));
        assert_eq!(store.rollback(9), Err(NotHeld(9)));
        assert_eq!(number(&store.current().live), 2);
    }

    #[test]
    fn a_rollback_takes_the_candidate_away_and_a_call_under_way_keeps_its_version() {
        let store = Store::new(policy(1), 5);
        let under_way = store.current();
        store.activate(policy(2));
        assert_eq!(number(&under_way.live), 1);
        store.activate(policy(2));
        assert_eq!(held(&store), [1], "the same version again is no other version");
    }
}
