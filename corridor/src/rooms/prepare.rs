//! Between judging and sealing: the call exactly as it will leave, so that the record can name it.
//!
//! Not here: dialling and moving bytes (the gateway's `rooms::forward`). Invariants: what policy saw is what is built;
//! the agent's token stays here, and so does every header that is ours.

use std::collections::BTreeMap;

use aegis_config::BodyMode;
use aegis_domain::{
    Decision, Detector, DlpFacts, Obligation, Reason, Scheme, TraceContext, Verdict,
};
use bytes::Bytes;
use http::HeaderMap;
use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, EXPECT, HOST, HeaderName,
    HeaderValue, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};

use crate::context::{Arrival, Read};
use crate::credential;
use crate::headers;
use crate::via::Via;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Exactly what will be sent.
#[derive(Debug)]
pub struct Outgoing {
    pub method: http::Method,
    pub path_and_query: String,
    pub headers: HeaderMap,
    /// `None` when the body passes through as it comes.
    pub body: Option<Bytes>,
    pub redactions: BTreeMap<Detector, u32>,
    pub attachments_removed: u32,
    pub fields_removed: u32,
}

/// Builds what will be sent if the decision lets it through.
pub fn prepare(
    read: &Read,
    decision: &Decision,
    arrival: &Arrival,
    marks: (&TraceContext, &Via),
) -> Result<Outgoing, Reason> {
    let obligations: &[Obligation] = match &decision.verdict {
        Verdict::Allow => &[],
        Verdict::Sanitize(obligations) => obligations,
        Verdict::ApprovalNeeded(_) | Verdict::Deny(_) => return Err(Reason::Unavailable),
    };
    check_reachable(read, obligations)?;
    let redacted = aegis_dlp::redact(&read.body, &read.content, obligations)
        .map_err(|error| error.reason())?;
    let mut redactions = redacted.counts;
    let mut path_and_query = read.call.path.clone();
    if let Some(query) = &read.call.query {
        let redacted =
            aegis_dlp::redact_query(query, obligations).map_err(|error| error.reason())?;
        for (detector, count) in redacted.counts {
            let entry = redactions.entry(detector).or_insert(0_u32);
            *entry = entry.saturating_add(count);
        }
        path_and_query = format!("{path_and_query}?{}", redacted.body);
    }
    let body = match read.binding.body {
        BodyMode::Inspect => Some(redacted.body),
        BodyMode::Stream => None,
    };
    Ok(Outgoing {
        method: http::Method::from_bytes(read.call.method.as_str().as_bytes())
            .map_err(|_| Reason::MalformedRequest)?,
        path_and_query,
        headers: outgoing_headers(read, arrival, marks, body.as_ref())?,
        body,
        redactions,
        attachments_removed: redacted.attachments_removed,
        fields_removed: redacted.fields_removed,
    })
}

/// What an obligation cannot reach must not leave: a body nobody read, or a finding in the path or a header.
fn check_reachable(read: &Read, obligations: &[Obligation]) -> Result<(), Reason> {
    if obligations.is_empty() {
        return Ok(());
    }
    if read.dlp == DlpFacts::NotScanned {
        return Err(Reason::Unredactable);
    }
    let in_path = aegis_dlp::scan_query(&read.call.path).and(read.header_scan.clone()).counts;
    let is_stuck = obligations.iter().any(|obligation| match obligation {
        Obligation::Redact { detectors } => {
            detectors.iter().any(|detector| in_path.get(detector).is_some_and(|count| *count > 0))
        }
        Obligation::RedactFields { .. }
        | Obligation::KeepFields { .. }
        | Obligation::StripAttachments => false,
    });
    if is_stuck { Err(Reason::Unredactable) } else { Ok(()) }
}

fn outgoing_headers(
    read: &Read,
    arrival: &Arrival,
    (trace, via): (&TraceContext, &Via),
    body: Option<&Bytes>,
) -> Result<HeaderMap, Reason> {
    let onward = via.onward(&arrival.headers)?;
    let told = arrival.presented.told.as_ref();
    let token = told.map(|told| told.token.expose().as_str()).unwrap_or_default();
    let mut out = HeaderMap::with_capacity(arrival.headers.len());
    for (name, value) in &arrival.headers {
        let is_reframed =
            [HOST, CONTENT_LENGTH, CONTENT_ENCODING, EXPECT, TRACEPARENT].contains(name);
        let is_ours_alone = headers::is_ours(name) || headers::is_forwarding(name);
        // The token stays here wherever the agent put it.
        let is_token = !token.is_empty() && holds(value.as_bytes(), token.as_bytes());
        let is_proof = credential::is_own_proof(arrival, name);
        if !is_token && !is_proof && !is_reframed && !is_ours_alone && !headers::is_hop_by_hop(name)
        {
            out.append(name.clone(), value.clone());
        }
    }
    let malformed = |_| Reason::MalformedRequest;
    out.insert(HOST, HeaderValue::from_str(&host_header(read)).map_err(malformed)?);
    out.insert(TRACEPARENT, HeaderValue::from_str(&trace.header()).map_err(malformed)?);
    out.insert(VIA, HeaderValue::from_str(&onward).map_err(malformed)?);
    match body {
        Some(body) if !body.is_empty() || arrival.headers.contains_key(CONTENT_LENGTH) => {
            out.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        Some(_) => {}
        None => carry_framing(&arrival.headers, &mut out),
    }
    if arrival.headers.get(TE).is_some_and(|value| value == "trailers") {
        out.insert(TE, HeaderValue::from_static("trailers"));
    }
    if arrival.is_upgrade {
        out.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        out.insert(UPGRADE, HeaderValue::from_static("websocket"));
        // The session says that a body may follow (`conduit::handshake`); Pingora would announce chunks of it.
        out.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    if matches!(read.binding.price, aegis_decide::Price::PerToken(_)) {
        // Usage is read from the answer, so the answer must be readable.
        out.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    if let Some(credential) = &read.binding.credential {
        out.insert(credential.header.clone(), credential.value.expose().clone());
    }
    Ok(out)
}

fn holds(value: &[u8], token: &[u8]) -> bool {
    value.windows(token.len()).any(|window| window == token)
}

/// A body that streams keeps the framing it came with, which the gate has checked.
fn carry_framing(from: &HeaderMap, to: &mut HeaderMap) {
    for name in [CONTENT_LENGTH, TRANSFER_ENCODING, CONTENT_ENCODING] {
        if let Some(value) = from.get(&name) {
            to.insert(name, value.clone());
        }
    }
}

fn host_header(read: &Read) -> String {
    let call = &read.call;
    let host = call.host.as_str();
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    match (call.scheme, call.port) {
        (Scheme::Https, 443) | (Scheme::Http, 80) => host,
        (Scheme::Https | Scheme::Http, port) => format!("{host}:{port}"),
    }
}
