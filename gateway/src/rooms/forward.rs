//! Room 6: the call as it leaves: built before it is recorded, dialled only with a permit.
//!
//! Not here: resolving names (`resolve`) and moving bytes (Pingora). Invariants: the address dialled is the one
//! checked; connections are never shared between tenants, tools or credentials; the agent's token stays here.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aegis_address::Dialable;
use aegis_domain::{
    Decision, Detector, DlpFacts, Obligation, Reason, Scheme, TraceContext, Verdict,
};
use bytes::Bytes;
use http::HeaderMap;
use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, EXPECT, HOST, HeaderName,
    HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use pingora_core::protocols::ALPN;
use pingora_core::protocols::tls::CaType;
use pingora_core::upstreams::peer::HttpPeer;

use crate::context::{Arrival, Identified, Read};
use crate::door::headers;
use crate::rooms::identify;
use crate::rooms::seal::Permit;
use crate::wire::Gateway;
use aegis_config::{BodyMode, Protocol};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// HTTP/2 streams on one upstream connection; Pingora's default is one.
const STREAMS_MAX: usize = 100;
const UPSTREAM_IDLE: Duration = Duration::from_secs(60);

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
    trace: &TraceContext,
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
        headers: outgoing_headers(read, arrival, trace, body.as_ref())?,
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
    trace: &TraceContext,
    body: Option<&Bytes>,
) -> Result<HeaderMap, Reason> {
    let token = identify::token(arrival)?;
    let token: &str = token.expose();
    let mut out = HeaderMap::with_capacity(arrival.headers.len());
    for (name, value) in &arrival.headers {
        let is_reframed =
            [HOST, CONTENT_LENGTH, CONTENT_ENCODING, EXPECT, TRACEPARENT].contains(name);
        let is_ours_alone = headers::is_ours(name) || headers::is_forwarding(name);
        // The token stays here wherever the agent put it.
        let is_token = !token.is_empty() && holds(value.as_bytes(), token.as_bytes());
        if !is_token && !is_reframed && !is_ours_alone && !headers::is_hop_by_hop(name) {
            out.append(name.clone(), value.clone());
        }
    }
    let malformed = |_| Reason::MalformedRequest;
    out.insert(HOST, HeaderValue::from_str(&host_header(read)).map_err(malformed)?);
    out.insert(TRACEPARENT, HeaderValue::from_str(&trace.header()).map_err(malformed)?);
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
        // The session says that a body may follow (`door/handshake`); Pingora would announce chunks of it.
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

/// Certificate authorities that tools name, parsed once.
#[derive(Default)]
pub struct TrustStore(BTreeMap<PathBuf, Arc<CaType>>);

impl std::fmt::Debug for TrustStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

/// Why a CA file is not one.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("the CA file {file} cannot be read")]
    Read { file: String, source: rustls::pki_types::pem::Error },
    #[error("the CA file {file} holds a certificate that is none")]
    Certificate { file: String },
    #[error("the CA file {file} holds no certificate")]
    Empty { file: String },
}

impl TrustStore {
    /// Reads a CA file of a tool; reading one twice is cheap.
    pub fn add(&mut self, path: &PathBuf) -> Result<(), TrustError> {
        use pingora_core::utils::tls::{WrappedX509, parse_x509};
        use rustls::pki_types::{CertificateDer, pem::PemObject as _};

        if self.0.contains_key(path) {
            return Ok(());
        }
        let file = || path.display().to_string();
        let read = |source| TrustError::Read { file: file(), source };
        let mut roots = rustls::RootCertStore::empty();
        let mut authorities = Vec::new();
        for certificate in CertificateDer::pem_file_iter(path).map_err(read)? {
            let certificate = certificate.map_err(read)?;
            // Pingora's own parser panics on a bad certificate, so rustls looks first.
            roots.add(certificate.clone()).map_err(|_| TrustError::Certificate { file: file() })?;
            authorities.push(WrappedX509::new(certificate.to_vec(), parse_x509));
        }
        if authorities.is_empty() {
            return Err(TrustError::Empty { file: file() });
        }
        self.0.insert(path.clone(), authorities.into());
        Ok(())
    }
}

/// How an upstream is to be reached this time.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    pub is_upgrade: bool,
    /// Connections that failed before.
    pub attempts: usize,
}

/// Resolves, checks and describes the upstream of a permitted call.
pub async fn peer(
    gateway: &Gateway,
    permit: &Permit,
    (identified, read): (&Identified, &Read),
    reach: Reach,
) -> Result<HttpPeer, Reason> {
    let binding = &read.binding;
    let call = &read.call;
    tracing::debug!(record = permit.seq(), host = %call.host, "forwarding");
    let addresses = match binding.resolve.is_empty() {
        true => gateway.resolver.resolve(&call.host).await?,
        false => binding.resolve.clone(),
    };
    let dialable = Dialable::check(addresses, &binding.addresses).map_err(|error| {
        tracing::info!(host = %call.host, %error, "the upstream may not be dialled");
        error.reason()
    })?;
    // After a connection failed, the next address has its turn.
    let address = dialable.turn(reach.attempts);
    if gateway.is_itself(SocketAddr::new(address, call.port)) {
        return Err(Reason::ProxyLoop);
    }
    let is_tls = call.scheme == Scheme::Https;
    let mut peer =
        HttpPeer::new(SocketAddr::new(address, call.port), is_tls, call.host.as_str().to_owned());
    peer.group_key = pool_of(identified, read);
    let options = &mut peer.options;
    options.connection_timeout = Some(binding.connect_timeout);
    options.total_connection_timeout = Some(binding.connect_timeout);
    options.read_timeout = Some(binding.read_timeout);
    options.write_timeout = Some(binding.read_timeout);
    options.idle_timeout = Some(UPSTREAM_IDLE);
    options.max_h2_streams = STREAMS_MAX;
    options.ca = binding.ca_file.as_ref().and_then(|path| gateway.trust.0.get(path)).cloned();
    options.alpn = match (binding.protocol, reach.is_upgrade) {
        (_, true) | (Protocol::Http1, _) => ALPN::H1,
        (Protocol::Http2, false) => ALPN::H2,
        (Protocol::Auto, false) => ALPN::H2H1,
    };
    if binding.protocol == Protocol::Http2 && !is_tls && !reach.is_upgrade {
        options.set_http_version(2, 2);
    }
    Ok(peer)
}

/// Calls share a connection only when tenant, tool and CA are the same, and so the credential is.
fn pool_of(identified: &Identified, read: &Read) -> u64 {
    let mut hasher = DefaultHasher::new();
    identified.tenant.id.hash(&mut hasher);
    read.call.route.hash(&mut hasher);
    read.binding.ca_file.hash(&mut hasher);
    hasher.finish()
}
