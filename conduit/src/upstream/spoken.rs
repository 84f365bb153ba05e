//! Which upstreams chose HTTP/2 when they had the choice.
//!
//! Not here: offering it (`dialler`). Invariant: what is remembered is only a guess; who turns out to speak otherwise is
//! forgotten and asked anew.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::num::NonZeroUsize;

use lru::LruCache;
use parking_lot::Mutex;
use pingora_core::upstreams::peer::HttpPeer;

const POOLS_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4_095);

/// The pools of the upstreams that did.
#[derive(Debug)]
pub struct Spoken(Mutex<LruCache<u64, ()>>);

impl Default for Spoken {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(POOLS_MAX)))
    }
}

impl Spoken {
    pub fn is_http2(&self, peer: &HttpPeer) -> bool {
        self.0.lock().get(&pool(peer)).is_some()
    }

    pub fn learn_http2(&self, peer: &HttpPeer) {
        self.0.lock().put(pool(peer), ());
    }

    pub fn forget(&self, peer: &HttpPeer) {
        self.0.lock().pop(&pool(peer));
    }
}

/// The same for a peer however it is led: Pingora's own hash also holds what only some ways set.
fn pool(peer: &HttpPeer) -> u64 {
    let mut hasher = DefaultHasher::new();
    (peer.group_key, &peer._address, &peer.sni).hash(&mut hasher);
    hasher.finish()
}
