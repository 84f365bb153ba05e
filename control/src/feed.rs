//! The feeds of the registry and of definitions: what changed since a serial, or all of it, signed by the region's key; a
//! question waits until there is an answer.
//!
//! Not here: following it (`agents/follow`). Invariant: enrolment codes never leave in them, and each page says which serials
//! it leads from and to.

use std::sync::Arc;
use std::time::Duration;

use aegis_control_commands::LedgerError;
use aegis_follow::{Followed, Page};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;

use crate::problem::Problem;
use crate::{Control, clock};

/// How long a question waits: less than the half minute after which proxies give up.
const WAIT: Duration = Duration::from_secs(20);
const EVENTS_MAX: usize = 1_000;
/// Some elections long.
const OUT_OF_TOUCH: Duration = Duration::from_secs(10);

/// Sends those who follow a voter to another, where it has heard of no leader and no quorum for a while: it may be cut off, or
/// taken out, and would tell them for ever that nothing happened. Whoever holds nothing yet is better off with what it knows.
pub(crate) fn sent_on(control: &Control, after: Option<u64>) -> Option<Response> {
    let is_out_of_touch = control.node.status().in_touch_ago > OUT_OF_TOUCH;
    (after.is_some() && is_out_of_touch).then(|| {
        let mut refused = Problem::Ledger(LedgerError::NoQuorum).into_response();
        refused.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        refused
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Since {
    /// What the follower holds; absent, it wants everything.
    after: Option<u64>,
}

pub(crate) async fn get<V: Followed>(
    State(control): State<Arc<Control>>,
    since: Result<Query<Since>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(since) = since.map_err(|_| Problem::Malformed("after is not a serial".into()))?;
    if let Some(after) = since.after {
        let mut watch = control.ledger.watch();
        let serial = *watch.borrow();
        if after > serial {
            return Err(Problem::Rewound { serial });
        }
        if let Some(refused) = sent_on(&control, since.after) {
            return Ok(refused);
        }
        // Running out of time is an answer too: nothing changed.
        tokio::time::timeout(WAIT, watch.wait_for(|serial| *serial > after)).await.ok();
        if let Some(refused) = sent_on(&control, since.after) {
            return Ok(refused);
        }
    }
    let page = page::<V>(&control, since.after);
    let payload = serde_json::to_vec(&page).map_err(crate::read::malformed)?;
    let signed = control.region_key.sign(V::TYPE, &payload);
    Ok(([(CONTENT_TYPE, "application/jose"), (CACHE_CONTROL, "no-store")], signed).into_response())
}

fn page<V: Followed>(control: &Control, after: Option<u64>) -> Page<V> {
    let issuer = control.service.issuer.clone();
    let now_s = clock::now().unix_s();
    let events =
        after.and_then(|after| Some((after, control.ledger.events_after(after, EVENTS_MAX)?)));
    match events {
        Some((after, events)) => {
            let events = events.into_iter().map(V::narrowed).collect();
            Page::Events { issuer, at_s: now_s, after, events }
        }
        None => {
            let view = Box::new(V::of(&control.ledger.read()));
            Page::Whole { issuer, at_s: now_s.saturating_sub(out_of_touch_s(control)), view }
        }
    }
}

/// For how long this voter has not known whether there is more; nothing where an election may be all there is to it.
fn out_of_touch_s(control: &Control) -> u64 {
    let ago = control.node.status().in_touch_ago;
    if ago > OUT_OF_TOUCH { ago.as_secs() } else { 0 }
}
