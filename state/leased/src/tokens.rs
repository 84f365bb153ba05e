//! Which tokens the inner home granted in this process, and for whom.
//!
//! Not here: single-use tokens, of which nothing is remembered. Invariant: a token is known only with the binding the
//! inner home granted it for, and not after its end.

use std::collections::HashMap;

use aegis_domain::{Jti, TenantId, Timestamp, TokenUse};
use aegis_state::{Ask, Binding};

/// The calls of further tokens ask the inner home.
const KEPT_MAX: usize = 1 << 16;

#[derive(Debug, Default)]
pub(crate) struct Tokens(HashMap<(TenantId, Jti), (Binding, Timestamp)>);

impl Tokens {
    /// Notes a token that was granted; a second binding is never granted before the token's end.
    pub(crate) fn remember(&mut self, ask: &Ask) {
        match ask.token.token_use {
            TokenUse::Once => {}
            TokenUse::Bound if self.0.len() < KEPT_MAX => {
                let name = (ask.tenant.clone(), ask.token.jti.clone());
                self.0.insert(name, (ask.token.binding, ask.token.expires_at));
            }
            TokenUse::Bound => {}
        }
    }

    pub(crate) fn know(&self, ask: &Ask) -> bool {
        // A key of two owned names is looked up by a clone of them: two short copies.
        let name = (ask.tenant.clone(), ask.token.jti.clone());
        let known = self.0.get(&name);
        known.is_some_and(|(binding, ends)| *binding == ask.token.binding && ask.now < *ends)
    }

    pub(crate) fn forget(&mut self, now: Timestamp) {
        self.0.retain(|_, (_, ends)| now < *ends);
    }
}
