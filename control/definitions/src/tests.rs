//! What a voter that has not heard of everything lets nobody do.
//!
//! Not here: the routes (`control/tests`). Invariant: the ledger that is asked panics, so whatever is refused was refused before.

use std::collections::BTreeSet;
use std::sync::Arc;

use aegis_access::{Reach, Role};
use aegis_control_commands::{LedgerError, Reading};
use aegis_registry::{Actor, Event, Registry};
use async_trait::async_trait;
use axum::http::header::{CONTENT_TYPE, IF_MATCH};
use axum::http::{HeaderMap, HeaderValue, Method};
use tokio::sync::watch;

use super::*;

/// Has heard of nothing yet.
#[derive(Debug, Default)]
struct Behind(Registry);

#[async_trait]
impl Ledger for Behind {
    async fn propose(&self, proposal: Proposal) -> Result<Event, LedgerError> {
        panic!("this was let through: {proposal:?}");
    }

    fn read(&self) -> Reading<'_> {
        Box::new(&self.0)
    }

    fn watch(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }

    fn events_after(&self, _: u64, _: usize) -> Option<Vec<Event>> {
        None
    }
}

impl Keeper for Behind {
    fn ledger(&self) -> &dyn Ledger {
        self
    }
}

/// Elsewhere the tool is defined, at version 7, with a price: who may not change that sees it there and asks here.
#[tokio::test]
async fn a_voter_that_lags_lets_nobody_change_what_it_has_not_heard_of() {
    let who = Principal {
        actor: Actor::parse("author").unwrap(),
        roles: BTreeSet::from([Role::Author]),
        reach: Reach::Region,
    };
    let body = json!({ "text": "upstream: https://a.example\n" }).to_string().into();
    let mut headers = HeaderMap::from_iter([(IF_MATCH, HeaderValue::from_static("\"7\""))]);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let uri = "/v1/tenants/acme/tools/pay".parse().unwrap();
    let asked = Asked { method: Method::PUT, uri, headers, body };
    let path = Path(("acme".to_owned(), "pay".to_owned()));
    let keeper = State(Arc::new(Behind::default()));
    let answer = define_tool(keeper, Extension(who), path, asked).await;
    assert!(matches!(answer, Err(Problem::Refused(Refusal::Changed))), "{answer:?}");
}
