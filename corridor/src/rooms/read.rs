//! Room 2: what the agent wants, in the one form that policy judges and the upstream receives.
//!
//! Not here: decoding formats and finding personal data (`dlp`). Invariant: a parameter has one source and one value;
//! whatever could be read two ways is refused.

use std::sync::Arc;
use std::time::Instant;

use aegis_dlp::{ContentCoding, ContentKind, DlpError, Scan};
use aegis_domain::{
    DlpFacts, EgressCall, Host, Params, ParamsHash, Reason, Region, Scheme, ToolName,
};
use aegis_policy::Snapshot;
use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde_json::{Value, json};

use crate::BodySource;
use crate::Corridor;
use crate::context::{Arrival, Decoding, Identified, Read, Received, Stopwatch, Target};
use crate::headers;
use crate::rooms::mcp;
use aegis_config::{BodyMode, EncodedSlashes, Leads, Speaks, Tenant, ToolBinding, Upstream};

/// Reads route, parameters and body of a call.
pub async fn read(
    corridor: &Corridor,
    identified: &Identified,
    arrival: &Arrival,
    source: &mut dyn BodySource,
    clock: &mut Stopwatch,
) -> Result<Read, Reason> {
    let tenant = &identified.tenant;
    let Way { binding, call } = way(tenant, &corridor.config.region, arrival)?;
    check_slashes(&arrival.path, binding.encoded_slashes)?;
    if !identified.modes.meets(binding.modes) {
        return Err(Reason::TokenMode);
    }
    let limits = &corridor.config.limits;
    let bytes_max = binding.body_bytes_max.unwrap_or(limits.body_bytes_max);
    let waiting = Instant::now();
    let received = match binding.body {
        BodyMode::Inspect => source.read_whole(bytes_max, limits.body_deadline).await?,
        BodyMode::Stream => Received::default(),
    };
    clock.leave_out(waiting);
    let policy = &identified.judges.enforced;
    let call = Unread { call, policy, binding, arrival, bytes_max };
    if received.bytes.len() > LONG_BODY_BYTES {
        // Long bodies take milliseconds to read; the calls that share this thread go on elsewhere meanwhile.
        return tokio::task::block_in_place(|| call.read(received));
    }
    call.read(received)
}

/// Bodies above this are read off the threads that move bytes.
const LONG_BODY_BYTES: usize = 256 * 1_024;

/// A call whose body is there but has not been looked into.
struct Unread<'a> {
    call: EgressCall,
    policy: &'a Snapshot,
    binding: &'a Arc<ToolBinding>,
    arrival: &'a Arrival,
    bytes_max: usize,
}

impl Unread<'_> {
    fn read(self, received: Received) -> Result<Read, Reason> {
        let Unread { mut call, policy, binding, arrival, bytes_max } = self;
        let headers = &arrival.headers;
        let content = ContentKind::parse(header(headers, CONTENT_TYPE)?);
        call.params_hash = ParamsHash::of(&received.bytes);
        let received_bytes = length(&received.bytes);
        let (body, decoding) = decode(received.bytes, headers, bytes_max)?;
        let mut said = if body.is_empty() { Params::new() } else { named(&body, &content)? };
        if binding.speaks == Speaks::Mcp && !body.is_empty() {
            // Servers read JSON whatever the content type says.
            if content != ContentKind::Json {
                return Err(Reason::UnreadableBody);
            }
            (call.mcp, said) = mcp::tool_call(&call.route, said)?;
        }
        call.params = with_query(said, arrival.query.as_deref())?;
        call.body_bytes = length(&body);
        let tool = match arrival.target {
            Target::Route => policy.resolve(&call).cloned(),
            Target::Origin { .. } => policy.resolve_any(&call).cloned(),
        };
        add_path_params(&mut call, policy, tool.as_ref())?;
        let info = tool.as_ref().and_then(|name| policy.tool(name));
        let kind = binding.kind.or_else(|| info.map(|tool| tool.kind));
        call.kind = kind.unwrap_or_else(|| call.method.kind());
        let estimate = binding.price.estimate(&call.params, call.body_bytes);
        call.estimated_cost = estimate.cost;
        let free_text = headers::free_text(headers);
        let header_scan = aegis_dlp::scan(free_text.as_bytes(), &ContentKind::Text);
        let dlp = scan(&body, &content, &call, binding)
            .map_or(DlpFacts::NotScanned, |scan| scan.and(header_scan.clone()).into_facts());
        Ok(Read {
            binding: Arc::clone(binding),
            tool,
            call: Arc::new(call),
            received_bytes,
            body,
            room: received.room,
            content,
            header_scan,
            decoding,
            dlp,
            estimate: estimate.kind,
        })
    }
}

fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Which of the tenant's bindings a call goes by, and what is known of it before its body.
struct Way<'t> {
    binding: &'t Arc<ToolBinding>,
    call: EgressCall,
}

fn way<'t>(tenant: &'t Tenant, region: &Region, arrival: &Arrival) -> Result<Way<'t>, Reason> {
    check_path(&arrival.path)?;
    if tenant.unusable.limits {
        return Err(Reason::DefinitionUnusable);
    }
    match &arrival.target {
        Target::Route => {
            let (route, path) = split_route(&arrival.path)?;
            if tenant.unusable.tools.contains_key(&route) {
                return Err(Reason::DefinitionUnusable);
            }
            let binding = tenant.tools.get(&route).ok_or(Reason::UnknownTool)?;
            let upstream = binding.upstream(region).ok_or(Reason::WrongRegion)?;
            let path = format!("{}{path}", upstream.base_path);
            Ok(Way { binding, call: plain_call((route, path), upstream.into(), arrival) })
        }
        Target::Origin { scheme, host, port } => {
            let origin = Origin { scheme: *scheme, host, port: *port };
            // A tool that is configured for this very place lends its price, credential and trust.
            let named = tenant.tools.iter().filter_map(|(name, binding)| {
                let upstream = binding.upstream(region)?;
                let fits = origin.is_at(upstream, &arrival.path);
                fits.then_some((upstream.base_path.len(), name, binding))
            });
            let nearest = named.max_by_key(|(length, name, _)| (*length, std::cmp::Reverse(*name)));
            let is_there = |leads: &Leads| match leads {
                Leads::To(upstream) => origin.is_at(upstream, &arrival.path),
                // Nobody knows that this is not its place.
                Leads::Anywhere => nearest.is_none(),
            };
            if tenant.unusable.tools.values().any(is_there) {
                return Err(Reason::DefinitionUnusable);
            }
            let (route, binding) = match nearest {
                Some((_, name, binding)) => (name.clone(), binding),
                None => {
                    let direct = ToolName::parse(DIRECT).map_err(|_| Reason::Unavailable)?;
                    (direct, &tenant.direct)
                }
            };
            let path = arrival.path.clone();
            Ok(Way { binding, call: plain_call((route, path), origin, arrival) })
        }
    }
}

/// The route of calls through the forward proxy to origins that no tool is configured for.
const DIRECT: &str = "direct";

/// Where bytes go: the part of an upstream that a call can name itself.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Origin<'a> {
    scheme: Scheme,
    host: &'a Host,
    port: u16,
}

impl<'a> From<&'a Upstream> for Origin<'a> {
    fn from(upstream: &'a Upstream) -> Self {
        Self { scheme: upstream.scheme, host: &upstream.host, port: upstream.port }
    }
}

impl Origin<'_> {
    /// Whether a path here is below an upstream.
    fn is_at(&self, upstream: &Upstream, path: &str) -> bool {
        *self == upstream.into() && is_below(path, &upstream.base_path)
    }
}

fn is_below(path: &str, base: &str) -> bool {
    let rest = path.strip_prefix(base);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Anything in a path that two readers could see differently is refused.
fn check_path(path: &str) -> Result<(), Reason> {
    let is_normal = path.bytes().all(|byte| (0x21..0x7f).contains(&byte) && byte != b'\\')
        && path.starts_with('/')
        && !path.contains("//")
        && !path.split('/').any(|segment| segment == "." || segment == "..")
        && !has_disguised_separator(path);
    if is_normal { Ok(()) } else { Err(Reason::MalformedRequest) }
}

/// Servers disagree on whether an escaped slash parts segments, so a tool says that its upstream does not.
fn check_slashes(path: &str, rule: EncodedSlashes) -> Result<(), Reason> {
    match rule {
        EncodedSlashes::Allow => Ok(()),
        EncodedSlashes::Refuse if !path.to_ascii_lowercase().contains("%2f") => Ok(()),
        EncodedSlashes::Refuse => Err(Reason::MalformedRequest),
    }
}

/// `/<tool>/<path>`.
fn split_route(path: &str) -> Result<(ToolName, String), Reason> {
    let rest = path.strip_prefix('/').ok_or(Reason::MalformedRequest)?;
    let (route, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let route = ToolName::parse(route).map_err(|_| Reason::UnknownTool)?;
    Ok((route, format!("/{rest}")))
}

/// The route of a call that was refused before it was read.
pub fn route_of(arrival: &Arrival) -> Option<ToolName> {
    match arrival.target {
        Target::Route => ToolName::parse(arrival.path.strip_prefix('/')?.split('/').next()?).ok(),
        Target::Origin { .. } => ToolName::parse(DIRECT).ok(),
    }
}

/// Escapes that decode to a backslash, a dot, a NUL or an escape, or that are no escapes at all.
fn has_disguised_separator(path: &str) -> bool {
    path.split('%').skip(1).any(|after| {
        let code = after.get(..2).map(str::to_ascii_lowercase);
        match code.as_deref() {
            None | Some("5c" | "2e" | "00" | "25") => true,
            Some(code) => !code.bytes().all(|byte| byte.is_ascii_hexdigit()),
        }
    })
}

fn header(headers: &HeaderMap, name: http::HeaderName) -> Result<Option<&str>, Reason> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().map(|value| value.to_str()).transpose();
    if values.next().is_some() {
        return Err(Reason::MalformedRequest);
    }
    first.map_err(|_| Reason::MalformedRequest)
}

/// Undoes the content encoding, so that what is judged and what is sent is the same plain body.
fn decode(body: Bytes, headers: &HeaderMap, bytes_max: usize) -> Result<(Bytes, Decoding), Reason> {
    let coding = aegis_dlp::ContentCoding::parse(header(headers, CONTENT_ENCODING)?)
        .map_err(|error| error.reason())?;
    let decoding = match coding {
        ContentCoding::Identity => Decoding::None,
        ContentCoding::Gzip | ContentCoding::Deflate => Decoding::Undone,
    };
    let body = aegis_dlp::decode_body(&body, coding, bytes_max).map_err(|error| error.reason())?;
    Ok((body, decoding))
}

fn plain_call(
    (route, path): (ToolName, String),
    origin: Origin<'_>,
    arrival: &Arrival,
) -> EgressCall {
    EgressCall {
        route,
        scheme: origin.scheme,
        host: origin.host.clone(),
        port: origin.port,
        kind: arrival.method.kind(),
        method: arrival.method.clone(),
        path,
        query: arrival.query.clone(),
        mcp: None,
        params: Params::new(),
        params_hash: ParamsHash::of(b""),
        body_bytes: 0,
        estimated_cost: aegis_domain::MicroUsd::ZERO,
    }
}

fn named(body: &[u8], content: &ContentKind) -> Result<Params, Reason> {
    body_params(body, content).map_err(|error| error.reason())
}

/// Parameters of body and query together; a name that stands in both is refused.
fn with_query(mut params: Params, query: Option<&str>) -> Result<Params, Reason> {
    let in_query = query.map(|query| aegis_dlp::form_params(query.as_bytes())).transpose();
    for (name, value) in in_query.map_err(|error| error.reason())?.into_iter().flatten() {
        add(&mut params, name, value)?;
    }
    Ok(params)
}

/// What a body says by name. A body without names is one parameter, `_body`, an object: a policy that does not declare
/// it denies the call, because many servers read JSON whatever the content type says.
fn body_params(body: &[u8], content: &ContentKind) -> Result<Params, DlpError> {
    match content {
        ContentKind::Json => aegis_dlp::json_params(body),
        ContentKind::Form => aegis_dlp::form_params(body),
        ContentKind::Multipart { boundary } => aegis_dlp::multipart_params(body, boundary),
        ContentKind::Text | ContentKind::Other => {
            Ok(Params::from_iter([(WHOLE_BODY.to_owned(), json!({ "bytes": body.len() }))]))
        }
    }
}

/// The parameter that stands for a body without names.
const WHOLE_BODY: &str = "_body";

fn add_path_params(
    call: &mut EgressCall,
    policy: &Snapshot,
    tool: Option<&ToolName>,
) -> Result<(), Reason> {
    let Some(tool) = tool else { return Ok(()) };
    for (name, value) in policy.path_params(tool, &call.path) {
        add(&mut call.params, name, Value::String(value))?;
    }
    Ok(())
}

fn add(params: &mut Params, name: String, value: Value) -> Result<(), Reason> {
    if params.insert(name, value).is_some() { Err(Reason::UnreadableBody) } else { Ok(()) }
}

/// `None` for a body that streams by unread, and for what goes through an unopened tunnel.
fn scan(
    body: &[u8],
    content: &ContentKind,
    call: &EgressCall,
    binding: &ToolBinding,
) -> Option<Scan> {
    let is_tunnel = call.method.as_str() == "CONNECT";
    if binding.body == BodyMode::Stream || is_tunnel {
        return None;
    }
    let query = call.query.as_deref().unwrap_or_default();
    let rest = aegis_dlp::scan_query(query).and(aegis_dlp::scan_query(&call.path));
    Some(aegis_dlp::scan(body, content).and(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_the_first_segment_and_the_rest_goes_upstream() {
        let (route, path) = split_route("/payments/v1/payouts").unwrap();
        assert_eq!((route.as_str(), path.as_str()), ("payments", "/v1/payouts"));
        assert_eq!(split_route("/payments").unwrap().1, "/");
    }

    #[test]
    fn a_path_two_readers_could_see_differently_is_refused() {
        for path in [
            "/t/../admin",
            "/t/./a",
            "/t//a",
            "/t/%2e%2e/a",
            "/t/a%5cb",
            "/t/a\\b",
            "/t/%00",
            "/t/%252e",
            "/t/%zz",
            "/t/%4",
            "/t/é",
            "t/a",
        ] {
            assert_eq!(check_path(path).err(), Some(Reason::MalformedRequest), "{path}");
        }
        assert_eq!(split_route("/UPPER/a").err(), Some(Reason::UnknownTool));
    }

    #[test]
    fn an_escaped_slash_passes_only_where_the_tool_says_so() {
        for path in ["/t/a%2Fb", "/t/a%2fb"] {
            assert_eq!(check_slashes(path, EncodedSlashes::Allow), Ok(()));
            let refused = check_slashes(path, EncodedSlashes::Refuse);
            assert_eq!(refused, Err(Reason::MalformedRequest), "{path}");
        }
        assert_eq!(check_slashes("/t/a%20b", EncodedSlashes::Refuse), Ok(()));
    }

    #[test]
    fn a_body_without_names_is_a_parameter_that_policy_must_know() {
        let kind = ContentKind::parse(Some("text/plain"));
        let params = named(br#"{"admin":true}"#, &kind).unwrap();
        assert_eq!(params["_body"], json!({ "bytes": 14 }));
    }

    #[test]
    fn a_parameter_in_body_and_query_is_refused() {
        let body = br#"{"amount": 1}"#;
        let kind = ContentKind::parse(Some("application/json"));
        let with = |query| with_query(named(body, &kind).unwrap(), Some(query));
        assert_eq!(with("amount=2").err(), Some(Reason::UnreadableBody));
        assert_eq!(with("page=2").unwrap().len(), 2);
    }
}
