//! A request as the corridor takes it, from what Pingora or the HTTP/2 library decoded.
//!
//! Not here: where it asks to go (`target`). Invariant: an HTTP/1 head passed the gate before Pingora read it, an HTTP/2
//! head passes it here.

use std::borrow::Cow;

use aegis_domain::{Method, Reason};
use aegis_gate::{Limits, Pseudo, Target, check_http2};
use http::header::UPGRADE;
use pingora_core::protocols::http::ServerSession;

use crate::door::front;
use crate::door::target::{self, Ask};
use aegis_corridor::context::{Arrival, Asked};

/// What the door knows of the request and as what it was asked, or why nothing can be made of it.
pub(super) fn arrival(
    session: &mut ServerSession,
    limits: Limits,
) -> Result<(Arrival, Asked), (Reason, Asked)> {
    let malformed = (Reason::MalformedRequest, Asked::Server);
    let resource = match session.is_http2() {
        true => Some(decoded(session, limits).map_err(|reason| (reason, Asked::Server))?),
        // Its head passed the gate before Pingora read it.
        false => None,
    };
    let header = session.req_header();
    let (path, query) = match resource {
        Some(resource) => resource,
        None => {
            let target = header.uri.path_and_query().ok_or(malformed)?;
            (target.path().to_owned(), target.query().map(str::to_owned))
        }
    };
    let peer = session.client_addr().and_then(|address| address.as_inet()).map(|inet| inet.ip());
    let Ask { target, presented, asked } = target::ask(session)?;
    let arrival = Arrival {
        method: Method::parse(header.method.as_str()).ok_or(malformed)?,
        path,
        query,
        headers: header.headers.clone(),
        peer,
        is_upgrade: header.headers.contains_key(UPGRADE),
        target,
        presented,
    };
    Ok((arrival, asked))
}

/// Path and query of a request that the HTTP/2 library decoded, after the gate has read it.
fn decoded(
    session: &mut ServerSession,
    limits: Limits,
) -> Result<(String, Option<String>), Reason> {
    let has_body = !session.is_body_empty();
    let header = session.req_header();
    let path = header.uri.path_and_query().map(http::uri::PathAndQuery::as_str);
    let pseudo = Pseudo {
        method: header.method.as_str(),
        scheme: header.uri.scheme_str(),
        authority: header.uri.authority().map(http::uri::Authority::as_str),
        path,
        has_body,
    };
    let fields =
        header.headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
    let head = check_http2(&pseudo, fields, limits).map_err(|refusal| {
        tracing::debug!(%refusal, "a head was refused");
        front::reason(refusal)
    })?;
    match head.target {
        Target::Origin(resource) => {
            Ok((resource.path.into_owned(), resource.query.map(Cow::into_owned)))
        }
        Target::Absolute { .. } | Target::Authority { .. } => Err(Reason::MalformedRequest),
    }
}
