//! Remembers tokens that verified, so that a token used a thousand times costs one signature check.
//!
//! Not here: whether a token was used before; that is `state`'s. Invariant: a remembered token was verified by
//! this cache's own verifier, and its times are checked again with every use. New keys mean a new cache.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use aegis_domain::Timestamp;

use crate::verify::{TokenDigest, digest};
use crate::{Revocations, TokenError, VerifiedToken, Verifier};

const SHARDS: usize = 16;
const GENERATIONS: usize = 2;

/// A verifier with a bounded memory of what it verified.
#[derive(Debug)]
pub struct TokenCache {
    verifier: Verifier,
    shards: [Mutex<Shard>; SHARDS],
    generation_entries_max: usize,
}

/// Entries in two generations: what is used lives on in the young one; when that is full it becomes the
/// old one, and what nobody used since is gone. Costs no more per call than the lookup.
#[derive(Debug, Default)]
struct Shard {
    young: BTreeMap<TokenDigest, Arc<VerifiedToken>>,
    old: BTreeMap<TokenDigest, Arc<VerifiedToken>>,
}

impl TokenCache {
    /// Remembers at most `entries_max` tokens, or 32 if that is more.
    pub fn new(verifier: Verifier, entries_max: usize) -> Self {
        let generation_entries_max = (entries_max / (SHARDS * GENERATIONS)).max(1);
        let shards = std::array::from_fn(|_| Mutex::default());
        Self { verifier, shards, generation_entries_max }
    }

    /// Does what `Verifier::verify` does, faster the second time.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Arc<VerifiedToken>, TokenError> {
        self.verifier.check_length(token)?;
        let digest = digest(token);
        if let Some(known) = self.get(&digest, now) {
            self.verifier.check_times(known.claims(), now)?;
            return Ok(known);
        }
        let verified = Arc::new(self.verifier.verify_digested(token, digest, now)?);
        self.insert(digest, Arc::clone(&verified), now);
        Ok(verified)
    }

    /// The same, and refuses what was taken back, also since it was remembered.
    pub fn verify_unrevoked(
        &self,
        token: &str,
        revocations: &Revocations,
        now: Timestamp,
    ) -> Result<Arc<VerifiedToken>, TokenError> {
        let verified = self.verify(token, now)?;
        revocations.check(&verified)?;
        Ok(verified)
    }

    fn get(&self, digest: &TokenDigest, now: Timestamp) -> Option<Arc<VerifiedToken>> {
        let mut shard = self.shard(digest)?.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shard.young.get(digest) {
            return Some(Arc::clone(known));
        }
        let known = shard.old.remove(digest)?;
        self.insert_into(&mut shard, *digest, Arc::clone(&known), now);
        Some(known)
    }

    fn insert(&self, digest: TokenDigest, token: Arc<VerifiedToken>, now: Timestamp) {
        if let Some(shard) = self.shard(&digest) {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            self.insert_into(&mut shard, digest, token, now);
        }
    }

    fn insert_into(
        &self,
        shard: &mut Shard,
        digest: TokenDigest,
        token: Arc<VerifiedToken>,
        now: Timestamp,
    ) {
        if shard.young.len() >= self.generation_entries_max {
            shard.old = std::mem::take(&mut shard.young);
            shard.old.retain(|_, old| self.verifier.check_times(old.claims(), now).is_ok());
        }
        shard.young.insert(digest, token);
    }

    fn shard(&self, digest: &TokenDigest) -> Option<&Mutex<Shard>> {
        let [first, ..] = *digest;
        self.shards.get(usize::from(first) % SHARDS)
    }
}

#[cfg(test)]
mod tests {
    use aegis_domain::{Jti, Ttl};
    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::tests::{claims, key, now, verifier};
    use crate::{TokenLimits, mint};

    fn len(cache: &TokenCache) -> usize {
        let len = |shard: &Mutex<Shard>| {
            let shard = shard.lock().unwrap();
            shard.young.len() + shard.old.len()
        };
        cache.shards.iter().map(len).sum()
    }

    fn token(number: u64) -> String {
        let mut numbered = claims();
        numbered.jti = Jti::parse(&number.to_string()).unwrap();
        mint(&key(), &numbered).unwrap()
    }

    #[test]
    fn a_token_is_verified_once_and_then_remembered() {
        let cache = TokenCache::new(verifier(), 1_000);
        let first = cache.verify(&token(1), now()).unwrap();
        let second = cache.verify(&token(1), now()).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(first.claims().jti.as_str(), "1");
    }

    #[test]
    fn a_remembered_token_is_refused_once_its_time_is_over() {
        let cache = TokenCache::new(verifier(), 1_000);
        cache.verify(&token(1), now()).unwrap();
        let end = claims().expires_at.plus(TokenLimits::default().skew);
        let last = Timestamp::from_unix_ns(end.unix_ns() - 1);
        assert!(cache.verify(&token(1), last).is_ok());
        assert_eq!(cache.verify(&token(1), end), Err(TokenError::Expired { ago_s: 30 }));
        let early = Timestamp::from_unix_s(now().unix_s() - 31);
        assert_eq!(cache.verify(&token(1), early), Err(TokenError::NotYetValid { wait_s: 31 }));
    }

    #[test]
    fn a_clock_that_steps_ten_minutes_either_way_lengthens_no_life() {
        let cache = TokenCache::new(verifier(), 1_000);
        let at = |s| cache.verify(&token(1), Timestamp::from_unix_s(s)).map(|_| ());
        let issued = now().unix_s();
        assert_eq!(at(issued + 60), Ok(()));
        assert_eq!(at(issued + 660), Err(TokenError::Expired { ago_s: 360 }));
        assert_eq!(at(issued + 60), Ok(()));
        assert_eq!(at(issued - 540), Err(TokenError::NotYetValid { wait_s: 540 }));
        assert_eq!(at(issued + 330), Err(TokenError::Expired { ago_s: 30 }));
    }

    #[test]
    fn what_was_refused_is_never_remembered() {
        let cache = TokenCache::new(verifier(), 1_000);
        let mut forged = token(1);
        forged.replace_range(forged.len() - 10..forged.len() - 9, "-");
        let long = "a".repeat(8_193);
        for _ in 0..2 {
            assert_eq!(cache.verify(&forged, now()), Err(TokenError::Signature));
            assert_eq!(cache.verify(&long, now()), Err(TokenError::TooLong { bytes_max: 8_192 }));
        }
        assert_eq!(len(&cache), 0);
    }

    #[test]
    fn the_cache_never_holds_more_than_it_may() {
        let cache = TokenCache::new(verifier(), 64);
        let verified = Arc::new(verifier().verify(&token(1), now()).unwrap());
        for number in 0_u32..10_000 {
            let digest = Sha256::digest(number.to_be_bytes()).into();
            cache.insert(digest, Arc::clone(&verified), now());
            assert!(len(&cache) <= 64);
        }
        assert!(len(&cache) >= 32);
    }

    #[test]
    fn what_is_in_use_outlives_what_is_not() {
        let cache = TokenCache::new(verifier(), 64);
        let (used, unused) = ([0; 32], [16; 32]);
        let verified = Arc::new(verifier().verify(&token(1), now()).unwrap());
        cache.insert(used, Arc::clone(&verified), now());
        cache.insert(unused, Arc::clone(&verified), now());
        for number in 0..100 {
            let mut digest = [number; 32];
            digest[0] = 0;
            digest[31] = 1;
            cache.insert(digest, Arc::clone(&verified), now());
            assert!(cache.get(&used, now()).is_some());
        }
        assert!(cache.get(&unused, now()).is_none());
    }

    #[test]
    fn expired_tokens_leave_when_the_generations_change() {
        let cache = TokenCache::new(verifier(), 64);
        let verified = Arc::new(verifier().verify(&token(1), now()).unwrap());
        let later = now().plus(Ttl::from_s(3_600));
        for number in 0..3 {
            let mut digest = [0; 32];
            digest[31] = number;
            cache.insert(digest, Arc::clone(&verified), later);
        }
        assert_eq!(len(&cache), 1);
    }
}
