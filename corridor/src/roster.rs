//! Whom this process can know: the issuers its configuration trusts, and the region's registry as it is now.
//!
//! Not here: serving or following the registry (`gateway::region`), and what a caller must show (`rooms::identify`).
//! Invariant: the registry only moves forward; what it takes back is refused from the moment it is told here, and where too
//! much was taken back to be remembered, everybody of the registry is refused.

use aegis_domain::{CallKind, KeyId, Reason, Timestamp};
use aegis_identity::{KeySet, Revocations, TokenCache, TokenLimits, TrustedIssuer, Verifier};
use aegis_registry::{Change, Event, RegistryError, View};
use parking_lot::{RwLock, RwLockReadGuard};

/// How many verified tokens are remembered: 65,536 agents' worth, a few tens of megabytes at most.
const TOKENS_CACHED_MAX: usize = 65_536;

/// Whom the configuration trusts.
#[derive(Clone, Debug)]
pub struct Trusted {
    pub issuers: Vec<TrustedIssuer>,
    /// The region's own token service, whose keys the registry holds.
    pub region: Option<RegionIssuer>,
    pub limits: TokenLimits,
}

/// The token service of the region.
#[derive(Clone, Debug)]
pub struct RegionIssuer {
    pub issuer: String,
    /// The names of this gateway in its tokens.
    pub audiences: Vec<String>,
}

/// All of it, as calls ask for it.
#[derive(Debug)]
pub struct Roster {
    trusted: Trusted,
    known: RwLock<Known>,
}

/// What is known at one moment.
#[derive(Debug)]
pub struct Known {
    pub view: View,
    pub tokens: TokenCache,
    /// `None` if more was taken back than can be remembered.
    revocations: Option<Revocations>,
    /// Of the region, as the cache knows them.
    keys: Vec<KeyId>,
    belief: Belief,
}

/// Whether what the registry last said is still believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belief {
    Held,
    /// It was not heard of for so long that what it took back may not be known: who is called is known, and may read.
    Stale,
    Lost,
}

impl Known {
    /// Whether a call may change something by what is known.
    pub fn admit(&self, kind: CallKind) -> Result<(), Reason> {
        match (self.belief, kind) {
            (Belief::Held, _) | (Belief::Stale | Belief::Lost, CallKind::Read) => Ok(()),
            (Belief::Stale | Belief::Lost, CallKind::Write) => Err(Reason::ControlStateStale),
        }
    }

    pub fn revocations(&self) -> Result<&Revocations, Reason> {
        self.revocations.as_ref().ok_or(Reason::Unavailable)
    }
}

impl Roster {
    pub fn new(trusted: Trusted) -> Self {
        let tokens = trusted.cache(KeySet::default());
        let revocations = Some(Revocations::default());
        let (view, keys) = (View::default(), Vec::new());
        let known = Known { view, tokens, revocations, keys, belief: Belief::Held };
        Self { trusted, known: RwLock::new(known) }
    }

    /// What is known now. Changes wait while this is held, so it is never held across an await.
    pub fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read()
    }

    /// The region's token service, if its tokens count here.
    pub fn region(&self) -> Option<&str> {
        self.trusted.region.as_ref().map(|region| region.issuer.as_str())
    }

    /// Everything anew, unless it is older than what is held.
    pub fn replace(&self, view: View, now: Timestamp) {
        let mut known = self.known.write();
        if view.serial() >= known.view.serial() {
            known.view = view;
            known.recall();
            self.rekey(&mut known, now);
        }
    }

    /// What happened since; events that are known already are passed over.
    pub fn extend(&self, events: &[Event], now: Timestamp) -> Result<(), RegistryError> {
        let mut known = self.known.write();
        let held = known.view.serial();
        let mut is_recalled = false;
        for event in events.iter().filter(|event| event.serial > held) {
            known.view.apply(event)?;
            is_recalled |= event.changes.iter().any(|it| matches!(it, Change::Revoked(_)));
        }
        if is_recalled {
            known.recall();
        }
        self.rekey(&mut known, now);
        Ok(())
    }

    /// What time alone changes: keys begin and cease to count. Where the registry has not been heard of for long, its keys
    /// count no more until it is. What was taken back is forgotten by the registry's time alone: this process's clock may be
    /// ahead, and be set back.
    pub fn age(&self, now: Timestamp, belief: Belief) {
        let mut known = self.known.write();
        known.belief = belief;
        self.rekey(&mut known, now);
    }

    /// Tokens of keys that are gone must be forgotten, and those of new ones believed.
    fn rekey(&self, known: &mut Known, now: Timestamp) {
        let published = known.view.published(now).map(|key| key.id().clone());
        let (keys, set): (Vec<KeyId>, _) = match known.belief {
            Belief::Held | Belief::Stale => (published.collect(), known.view.key_set(now)),
            Belief::Lost => (Vec::new(), KeySet::default()),
        };
        if keys != known.keys {
            known.tokens = self.trusted.cache(set);
            known.keys = keys;
        }
    }
}

impl Known {
    fn recall(&mut self) {
        let taken_back = self.view.taken_back();
        if let Err(error) = &taken_back {
            tracing::error!(%error, "nobody of the registry is let in");
        }
        self.revocations = taken_back.ok();
    }
}

impl Trusted {
    fn cache(&self, region_keys: KeySet) -> TokenCache {
        let region = self.region.clone().map(|RegionIssuer { issuer, audiences }| TrustedIssuer {
            issuer,
            audiences,
            keys: region_keys,
        });
        let issuers = self.issuers.iter().cloned().chain(region).collect();
        TokenCache::new(Verifier::new(issuers, self.limits), TOKENS_CACHED_MAX)
    }
}

#[cfg(test)]
mod tests {
    use aegis_domain::{AgentId, Jti, OrgId, TenantId, TokenUse, Ttl};
    use aegis_identity::{Claims, SigningKey, TokenError, mint};
    use aegis_registry::{
        Action, Actor, ClientId, Command, Fingerprint, Origin, PublicJwk, Registry, Target,
    };

    use super::*;

    const REGION: &str = "https://control.example.com";

    /// A registry that keeps what happened in it.
    #[derive(Default)]
    struct Books {
        registry: Registry,
        events: Vec<Event>,
    }

    impl Books {
        fn act(&mut self, action: Action, s: u64) {
            let serial = u64::try_from(self.events.len()).unwrap() + 1;
            let request = Fingerprint::of(&serial.to_be_bytes());
            let origin = Origin { client: ClientId::of(b"test"), serial, request };
            let command = Command { origin, by: Actor::parse("test").unwrap(), action };
            self.events.push(self.registry.apply(&command, at(s)).unwrap());
        }

        fn add_key(&mut self, seed: u8, s: u64) -> SigningKey {
            let key = SigningKey::from_seed([seed; 32]);
            let jwk = PublicJwk::parse(&key.public_jwk()).unwrap();
            let (lead, overlap) = (Ttl::from_s(0), Ttl::from_s(20 * 60));
            self.act(Action::AddKey { key: jwk, signer: 1, lead, overlap }, s);
            key
        }
    }

    fn at(s: u64) -> Timestamp {
        Timestamp::from_unix_s(1_800_000_000 + s)
    }

    fn roster() -> Roster {
        let region = RegionIssuer { issuer: REGION.to_owned(), audiences: vec!["gw".to_owned()] };
        let limits = TokenLimits::default();
        Roster::new(Trusted { issuers: Vec::new(), region: Some(region), limits })
    }

    fn token(key: &SigningKey, s: u64) -> String {
        let claims = Claims {
            issuer: REGION.to_owned(),
            org: OrgId::parse("acme").unwrap(),
            tenant: TenantId::parse("acme").unwrap(),
            agent: AgentId::parse("bot").unwrap(),
            parent_agent: None,
            acts_for: Vec::new(),
            confirmation: None,
            scopes: Default::default(),
            audience: vec!["gw".to_owned()],
            expires_at: at(s + 300),
            not_before: None,
            issued_at: Some(at(s)),
            jti: Jti::parse("one").unwrap(),
            token_use: TokenUse::Bound,
        };
        mint(key, &claims).unwrap()
    }

    fn check(roster: &Roster, token: &str, s: u64) -> Result<(), TokenError> {
        let known = roster.read();
        let revocations = known.revocations().unwrap();
        known.tokens.verify_unrevoked(token, revocations, at(s)).map(drop)
    }

    #[test]
    fn a_key_counts_from_the_event_that_adds_it_until_its_overlap_is_over() {
        let (mut books, roster) = (Books::default(), roster());
        let first = books.add_key(1, 0);
        let old = token(&first, 0);
        assert_eq!(check(&roster, &old, 1), Err(TokenError::KeyUnknown));
        roster.extend(&books.events, at(1)).unwrap();
        assert_eq!(check(&roster, &old, 1), Ok(()));
        let second = books.add_key(2, 10);
        roster.extend(&books.events, at(10)).unwrap();
        assert_eq!(check(&roster, &old, 11), Ok(()));
        assert_eq!(check(&roster, &token(&second, 10), 11), Ok(()));
        let end = books.registry.view().keys().find_map(|key| key.counts_until).unwrap();
        roster.age(end, Belief::Held);
        let end_s = end.unix_s() - at(0).unix_s();
        assert_eq!(check(&roster, &old, end_s), Err(TokenError::KeyUnknown));
    }

    #[test]
    fn keys_of_a_region_that_fell_silent_count_again_once_it_is_heard() {
        let (mut books, roster) = (Books::default(), roster());
        let token = token(&books.add_key(1, 0), 0);
        roster.extend(&books.events, at(0)).unwrap();
        assert_eq!(check(&roster, &token, 1), Ok(()));
        roster.age(at(2), Belief::Lost);
        assert_eq!(check(&roster, &token, 2), Err(TokenError::KeyUnknown));
        roster.age(at(3), Belief::Held);
        assert_eq!(check(&roster, &token, 3), Ok(()));
    }

    #[test]
    fn what_is_taken_back_is_refused_though_it_was_remembered() {
        let (mut books, roster) = (Books::default(), roster());
        let key = books.add_key(1, 0);
        roster.extend(&books.events, at(0)).unwrap();
        let token = token(&key, 0);
        assert_eq!(check(&roster, &token, 1), Ok(()));
        let tenant = TenantId::parse("acme").unwrap();
        books.act(Action::Revoke { target: Target::Tenant(tenant), issued: None }, 2);
        roster.extend(&books.events, at(2)).unwrap();
        assert!(matches!(check(&roster, &token, 3), Err(TokenError::Revoked { .. })));
        roster.age(at(4), Belief::Held);
        assert!(matches!(check(&roster, &token, 4), Err(TokenError::Revoked { .. })));
    }

    #[test]
    fn a_clock_that_was_ahead_has_forgotten_nothing_that_was_taken_back() {
        let (mut books, roster) = (Books::default(), roster());
        let key = books.add_key(1, 0);
        let tenant = TenantId::parse("acme").unwrap();
        books.act(Action::Revoke { target: Target::Tenant(tenant), issued: None }, 1);
        roster.extend(&books.events, at(1)).unwrap();
        for ahead_s in [600, 1_200, 86_400] {
            roster.age(at(ahead_s), Belief::Held);
            assert!(matches!(check(&roster, &token(&key, 0), 2), Err(TokenError::Revoked { .. })));
        }
    }

    #[test]
    fn an_older_registry_replaces_nothing_and_a_gap_is_told() {
        let (mut books, roster) = (Books::default(), roster());
        books.add_key(1, 0);
        let early = books.registry.view().clone();
        books.add_key(2, 1);
        books.add_key(3, 2);
        roster.replace(books.registry.view().clone(), at(2));
        roster.replace(early.clone(), at(3));
        assert_eq!(roster.read().view.serial(), 3);
        let behind = super::tests::roster();
        behind.replace(early, at(0));
        assert!(behind.extend(&books.events[2..], at(2)).is_err());
        behind.extend(&books.events, at(2)).unwrap();
        assert_eq!(behind.read().view, *books.registry.view());
    }
}
