//! Which tokens were used, and by whom.
//!
//! Not here: whether a token is genuine (`identity`). Invariant: a token that was used is remembered until no
//! gateway accepts it any more; when there is no room to remember one, it is not accepted.

use std::collections::{BTreeMap, HashMap};

use aegis_domain::{DecisionId, Jti, TenantId, Timestamp, TokenUse, Ttl};

use aegis_state::{Ask, Binding};

/// How long past its expiry a gateway with a slow clock may still accept a token, with room to spare.
const SKEW: Ttl = Ttl::from_s(120);

/// What the first use of a token made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Used {
    Bound(Binding),
    Once(DecisionId),
}

/// The first use of one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FirstUse {
    pub(super) tenant: TenantId,
    pub(super) jti: Jti,
    pub(super) used: Used,
    pub(super) forget_at: Timestamp,
}

/// What is known of a token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token {
    New(FirstUse),
    Known,
    Replayed,
}

/// The second in which a token may be forgotten.
fn second_due(forget_at: Timestamp) -> Timestamp {
    Timestamp::from_unix_s(forget_at.unix_s())
}

#[derive(Debug)]
pub(super) struct Tokens {
    by_tenant: HashMap<TenantId, HashMap<Jti, (Used, Timestamp)>>,
    /// By the second in which they may be forgotten.
    due: BTreeMap<u64, Vec<(TenantId, Jti)>>,
    count: usize,
}

impl Tokens {
    pub(super) fn new() -> Self {
        Self { by_tenant: HashMap::new(), due: BTreeMap::new(), count: 0 }
    }

    /// Compares the use with the first one. A token asked for again by the same decision is `Replayed` when it
    /// is good for one call: a retry is known by its id before its token is looked at.
    ///
    /// A token that would be `forgotten` by now is refused: a clock that stepped back may call it good, but its use may
    /// have been forgotten before that step.
    pub(super) fn check(&self, ask: &Ask, forgotten: Timestamp) -> Token {
        let token = &ask.token;
        let used = match token.token_use {
            TokenUse::Bound => Used::Bound(token.binding),
            TokenUse::Once => Used::Once(ask.id),
        };
        let known = self.by_tenant.get(&ask.tenant).and_then(|jtis| jtis.get(&token.jti));
        match known {
            None if second_due(token.expires_at.plus(SKEW)) <= forgotten => Token::Replayed,
            None => Token::New(FirstUse {
                tenant: ask.tenant.clone(),
                jti: token.jti.clone(),
                used,
                forget_at: token.expires_at.max(ask.now).plus(SKEW),
            }),
            Some((first @ Used::Bound(_), _)) if *first == used => Token::Known,
            Some(_) => Token::Replayed,
        }
    }

    pub(super) fn remember(&mut self, first: FirstUse) {
        let key = (first.tenant.clone(), first.jti.clone());
        let jtis = self.by_tenant.entry(first.tenant).or_default();
        if jtis.insert(first.jti, (first.used, first.forget_at)).is_none() {
            self.count += 1;
            self.due.entry(first.forget_at.unix_s()).or_default().push(key);
        }
    }

    /// Forgets the tokens of one second that is over, if there is one, and says which.
    pub(super) fn forget_some(&mut self, now: Timestamp) -> Option<Timestamp> {
        let second = self.due.first_entry()?;
        if *second.key() >= now.unix_s() {
            return None;
        }
        let over = Timestamp::from_unix_s(*second.key());
        for (tenant, jti) in second.remove() {
            let Some(jtis) = self.by_tenant.get_mut(&tenant) else { continue };
            self.count -= usize::from(jtis.remove(&jti).is_some());
            if jtis.is_empty() {
                self.by_tenant.remove(&tenant);
            }
        }
        Some(over)
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = FirstUse> {
        self.by_tenant.iter().flat_map(|(tenant, jtis)| {
            jtis.iter().map(|(jti, (used, forget_at))| FirstUse {
                tenant: tenant.clone(),
                jti: jti.clone(),
                used: *used,
                forget_at: *forget_at,
            })
        })
    }
}
